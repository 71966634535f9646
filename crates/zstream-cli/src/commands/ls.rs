//! `zstream ls`: lists files and their attributes.

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use zstream::joined;
use zstream_zpl::node::{FileType, Node, Time};
use zstream_zpl::{Filesystem, Fuid, Visit};

use crate::failure::Failure;
use crate::files;
use crate::output::{self, Output};
use crate::pool::PoolOptions;
use crate::text::{Count, Utc, file_name};

/// The options of `zstream ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Long format: type and mode, links, owner, group, size or device number, modification time, symlink target
    #[arg(short)]
    long: bool,
    /// List subdirectories recursively
    #[arg(short = 'R')]
    recursive: bool,
    /// Filesystem or snapshot (optional if the streams hold a single snapshot), followed by paths of files and
    /// directories relative to its root
    #[arg(value_name = "DATASET[@SNAP] PATH")]
    words: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let (source, paths) = files::open(pool, &self.words)?;
        if source.is_volume() {
            return Err(Failure::usage(format_args!("{} is a volume: it has no files", source.name())));
        }
        let fs = source.filesystem()?;
        let mut out = output::text()?;
        let mut failures = 0;
        let root = [OsString::new()];
        for path in if paths.is_empty() { &root[..] } else { paths } {
            failures += self.list(&fs, path, &mut out)?;
        }
        out.flush().map_err(|error| Failure::output(&error))?;
        match failures {
            0 => Ok(()),
            _ => Err(Failure::new(format_args!("{} could not be read", Count(failures, "name")))),
        }
    }

    fn list(&self, fs: &Filesystem<'_>, path: &OsStr, out: &mut Output) -> Result<u64, Failure> {
        let failed = |path: &[u8], error: &dyn Display| {
            eprintln!("zstream: {}: {error}", file_name(path));
            Ok(1)
        };
        let start = match fs.resolve(path.as_bytes()) {
            Ok(node) => node,
            Err(error) => return failed(path.as_bytes(), &error),
        };
        if !start.is_directory() {
            self.line(fs, path.as_bytes(), &start, out)?;
            return Ok(0);
        }
        if !self.recursive {
            return self.directory(fs, path, &start, out);
        }
        let mut failures = 0;
        for visit in fs.walk(start) {
            match visit {
                Visit::Node { path, .. } if path.is_empty() => {}
                Visit::Node { path: below, node } => {
                    self.line(fs, &joined(path.as_bytes(), &below), &node, out)?
                }
                Visit::Leave { .. } => {}
                Visit::Failed { path: below, error } => {
                    failures += failed(&joined(path.as_bytes(), &below), &error)?;
                }
            }
        }
        Ok(failures)
    }

    fn directory(
        &self,
        fs: &Filesystem<'_>,
        path: &OsStr,
        node: &Node,
        out: &mut Output,
    ) -> Result<u64, Failure> {
        let directory = fs.directory(node.object)?;
        let (mut entries, mut failures) = (Vec::new(), 0);
        for entry in directory.entries() {
            match entry {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    eprintln!("zstream: {}: {error}", file_name(path.as_bytes()));
                    failures += 1;
                }
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in entries {
            if !self.long {
                self.name(&entry.name, out)?;
                continue;
            }
            match fs.node(entry.object) {
                Ok(node) => self.line(fs, &entry.name, &node, out)?,
                Err(error) => {
                    eprintln!("zstream: {}: {error}", file_name(&entry.name));
                    failures += 1;
                }
            }
        }
        Ok(failures)
    }

    fn name(&self, name: &[u8], out: &mut Output) -> Result<(), Failure> {
        writeln!(out, "{}", file_name(name)).map_err(|error| Failure::output(&error))
    }

    fn line(&self, fs: &Filesystem<'_>, name: &[u8], node: &Node, out: &mut Output) -> Result<(), Failure> {
        if !self.long {
            return self.name(name, out);
        }
        let size = match node.device() {
            Some((major, minor)) => format!("{major}, {minor}"),
            None => node.size.to_string(),
        };
        let target = match node.file_type() {
            Some(FileType::Symlink) => match fs.target(node) {
                Ok(target) => format!(" -> {}", file_name(&target)),
                Err(error) => format!(" -> ({error})"),
            },
            _ => String::new(),
        };
        let line = format!(
            "{} {:>3} {:>5} {:>5} {size:>12} {} {}{target}",
            mode(node),
            node.links,
            owner(fs, node.uid),
            owner(fs, node.gid),
            time(node.mtime),
            file_name(name)
        );
        writeln!(out, "{line}").map_err(|error| Failure::output(&error))
    }
}

/// `drwxr-sr-t`
fn mode(node: &Node) -> String {
    let bits = node.permissions();
    let mut out = String::from(node.file_type().map_or('?', FileType::letter));
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bit = |bit: u32, letter| if bits >> shift & bit != 0 { letter } else { '-' };
        out.push(bit(4, 'r'));
        out.push(bit(2, 'w'));
        out.push(match (bits & special != 0, bits >> shift & 1 != 0) {
            (false, _) => bit(1, 'x'),
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    out
}

fn owner(fs: &Filesystem<'_>, id: Fuid) -> String {
    match (id.posix(), fs.domain(id)) {
        (Some(id), _) => id.to_string(),
        (None, Some(domain)) => format!("{domain}-{}", id.rid()),
        (None, None) => format!("?{}-{}", id.domain(), id.rid()),
    }
}

fn time(time: Time) -> String {
    match u64::try_from(time.seconds) {
        Ok(seconds) => Utc(seconds).to_string(),
        Err(_) => format!("{}s", time.seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_as_ls_shows_them() {
        for (bits, text) in [
            (0o040_755, "drwxr-xr-x"),
            (0o104_755, "-rwsr-xr-x"),
            (0o102_640, "-rw-r-S---"),
            (0o041_777, "drwxrwxrwt"),
            (0o120_777, "lrwxrwxrwx"),
            (0o000_600, "?rw-------"),
        ] {
            assert_eq!(mode(&Node { mode: bits, ..Node::default() }), text);
        }
    }
}
