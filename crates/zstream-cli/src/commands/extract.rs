//! `zstream extract`: files into a directory or an archive, volumes into an image.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use zstream_zpl::volume;

use crate::failure::Failure;
use crate::files::{self, Source};
use crate::output;
use crate::pool::PoolOptions;
use crate::restore::archive::Archive;
use crate::restore::tree::Tree;
use crate::restore::{self, Report};

/// The options of `zstream extract`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to; the directory must be there
    #[arg(short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Write a pax archive to standard output instead, holes in GNU tar's sparse form; sockets are left out
    #[arg(long, conflicts_with = "directory")]
    tar: bool,
    /// File system, volume or snapshot; may be left out where streams hold a single one. Then: files and directories, from the root of the file system
    #[arg(value_name = "DATASET[@SNAP] PATH")]
    words: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let (source, paths) = Source::open(pool, &self.words)?;
        if source.is_volume() {
            return self.volume(&source, paths);
        }
        let fs = source.filesystem()?;
        let whole = [OsString::new()];
        let paths = if paths.is_empty() { &whole[..] } else { paths };
        let paths: Vec<Vec<&[u8]>> = paths.iter().map(|path| files::parts(path)).collect::<Result<_, _>>()?;
        let mut report = Report::new();
        if self.tar {
            let mut archive = Archive::new(output::binary()?);
            for path in &paths {
                archive.add(&fs, path, &mut report)?;
            }
            archive.finish()?;
        } else {
            let mut tree = Tree::new(self.target()?);
            for path in &paths {
                tree.restore(&fs, path, &mut report);
            }
        }
        report.finish()
    }

    /// The target directory. It is the user's choice, so links on the way to it are followed; below it they are not.
    fn target(&self) -> Result<File, Failure> {
        let failed = |error| Failure::new(format_args!("{}: {error}", self.directory.display()));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.directory, flags, Mode::empty()).map_err(failed)?.into())
    }

    fn volume(&self, source: &Source, paths: &[OsString]) -> Result<(), Failure> {
        if !paths.is_empty() || self.tar {
            let what = if self.tar { "--tar is for files" } else { "it has no files" };
            return Err(Failure::usage(format_args!("{} is a volume: {what}", source.name)));
        }
        let content = volume::content(&*source.set)?;
        let last = source.name.rsplit('/').next().unwrap_or_default();
        let name = format!("{}.img", last.split('@').next().unwrap_or_default());
        let path = self.directory.join(&name);
        let failed = |error: restore::CopyError| Failure::new(format_args!("{}: {error}", path.display()));
        let directory = self.target()?;
        let file = restore::create(&directory, name.as_bytes(), 0o666).map_err(failed)?;
        let mut report = Report::new();
        let copied = restore::copy(&content, &file, &mut report.meter);
        if copied.is_err() {
            restore::remove(&directory, name.as_bytes());
        }
        copied.map_err(failed)
    }
}
