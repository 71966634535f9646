//! Verifies a stream while it is stored, and keeps it only if it is intact.
//!
//! ```sh
//! zfs send tank/home@monday | cargo run --example verify_upload -- monday.zfs
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zstream::VerifyingWriter;

/// Stores what `upload` gives in a file, if it is an intact stream; gives the number of snapshots in it.
fn store(mut upload: impl Read, path: &Path) -> Result<u64, Box<dyn Error>> {
    let partial = path.with_extension("partial");
    let mut writer = VerifyingWriter::new(File::create(&partial)?, Default::default())?;
    io::copy(&mut upload, &mut writer)?;
    let (file, verdict) = writer.finish()?;
    file.sync_all()?;
    if let Some(error) = verdict.error {
        fs::remove_file(&partial)?;
        return Err(error.into());
    }
    fs::rename(&partial, path)?;
    Ok(verdict.snapshots)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("usage: verify_upload FILE < STREAM")?.into();
    let snapshots = store(io::stdin().lock(), &path)?;
    println!("{}: {snapshots} snapshots", path.display());
    Ok(())
}
