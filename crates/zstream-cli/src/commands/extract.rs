//! `zstream extract`: files into a directory or an archive, volumes into an image.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use zstream::extract::{Extracted, What, to_archive, to_directory, to_image};
use zstream::{Request, Source};

use crate::failure::Failure;
use crate::files;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;
use crate::text::{Count, Size};

/// The options of `zstream extract`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Destination; the directory must exist
    #[arg(short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Write a pax archive to standard output, with holes in GNU tar's sparse format and without sockets
    #[arg(long, conflicts_with = "directory")]
    tar: bool,
    /// Filesystem, volume or snapshot (optional if the streams hold a single snapshot), followed by paths of files
    /// and directories relative to its root
    #[arg(value_name = "DATASET[@SNAP] PATH")]
    words: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let (source, paths) = files::open(pool, &self.words)?;
        if source.is_volume() {
            return self.volume(&source, paths);
        }
        let fs = source.filesystem()?;
        let whole = [OsString::new()];
        let paths = if paths.is_empty() { &whole[..] } else { paths };
        let paths: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
        for path in &paths {
            zstream::parts(path)?;
        }
        let mut meter = Meter::new(None);
        let extracted = if self.tar {
            to_archive(&fs, &paths, output::binary()?, &mut meter.control())?
        } else {
            to_directory(&fs, &paths, &self.directory, &mut meter.control())?
        };
        report(&extracted, &meter)
    }

    fn volume(&self, source: &Source, paths: &[OsString]) -> Result<(), Failure> {
        let name = source.name();
        if self.tar {
            return Err(Failure::usage(format_args!("{name} is a volume: --tar requires a filesystem")));
        }
        if !paths.is_empty() {
            return Err(Request::Volume(name.to_owned()).into());
        }
        let last = name.rsplit('/').next().unwrap_or_default();
        let image = format!("{}.img", last.split('@').next().unwrap_or_default());
        to_image(source.set(), &self.directory.join(image), &mut Meter::new(None).control())?;
        Ok(())
    }
}

/// The result of an extraction. The summary is shown on a terminal, and if anything failed.
fn report(extracted: &Extracted, meter: &Meter) -> Result<(), Failure> {
    let restored = match listed(&extracted.restored) {
        nothing if nothing.is_empty() => "nothing".to_owned(),
        list => format!("{list}; {} of content", Size(extracted.bytes)),
    };
    let summary = format!("zstream: restored {restored}");
    if extracted.is_complete() {
        meter.note(&summary);
        return Ok(());
    }
    meter.line(&summary);
    let count = Count(extracted.failed.values().sum(), "item");
    Err(Failure::new(format_args!("{count} could not be restored: {}", listed(&extracted.failed))))
}

/// The counts of each kind as a list; empty if there are none.
fn listed(counts: &BTreeMap<What, u64>) -> String {
    counts.iter().map(|(what, number)| count(*what, *number)).collect::<Vec<_>>().join(", ")
}

/// A count with its noun.
fn count(what: What, count: u64) -> String {
    let one = match what {
        What::File => "file",
        What::Directory if count == 1 => "directory",
        What::Directory => return format!("{count} directories"),
        What::Symlink => "symbolic link",
        What::HardLink => "hard link",
        What::Special => "special file",
        What::Name => "name",
        What::Owner => "owner",
        What::Xattr => "extended attribute",
        What::Acl => "ACL",
        What::Mode => "mode",
        What::Times if count == 1 => return "the times of 1 file".to_owned(),
        What::Times => return format!("the times of {count} files"),
        _ => "item",
    };
    Count(count, one).to_string()
}
