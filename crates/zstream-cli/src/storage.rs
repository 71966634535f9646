//! The opener of the devices of pools: files, disks, and, with the feature `object`, object storage.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::device::OpenDevice;

use crate::failure::Failure;

/// The size of a pool in object storage that is created without one, in bytes: a file of ext4 can have it.
pub(crate) const DEVICE_BYTES: u64 = (16 << 40) - (1 << 30);

/// What the command line says about object storage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Storage {
    /// The size of the chunks of a new pool, in bytes.
    pub(crate) chunk_bytes: Option<u64>,
    /// The generation to read instead of the newest one.
    pub(crate) generation: Option<u64>,
}

/// Returns the opener.
#[cfg(feature = "object")]
pub(crate) fn opener(storage: &Storage) -> Result<Arc<dyn OpenDevice>, Failure> {
    let mut places = zstream_object::Places::new();
    if let Some(bytes) = storage.chunk_bytes {
        places = places.with_chunk_bytes(bytes).map_err(Failure::usage)?;
    }
    if let Some(generation) = storage.generation {
        places = places.at_generation(generation);
    }
    Ok(Arc::new(places))
}

/// Returns the opener.
#[cfg(not(feature = "object"))]
pub(crate) fn opener(storage: &Storage) -> Result<Arc<dyn OpenDevice>, Failure> {
    if storage.chunk_bytes.is_some() || storage.generation.is_some() {
        return Err(Failure::usage("this build of zstream has no object storage"));
    }
    Ok(Arc::new(zstream_dmu::device::Files))
}

/// Returns `true` if the name of a device is a URL.
pub(crate) fn is_url(name: &str) -> bool {
    #[cfg(feature = "object")]
    return zstream_object::Places::is_url(name);
    #[cfg(not(feature = "object"))]
    return {
        let _ = name;
        false
    };
}

/// Refuses URLs with a user or a password, without showing them.
pub(crate) fn check_names<'a>(names: impl IntoIterator<Item = &'a OsStr>) -> Result<(), Failure> {
    let has_user = |name: &OsStr| {
        let name = name.to_str().filter(|name| is_url(name));
        let rest = name.and_then(|name| name.split_once("://")).map_or("", |(_, rest)| rest);
        rest.split('/').next().is_some_and(|host| host.contains('@'))
    };
    match names.into_iter().any(has_user) {
        true => Err(Failure::usage(
            "a URL must not contain credentials, because others can see it: set them in the environment, or in the \
             files of the cloud's own tools",
        )),
        false => Ok(()),
    }
}

/// Splits a list of paths and URLs, which are separated like paths in `PATH`. A URL has no colon except after its
/// scheme.
pub(crate) fn split_list(list: &OsStr) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for path in std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()) {
        if let (Some(last), Some(rest)) = (paths.last_mut(), path.to_str())
            && rest.starts_with("//")
            && let Some(scheme) = last.to_str()
            && is_url(&format!("{scheme}:{rest}"))
        {
            *last = format!("{scheme}:{rest}").into();
            continue;
        }
        paths.push(path);
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "object")]
    fn credentials_are_refused_and_not_shown() {
        let check = |name: &str| check_names([OsStr::new(name)]);
        let failure = check("s3://user:secret@bucket/pool").expect_err("it has credentials");
        assert!(failure.message().is_some_and(|message| !message.contains("secret")));
        assert!(check("s3://bucket/a@b").is_ok() && check("dir/a@b").is_ok());
    }

    #[test]
    #[cfg(all(unix, feature = "object"))]
    fn urls_in_lists_stay_whole() {
        let split = |list: &str| -> Vec<String> {
            split_list(OsStr::new(list)).iter().map(|path| path.display().to_string()).collect()
        };
        assert_eq!(split("a:b::/c"), ["a", "b", "/c"]);
        assert_eq!(split("s3://bucket/x"), ["s3://bucket/x"]);
        assert_eq!(split("/a:file:///d/e:b"), ["/a", "file:///d/e", "b"]);
        assert_eq!(split("/a://b"), ["/a", "//b"]);
    }
}
