//! The scratch area of a raidz expansion.
//!
//! The first sectors of the vdev cannot be moved in place: their new locations overlap the old ones. OpenZFS first writes
//! them, as they will be, to the boot area of every member, and then an uberblock with the state "scratch valid". Until
//! the next uberblock, the first part of each member may be half overwritten, and its content is in the boot area:
//!
//! ```text
//! 0        512 KiB             4 MiB
//! labels   scratch: as from    data: [0, moved / members) is in scratch,
//!          4 MiB on            the rest is at its old location
//! ```
//!
//! This corresponds to `raidz_reflow_scratch_sync` and `vdev_raidz_reflow_copy_scratch`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use crate::device::{Device, DeviceHints};
use crate::ids::Guid;
use crate::vdev::config::VdevConfig;
use crate::vdev::label::LABEL_BYTES;
use crate::vdev::uberblock::Uberblock;
use crate::vdev::{LEAF_DATA_START, Member};

/// The offset of the scratch area on a member (`VDEV_BOOT_OFFSET`).
const SCRATCH_START: u64 = 2 * LABEL_BYTES;

/// Returns the members, those of an expanding vdev with their scratch areas in place if the uberblock requires that.
pub(crate) fn with_scratch(
    members: &HashMap<Guid, Member>,
    tops: &[VdevConfig],
    uberblock: &Uberblock,
) -> HashMap<Guid, Member> {
    let mut members = members.clone();
    if !uberblock.reflow_in_scratch() {
        return members;
    }
    for top in tops.iter().filter(|top| top.kind.is_expanding()) {
        let len = uberblock.reflowed_to() / top.children.len().max(1) as u64;
        let len = len.min(LEAF_DATA_START - SCRATCH_START);
        for vdev in top.walk() {
            if let Some(member) = members.get_mut(&vdev.guid) {
                member.device = Arc::new(ScratchDevice { inner: Arc::clone(&member.device), len });
            }
        }
    }
    members
}

/// A member whose first `len` bytes of data are read from its scratch area.
#[derive(Debug)]
struct ScratchDevice {
    inner: Arc<dyn Device>,
    len: u64,
}

impl Device for ScratchDevice {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = LEAF_DATA_START + self.len;
        if !(LEAF_DATA_START..end).contains(&offset) {
            return self.inner.read_at(offset, out);
        }
        let (scratch, rest) = out.split_at_mut((out.len() as u64).min(end - offset) as usize);
        self.inner.read_at(offset - LEAF_DATA_START + SCRATCH_START, scratch)?;
        if rest.is_empty() { Ok(()) } else { self.inner.read_at(end, rest) }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the scratch area of an expansion is in use"))
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn hints(&self) -> DeviceHints {
        DeviceHints { can_discard: false, ..self.inner.hints() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    #[test]
    fn the_first_data_is_read_from_the_scratch_area() {
        let memory = MemoryDevice::new(5 << 20);
        memory.write_at(SCRATCH_START, &[1; 1024]).unwrap();
        memory.write_at(LEAF_DATA_START - 512, &[2; 512]).unwrap();
        memory.write_at(LEAF_DATA_START, &[3; 2048]).unwrap();
        let device = ScratchDevice { inner: Arc::new(memory), len: 1024 };
        let read = |offset: u64, len: usize| {
            let mut out = vec![0; len];
            device.read_at(offset, &mut out).unwrap();
            out
        };
        assert_eq!(read(LEAF_DATA_START, 512), [1; 512]);
        assert_eq!(read(LEAF_DATA_START + 512, 1024), [[1; 512], [3; 512]].concat());
        assert_eq!(read(LEAF_DATA_START + 1024, 512), [3; 512]);
        assert_eq!(read(LEAF_DATA_START - 512, 512), [2; 512]);
        assert!(device.write_at(LEAF_DATA_START, &[0]).is_err());
        assert!(device.read_at(5 << 20, &mut [0]).is_err());
    }
}
