//! The inputs that coverage-guided fuzzing found worth keeping: `corpora/TARGET.tar.xz`, one small archive a target.
//!
//! Together they reach all that the fuzzer ever reached. Every run begins with them, and so does the coverage-guided one.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lzma_rust2::{XzOptions, XzReader, XzWriter};

/// How hard the archives are compressed: inputs share most of their bytes.
const PRESET: u32 = 6;

/// Where the inputs of a target are kept.
fn archive(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora").join(format!("{target}.tar.xz"))
}

/// The kept inputs of a target; none if there is no archive.
///
/// # Panics
/// The archive cannot be read.
#[must_use]
pub fn kept(target: &str) -> Vec<Vec<u8>> {
    let Ok(packed) = fs::read(archive(target)) else { return Vec::new() };
    let mut archive = tar::Archive::new(XzReader::new(&packed[..], true));
    let read = |entry: io::Result<tar::Entry<'_, _>>| {
        let mut bytes = Vec::new();
        entry.and_then(|mut entry| entry.read_to_end(&mut bytes)).expect("a kept input");
        bytes
    };
    archive.entries().expect("an archive of kept inputs").map(read).collect()
}

/// Replaces the kept inputs of a target by the files of a directory, as far as they fit into `limit_bytes`. The smallest come
/// first. How many there are, and the bytes they take.
///
/// # Errors
/// The files cannot be read, or the archive cannot be written.
pub fn pack(target: &str, dir: &Path, limit_bytes: usize) -> io::Result<(usize, usize)> {
    let read = |entry: io::Result<fs::DirEntry>| fs::read(entry?.path());
    let mut inputs: Vec<Vec<u8>> = fs::read_dir(dir)?.map(read).collect::<io::Result<_>>()?;
    inputs.sort_by_cached_key(|input| (input.len(), input.clone()));
    inputs.dedup();
    // Twice as many as long as they fit, then bisection: the size grows with the inputs, if not quite evenly.
    let (mut fit, mut above) = (0, inputs.len() + 1);
    let mut best = packed(&[])?;
    while above - fit > 1 {
        let is_first_rise = above == inputs.len() + 1;
        let middle = if is_first_rise { (2 * fit + 1).min(inputs.len()) } else { fit.midpoint(above) };
        let bytes = packed(&inputs[..middle])?;
        if bytes.len() <= limit_bytes {
            (fit, best) = (middle, bytes);
        } else {
            above = middle;
        }
    }
    let file = archive(target);
    fs::create_dir_all(file.parent().expect("it is in a directory"))?;
    fs::write(file, &best)?;
    Ok((fit, best.len()))
}

/// An archive of inputs.
fn packed(inputs: &[Vec<u8>]) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(XzWriter::new(Vec::new(), XzOptions::with_preset(PRESET))?);
    for (n, input) in inputs.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_size(input.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{n:05}"), &input[..])?;
    }
    archive.into_inner()?.finish()
}
