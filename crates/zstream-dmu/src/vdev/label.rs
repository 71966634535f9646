//! Labels: four copies, on every device of a pool, of the config and the uberblocks.
//!
//! ```text
//! device
//!   0        label 0
//!   256 KiB  label 1
//!   512 KiB  boot area
//!   4 MiB    data
//!   end - 512 KiB  label 2
//!   end - 256 KiB  label 3                            the end is the device's size rounded down to 256 KiB
//! ```
//!
//! An embedded checksum ([`verify_embedded`]) is the last 40 bytes of the part that it covers, and includes the
//! offset on the device: a label that is copied to another offset is not valid.

use zstream_format::checksum::{EmbeddedChecksum, verify_embedded};
use zstream_format::nvlist::NvList;
use zstream_format::structure;

use super::config::{PoolConfig, PoolState};
use super::uberblock::{self, RING_BYTES, Uberblock};
use crate::device::Device;
use crate::error::{Error, Fault, Result};
use crate::ids::{Guid, Txg};

/// The number of labels on a device (`VDEV_LABELS`).
pub const LABELS: usize = 4;

structure! {
    /// A label (`vdev_label_t`). It is read and written in parts: only sizes and offsets are used.
    LabelParts[256 << 10] {
        blank: [u8; 8 << 10],
        boot: BootBlock,
        config: ConfigBlock,
        /// The ring of uberblocks, see [`uberblock`].
        ring: [u8; RING_BYTES as usize],
    }

    /// The boot environment in a label (`vdev_boot_envblock_t`).
    BootBlock[8 << 10] {
        version: u64,
        environment: [u8; (8 << 10) - 8 - EmbeddedChecksum::LEN],
        embedded: EmbeddedChecksum,
    }

    /// The config of the pool and of the vdev in a label (`vdev_phys_t`).
    ConfigBlock[112 << 10] {
        /// An XDR nvlist.
        list: [u8; LIST_BYTES_MAX],
        embedded: EmbeddedChecksum,
    }
}

/// The maximum size of the nvlist in a label, in bytes.
pub(super) const LIST_BYTES_MAX: usize = (112 << 10) - EmbeddedChecksum::LEN;

/// The offset of the boot environment in a label.
pub(super) const BOOT_OFFSET: u64 = LabelParts::offset_of("boot") as u64;

/// The size of the boot environment, checksum included.
pub(super) const BOOT_BYTES: usize = BootBlock::LEN;

/// The size of a label.
pub const LABEL_BYTES: u64 = LabelParts::LEN as u64;

/// The minimum size of a device with room for four labels and the boot area.
pub(crate) const DEVICE_BYTES_MIN: u64 = 8 << 20;

/// The offset of the nvlist in a label.
pub const CONFIG_OFFSET: u64 = LabelParts::offset_of("config") as u64;

/// The size of the area of the nvlist, checksum included.
pub const CONFIG_BYTES: usize = ConfigBlock::LEN;

/// The offset of the ring of uberblocks in a label.
pub const RING_OFFSET: u64 = LabelParts::offset_of("ring") as u64;

/// Returns the byte offset of label number `label` on a device of `len` bytes, or `None` if the device is too small
/// for labels.
#[must_use]
pub fn offset(len: u64, label: usize) -> Option<u64> {
    if len < DEVICE_BYTES_MIN || label >= LABELS {
        return None;
    }
    let end = len - len % LABEL_BYTES;
    Some(if label < 2 { label as u64 * LABEL_BYTES } else { end - (LABELS - label) as u64 * LABEL_BYTES })
}

/// Returns the verifier for the embedded checksum of a part of a label: its byte offset on the device.
#[must_use]
pub fn verifier(offset: u64) -> [u64; 4] {
    [offset, 0, 0, 0]
}

/// The role of a device in a pool, according to its newest label.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// A member in the vdev tree of a pool.
    Member(Box<PoolConfig>),
    /// A hot spare or a cache device, which has no data of the pool.
    Auxiliary {
        /// The state in the label, which tells spares from cache devices.
        state: PoolState,
        /// The guid of the device.
        guid: Guid,
    },
}

/// A label whose checksum is correct.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Label {
    /// The number of the label, 0 to 3.
    pub number: usize,
    /// The nvlist as it was stored.
    pub list: NvList,
    /// The role of the device.
    pub role: Role,
}

impl Label {
    /// Returns the transaction group in which the label was written, or 0 for auxiliary devices.
    #[must_use]
    pub fn txg(&self) -> u64 {
        match &self.role {
            Role::Member(config) => config.txg,
            Role::Auxiliary { .. } => 0,
        }
    }

    /// Returns the guids of the pool and of the device, unless that is a spare or a cache device.
    fn owner(&self) -> Option<(Guid, Guid)> {
        match &self.role {
            Role::Member(config) => Some((config.pool_guid, config.guid.unwrap_or(Guid(0)))),
            Role::Auxiliary { .. } => None,
        }
    }

