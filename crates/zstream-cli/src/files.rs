//! What the verbs that read files have in common: which dataset, and its objects.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::vdev::VdevState;
use zstream_format::object_type::ObjsetType;

use crate::failure::Failure;
use crate::pool::PoolOptions;

/// Bytes that are read at a time: enough blocks to keep all cores decompressing.
pub(crate) const CHUNK_BYTES: usize = 8 << 20;

/// An open file system, volume or snapshot.
pub(crate) struct Source {
    /// Its name.
    pub(crate) name: String,
    /// Its objects.
    pub(crate) set: Arc<dyn ObjectSet>,
}

impl Source {
    /// Opens a dataset of the pool that the options name, with its key where it needs one.
    pub(crate) fn open(options: &PoolOptions, name: &str) -> Result<Self, Failure> {
        let pool = options.open(Some(name))?;
        if pool.pool.health() != VdevState::Online {
            eprintln!(
                "zstream: pool {} has members missing; what is read is put together from the others",
                pool.pool.name()
            );
        }
        let dataset = pool.dsl.dataset(name)?;
        options.unlock(&dataset)?;
        let set = dataset.objset()?;
        if !dataset.is_snapshot() && set.has_intent_log() {
            eprintln!(
                "zstream: {name}: the intent log was not replayed: the last synchronous writes are missing"
            );
        }
        Ok(Self { name: name.to_owned(), set })
    }

    /// Whether it is a volume.
    pub(crate) fn is_volume(&self) -> bool {
        self.set.objset_type() == ObjsetType::ZVOL
    }
}

/// The parts of a path that the user gave, from the root of the file system.
pub(crate) fn parts(path: &OsStr) -> Result<Vec<&[u8]>, Failure> {
    let parts: Vec<_> = path
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(Failure::usage(format_args!("{}: a path may not have '..' in it", path.display())));
    }
    Ok(parts)
}
