//! `zstream put`: files into a file system, an image into a volume.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use zstream_dmu::error::Error;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet as _;
use zstream_dmu::pool::writer::WriteOptions;
use zstream_dmu::random::Random;
use zstream_dmu::zap::Value;
use zstream_dsl::write::Tx;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::node::{FileType, Time};
use zstream_zpl::writer::{ImageError, Settings, Writer, write_hole, write_image};

use crate::failure::Failure;
use crate::files::{self, CHUNK_BYTES};
use crate::pool::PoolOptions;
use crate::store::ahead::ReadAhead;
use crate::store::tree::{Tree, has_holes, next_data};
use crate::store::{Put, PutError, Rules, Target, archive};

/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// Bytes in a slot of a dnode.
const SLOT_BYTES: u64 = 512;

/// The options of `zstream put`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// SRC are tar archives, whose files are put; `-` is standard input
    #[arg(long)]
    tar: bool,
    /// Take the pool although another host may have it
    #[arg(short)]
    force: bool,
    /// Note this time, in seconds since 1970, instead of now, and none after it: the same files then make the same image
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Files and directories; of a directory with a slash at its end, what is in it. For a volume: a raw image
    #[arg(value_name = "SRC", required = true)]
    sources: Vec<OsString>,
    /// File system and directory in it, or volume
    #[arg(value_name = "DATASET[:/PATH]", required = true)]
    target: OsString,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let bytes = self.target.as_bytes();
        let (name, path) = split(bytes);
        let name = std::str::from_utf8(name).map_err(|_| Failure::usage("the name of a dataset is ASCII"))?;
        if name.contains(['@', '#']) {
            return Err(Failure::usage(format_args!(
                "{name}: only file systems and volumes can be written to"
            )));
        }
        let parts = files::parts(OsStr::from_bytes(path))?;
        let writing = WriteOptions { force: self.force, now: self.timestamp, ..WriteOptions::default() };
        let mut pool = options.open_to_write(Some(name), writing, self.timestamp)?;
        let head = pool.tx().head_named(name)?;
        pool.tx().check_not_filled(head)?;
        options.unlock_to_write(&mut pool, head)?;
        let set = pool.open_head(head)?;
        let kind = set.objset_type();
        let target = Target::new(pool, head, set);
        match kind {
            ObjsetType::ZVOL => self.image(target, name, path),
            _ => self.files(target, name, &parts),
        }
    }

    fn command() -> String {
        let words: Vec<String> =
            std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    fn image(&self, mut target: Target, name: &str, path: &[u8]) -> Result<(), Failure> {
        let [source] = &self.sources[..] else {
            return Err(Failure::usage(format_args!("{name} is a volume: it takes one image")));
        };
        if !path.is_empty() || self.tar {
            return Err(Failure::usage(format_args!("{name} is a volume: it has no files")));
        }
        let failed = |error: io::Error| Failure::new(format_args!("{}: {error}", source.display()));
        let written = match sparse(source).map_err(failed)? {
            Some((file, size)) => sparse_image(&mut target, &file, size, source),
            None => {
                image_part(&mut target, &mut open(source).map_err(failed)?, 0, CHUNK_BYTES, source).map(drop)
            }
        };
        written.map_err(|error| target.failed(&error))?;
        Ok(target.finish(None, &Self::command())?)
    }

    fn files(&self, mut target: Target, name: &str, parts: &[&[u8]]) -> Result<(), Failure> {
        let seconds = target.pool.pool().now().cast_signed();
        let now = Time { seconds, nanoseconds: 0 };
        let (settings, keeps_xattrs) = settings(&mut target, now)?;
        let random = match self.timestamp {
            Some(seed) => Random::from_seed(seed),
            None => Random::system().map_err(Error::from)?,
        };
        let writer = Writer::open(&target.set, settings, random)
            .map_err(|error| Failure::new(format_args!("{name}: {error}")))?;
        let rules = Rules { latest: self.timestamp.map(|_| now), keeps_xattrs };
        let mut put = Put { target, writer, rules, now };
        if let Err(error) = self.all(&mut put, parts) {
            return Err(put.target.failed(&error));
        }
        let Put { target, mut writer, .. } = put;
        Ok(target.finish(Some(&mut writer), &Self::command())?)
    }

    fn all(&self, put: &mut Put, parts: &[&[u8]]) -> Result<(), PutError> {
        if self.tar {
            put.directory(parts, None)?;
            for source in &self.sources {
                let name = source.as_bytes();
                let input = open(source).map_err(|error| PutError::Source(name.to_vec(), error))?;
                archive::put(put, input, name, parts)?;
            }
            return Ok(());
        }
        let (parent, new_name) = self.place(put, parts)?;
        let above = match new_name {
            Some(_) => parts.split_last().map_or(&[][..], |(_, above)| above),
            None => parts,
        };
        let above = above.join(&b'/');
        let mut tree = Tree::default();
        for source in &self.sources {
            let path = Path::new(source);
            let takes_content = source.as_bytes().ends_with(b"/") && path.is_dir();
            if takes_content && new_name.is_none() {
                tree.put(put, path, parent, &above, None)?;
                continue;
            }
            let own = path.file_name().map(OsStr::as_bytes);
            let name = new_name.or(own).ok_or_else(|| {
                let error = io::Error::other("it has no name; put what is in it with a slash at its end");
                PutError::Source(source.as_bytes().to_vec(), error)
            })?;
            tree.put(put, path, parent, &above, Some(name))?;
        }
        Ok(())
    }

    /// The directory that is put into, and the name that a single source gets where the target is not there yet.
    fn place<'a>(&self, put: &mut Put, parts: &[&'a [u8]]) -> Result<(ObjectId, Option<&'a [u8]>), PutError> {
        let Some((last, above)) = parts.split_last() else { return Ok((put.writer.root(), None)) };
        let parent = put.directory(above, None)?;
        let found = Put::at(&parts.join(&b'/'), put.writer.lookup(&put.target.set, parent, last))?;
        match found {
            Some(found) if found.file_type == Some(FileType::Directory) => Ok((found.object, None)),
            _ if self.sources.len() == 1 => Ok((parent, Some(last))),
            _ => Err(PutError::Target(parts.join(&b'/'), Error::not_found("directory", "several sources"))),
        }
    }
}

