//! `zstream extract`: files into a directory or an archive, volumes into an image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use zstream::extract::{
    ExtractOptions, Extracted, image_name, listed, to_archive, to_directory_with, to_image,
};
use zstream::{Control, Event, Request, Source};
use zstream_zpl::Filesystem;

use crate::failure::Failure;
use crate::files;
use crate::interrupt::Interrupt;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;
use crate::text::Count;

/// Extracts files from a filesystem or snapshot, or a volume to an image file
///
/// Without PATH, extracts everything. Restores holes, modes, times, extended attributes, symbolic and hard links,
/// FIFOs and sockets; as root also owners and devices. Never writes outside DIR, does not follow symbolic links
/// in it, and does not overwrite existing files. A file that cannot be read completely is skipped. Everything
/// that cannot be restored is reported on standard error, and the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img extract tank/home@monday -C /tmp/restored
  zstream -d disk.img extract tank/home@monday docs/2024 docs/2025
  zstream -f backup.zfs extract -C /tmp/restored
  zstream -d disk.img extract --tar tank/home@monday | zstd > home.tar.zst
  zstream -d disk.img extract tank/vm@monday         writes vm.img")]
pub(crate) struct Args {
    /// Destination; the directory must exist
    #[arg(short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Write a pax archive to standard output, with holes in GNU tar's sparse format and without sockets
    #[arg(long, conflicts_with = "directory")]
    tar: bool,
    /// Leave out devices, FIFOs and sockets
    #[arg(long, conflicts_with = "tar")]
    no_special: bool,
    /// Restore no set-user-ID and set-group-ID bits and no file capabilities
    #[arg(long, conflicts_with = "tar")]
    no_setuid: bool,
    /// As root, do not restore owners: everything belongs to root. Restores no set-user-ID and set-group-ID bits either
    #[arg(long, conflicts_with = "tar")]
    no_same_owner: bool,
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
            self.directory(&fs, &paths, &mut meter)?
        };
        report(&extracted, &meter)
    }

    fn directory(
        &self,
        fs: &Filesystem<'_>,
        paths: &[&[u8]],
        meter: &mut Meter,
    ) -> Result<Extracted, Failure> {
        let mut options = ExtractOptions::default();
        (options.no_special, options.no_setuid, options.no_same_owner) =
            (self.no_special, self.no_setuid, self.no_same_owner);
        let interrupt = Interrupt::catch()?;
        let mut left = String::new();
        let mut control = Control::new().cancelled_by(&interrupt.cancel()).watched_by(|event| {
            if let Event::Cancelled { next, extracted } = event {
                left = extracted.partial_text(next);
            } else {
                meter.event(&event);
            }
        });
        let extracted = to_directory_with(fs, paths, &self.directory, &options, &mut control);
        drop(control);
        extracted.map_err(|error| interrupt.failure(error, &left))
    }

    fn volume(&self, source: &Source, paths: &[OsString]) -> Result<(), Failure> {
        let name = source.name();
        if self.tar {
            return Err(Failure::usage(format_args!("{name} is a volume: --tar requires a filesystem")));
        }
        if !paths.is_empty() {
            return Err(Request::Volume(name.to_owned()).into());
        }
        let image = image_name(name);
        let interrupt = Interrupt::catch()?;
        let mut meter = Meter::new(None);
        let mut control = meter.control_with(&interrupt.cancel());
        let copied = to_image(source.set(), &self.directory.join(&image), &mut control);
        let left = format!(": {image} was removed, because it was not complete");
        copied.map(drop).map_err(|error| interrupt.failure(error, &left))
    }
}

/// The result of an extraction. The summary is shown on a terminal, and if anything failed.
fn report(extracted: &Extracted, meter: &Meter) -> Result<(), Failure> {
    let summary = format!("zstream: {}", extracted.text());
    if extracted.is_complete() {
        meter.note(&summary);
        return Ok(());
    }
    meter.line(&summary);
    let count = Count(extracted.failed.values().sum(), "item");
    Err(Failure::new(format_args!("{count} could not be restored: {}", listed(&extracted.failed))))
}