    /// Reads label number `number` of a device.
    ///
    /// # Errors
    /// Fails if the device is too small or cannot be read, if the checksum does not match, and if the nvlist is not
    /// that of a label.
    pub fn read(device: &dyn Device, number: usize) -> Result<Self> {
        let start = offset(device.len(), number).ok_or_else(|| too_small(device))?;
        let at = start + CONFIG_OFFSET;
        Self::read_config(device, number, at).map_err(|error| error.at_offset(at))
    }

    fn read_config(device: &dyn Device, number: usize, at: u64) -> Result<Self> {
        let mut bytes = vec![0; CONFIG_BYTES];
        device.read_at(at, &mut bytes)?;
        verify_embedded(&bytes, verifier(at))?;
        let list = NvList::decode(&bytes)
            .map_err(|error| Error::corrupt("label", format!("nvlist cannot be decoded: {error}")))?
            .list;
        let role = match list.get_u64("state").map(PoolState::from) {
            Some(state @ (PoolState::Spare | PoolState::L2Cache)) => {
                let guid = list
                    .get_u64("guid")
                    .ok_or_else(|| Error::corrupt("label", "guid is missing or not a number"))?;
                Role::Auxiliary { state, guid: Guid(guid) }
            }
            _ => Role::Member(Box::new(PoolConfig::parse(&list)?)),
        };
        Ok(Self { number, list, role })
    }
}

fn too_small(device: &dyn Device) -> Error {
    Fault::TooSmall(format!("device has {} bytes, too few for a member of a pool", device.len())).into()
}

/// The four labels of a device.
#[derive(Debug)]
#[non_exhaustive]
pub struct Labels {
    /// Each label, or the reason why it is not valid.
    pub copies: Vec<Result<Label>>,
    /// For each label, `true` if it is intact but of another device or pool, so that its uberblocks do not count.
    foreign: [bool; LABELS],
}

impl Labels {
    /// Reads all labels of a device.
    #[must_use]
    pub fn read(device: &dyn Device) -> Self {
        let copies = (0..LABELS).map(|number| Label::read(device, number)).collect();
        Self { copies, foreign: [false; LABELS] }
    }

    /// Returns the pools and devices of the labels, without repetitions: more than one if some labels were written for
    /// another device or pool.
    #[must_use]
    pub(crate) fn owners(&self) -> Vec<(Guid, Guid)> {
        let mut owners: Vec<_> = self.good().filter_map(Label::owner).collect();
        owners.sort();
        owners.dedup();
        owners
    }

    /// Reads the labels again, and keeps those of one pool and device.
    #[must_use]
    pub(crate) fn only(device: &dyn Device, owner: (Guid, Guid)) -> Self {
        let mut labels = Self::read(device);
        for (copy, foreign) in labels.copies.iter_mut().zip(&mut labels.foreign) {
            let other = copy.as_ref().ok().and_then(Label::owner).filter(|other| *other != owner);
            if let Some((pool, _)) = other {
                *foreign = true;
                *copy = Err(Error::corrupt("label", format!("is of pool {}", pool.0)));
            }
        }
        labels
    }

    /// Returns the uberblocks of a device, as [`uberblocks`], without those of labels of other devices or pools.
    ///
    /// # Errors
    /// Fails as [`uberblocks`].
    pub fn uberblocks(&self, device: &dyn Device, ashift: u8) -> Result<Vec<FoundUberblock>> {
        let found = uberblocks(device, ashift)?;
        Ok(found.into_iter().filter(|found| !self.foreign[found.label]).collect())
    }

    /// Returns the labels whose checksum is correct.
    pub fn good(&self) -> impl Iterator<Item = &Label> {
        self.copies.iter().filter_map(|copy| copy.as_ref().ok())
    }

    /// Returns the newest label that is not newer than `txg`, or the newest if all are.
    ///
    /// After a crash between the writes of an uberblock and of the labels that belong to it, labels may be newer than
    /// the uberblock.
    #[must_use]
    pub fn best(&self, txg: Option<Txg>) -> Option<&Label> {
        let limit = txg.map_or(u64::MAX, |txg| txg.0);
        self.good().max_by_key(|label| (label.txg() <= limit, label.txg(), std::cmp::Reverse(label.number)))
    }
}

/// An uberblock and its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundUberblock {
    /// The number of the label.
    pub label: usize,
    /// The slot in the ring.
    pub slot: u64,
    /// The uberblock.
    pub uberblock: Uberblock,
}

/// Returns all uberblocks of a device whose checksums are correct, for sectors of 2^`ashift` bytes.
///
/// # Errors
/// Fails if no ring could be read.
pub fn uberblocks(device: &dyn Device, ashift: u8) -> Result<Vec<FoundUberblock>> {
    let mut found = Vec::new();
    let mut failure = None;
    for label in 0..LABELS {
        let at = offset(device.len(), label).ok_or_else(|| too_small(device))? + RING_OFFSET;
        let mut ring = vec![0; RING_BYTES as usize];
        match device.read_at(at, &mut ring) {
            Ok(()) => {
                let slots = uberblock::scan(&ring, at, ashift).into_iter();
                found.extend(slots.map(|(slot, uberblock)| FoundUberblock { label, slot, uberblock }));
            }
            Err(error) => failure = Some(Error::from(error).at_offset(at)),
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { BootBlock }
}