/// The dataset, in whose name there may be colons, and the path in it: what follows the first colon that a slash follows.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match target.windows(2).position(|pair| pair == b":/") {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target.strip_suffix(b":").unwrap_or(target), b""),
    }
}

/// A file with holes, and its size.
fn sparse(source: &OsStr) -> io::Result<Option<(File, u64)>> {
    if source == STANDARD_INPUT {
        return Ok(None);
    }
    let file = File::open(source)?;
    let data = file.metadata()?;
    Ok((data.is_file() && has_holes(&data)).then_some((file, data.len())))
}

/// Writes an image with holes, which are not read.
fn sparse_image(target: &mut Target, mut file: &File, size: u64, source: &OsStr) -> Result<(), PutError> {
    let failed = |error: io::Error| PutError::Source(source.as_bytes().to_vec(), error);
    let mut at = 0;
    while at < size {
        // Behind the last data there is a hole up to the end.
        let (start, end) = next_data(file, at, size, true).map_err(failed)?.unwrap_or((size, size));
        if start > at {
            Put::at(b"", write_hole(&mut target.set, at, start - at))?;
            Put::at(b"", target.wrote(None, 0))?;
        }
        if start == end {
            break;
        }
        file.seek(io::SeekFrom::Start(start)).map_err(failed)?;
        let chunk_bytes = CHUNK_BYTES.min(usize::try_from(end - start).unwrap_or(CHUNK_BYTES));
        if image_part(target, &mut file.take(end - start), start, chunk_bytes, source)? != end - start {
            return Err(failed(io::Error::other("it became shorter while it was read")));
        }
        at = end;
    }
    Ok(())
}

/// Writes an image, or a part of one, from byte `start` of the volume on, and gives the number of bytes.
fn image_part(
    target: &mut Target,
    image: &mut impl Read,
    start: u64,
    chunk_bytes: usize,
    source: &OsStr,
) -> Result<u64, PutError> {
    let mut done = 0;
    loop {
        // The target is lent out in turns: to the writer of the image, and to whoever completes transaction groups.
        let mut part = image.take(IMAGE_PART_BYTES);
        match write_image(&mut target.set, &mut part, start + done, chunk_bytes) {
            Ok(0) => return Ok(done),
            Ok(bytes) => {
                done += bytes;
                Put::at(b"", target.wrote(None, bytes as usize))?;
            }
            Err(ImageError::Image(error)) => return Err(PutError::Source(source.as_bytes().to_vec(), error)),
            Err(ImageError::Volume(error)) => return Err(PutError::Target(Vec::new(), error)),
        }
    }
}

/// Bytes of an image between two looks at whether a transaction group is full.
const IMAGE_PART_BYTES: u64 = 64 << 20;

fn open(source: &OsStr) -> io::Result<ReadAhead> {
    if source == STANDARD_INPUT {
        ReadAhead::start(io::stdin())
    } else {
        ReadAhead::start(File::open(source)?)
    }
}

/// How the properties of the file system want files to be written, and whether with extended attributes.
fn settings(target: &mut Target, now: Time) -> Result<(Settings, bool), Error> {
    let head = target.head;
    let mut tx = target.pool.tx();
    let dir = tx.dataset(head)?.dir;
    let number = |tx: &Tx<'_>, name: &str| tx.inherited_number(dir, name);
    let record = number(&tx, "recordsize")?.unwrap_or(128 << 10);
    let record_bytes =
        u32::try_from(record).map_err(|_| Error::unsupported(format!("recordsize {record}")))?;
    let xattr = number(&tx, "xattr")?.unwrap_or(XATTR_SA);
    let xattrs_inline = xattr != XATTR_DIRECTORY;
    let dn_slots = match number(&tx, "dnodesize")?.unwrap_or(DNODE_LEGACY) {
        DNODE_LEGACY => 1,
        DNODE_AUTO => 2,
        bytes => u8::try_from(bytes / SLOT_BYTES)
            .map_err(|_| Error::unsupported(format!("dnodesize {bytes}")))?
            .max(1),
    };
    if dn_slots > 1 {
        tx.activate_feature(head, "large_dnode", &Value::word(0))?;
    }
    Ok((Settings { record_bytes, dn_slots, xattrs_inline, now }, xattr != XATTR_OFF))
}

/// Values of the properties `xattr` and `dnodesize`.
const XATTR_OFF: u64 = 0;
const XATTR_DIRECTORY: u64 = 1;
const XATTR_SA: u64 = 2;
const DNODE_LEGACY: u64 = 0;
const DNODE_AUTO: u64 = 1;

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn datasets_may_have_colons_in_their_names() {
        for (target, name, path) in [
            ("p", "p", ""),
            ("p/fs", "p/fs", ""),
            ("p:", "p", ""),
            ("p:/", "p", "/"),
            ("p/x:y", "p/x:y", ""),
            ("p/x:y:", "p/x:y", ""),
            ("p/x:y:/", "p/x:y", "/"),
            ("a:b/x:y:/dir:/file", "a:b/x:y", "/dir:/file"),
        ] {
            assert_eq!(split(target.as_bytes()), (name.as_bytes(), path.as_bytes()), "{target}");
        }
    }
}
