//! The host that writes to a pool, as stored in labels.

use std::fs;

/// A host in a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The hostid; 0 for hosts without one, whose labels do not have it.
    pub id: u32,
    /// The hostname.
    pub name: String,
}

impl Host {
    /// Returns this host as seen by the ZFS module: the hostid from `/etc/hostid`, the hostname from the kernel.
    ///
    /// Without that file, the hostid is 0, as in OpenZFS. If the hostname cannot be determined, it is `localhost`.
    #[must_use]
    pub fn this() -> Self {
        let id = fs::read("/etc/hostid").ok().and_then(|bytes| bytes.first_chunk().copied());
        let name = ["/proc/sys/kernel/hostname", "/etc/hostname"]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .map(|text| text.trim().to_owned())
            .find(|name| !name.is_empty());
        Self { id: id.map_or(0, u32::from_le_bytes), name: name.unwrap_or_else(|| "localhost".to_owned()) }
    }
}

/// Returns the user id of this process; 0 on systems without numeric user ids.
#[must_use]
pub(crate) fn user_id() -> u32 {
    #[cfg(unix)]
    let id = rustix::process::getuid().as_raw();
    #[cfg(not(unix))]
    let id = 0;
    id
}
