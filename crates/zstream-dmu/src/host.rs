//! Who writes to a pool: what labels say of the host that last had it.

use std::fs;

/// A host, as labels name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its number; 0 for hosts that were given none, and then labels do not have it.
    pub id: u32,
    /// Its name.
    pub name: String,
}

impl Host {
    /// This host, as the ZFS module would see it: its number from `/etc/hostid`, its name from the kernel.
    ///
    /// A host without that file has no number, as with OpenZFS. One that does not tell its name is called `localhost`.
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

/// Number of the user that this program runs as; 0 where users have no numbers.
#[must_use]
pub fn user_id() -> u32 {
    #[cfg(unix)]
    let id = rustix::process::getuid().as_raw();
    #[cfg(not(unix))]
    let id = 0;
    id
}
