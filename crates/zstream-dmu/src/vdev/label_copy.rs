//! Copies of labels on other devices.

use zstream_format::checksum::{seal_embedded, verify_embedded};

use super::label::{
    self, BOOT_BYTES, BOOT_OFFSET, CONFIG_BYTES, CONFIG_OFFSET, LABEL_BYTES, LABELS, RING_OFFSET,
};
use super::uberblock::{self, RING_BYTES};
use crate::device::Device;
use crate::error::{Error, Fault, Result};

/// Copies the four labels of a member with sectors of 2^`ashift` bytes to another device, which may be larger. They are
/// identical, except for the checksums of labels that are at another offset there.
///
/// # Errors
/// Fails if a device is too small for labels, or if one cannot be read or written.
pub fn copy_labels(from: &dyn Device, to: &dyn Device, ashift: u8) -> Result<()> {
    for number in 0..LABELS {
        let place = |device: &dyn Device| {
            label::offset(device.len(), number).ok_or_else(|| {
                Error::from(Fault::TooSmall(format!("device has {} bytes, too few for labels", device.len())))
            })
        };
        let (old, new) = (place(from)?, place(to)?);
        let mut bytes = vec![0; LABEL_BYTES as usize];
        from.read_at(old, &mut bytes).map_err(|error| Error::from(error).at_offset(old))?;
        if old != new {
            seal_again(&mut bytes, ashift, old, new)?;
        }
        to.write_at(new, &bytes).map_err(|error| Error::from(error).at_offset(new))?;
    }
    Ok(())
}

/// Changes the checksums of a label from those for offset `old` of a device to those for offset `new`. A part whose
/// checksum is wrong stays as it is.
fn seal_again(bytes: &mut [u8], ashift: u8, old: u64, new: u64) -> Result<()> {
    let slot = uberblock::slot_bytes(ashift);
    let slots = (0..RING_BYTES / slot).map(|n| (RING_OFFSET + n * slot, slot as usize));
    let parts = [(BOOT_OFFSET, BOOT_BYTES), (CONFIG_OFFSET, CONFIG_BYTES)].into_iter().chain(slots);
    for (at, len) in parts {
        let part = &mut bytes[at as usize..at as usize + len];
        if let Ok(order) = verify_embedded(part, label::verifier(old + at)) {
            seal_embedded(part, label::verifier(new + at), order)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use zstream_format::nvlist::NvList;
    use zstream_format::order::ByteOrder;

    use super::*;
    use crate::device::MemoryDevice;
    use crate::vdev::label::Label;
    use crate::vdev::label_write;

    #[test]
    fn labels_are_valid_on_a_larger_device() {
        let (from, to) = (MemoryDevice::new(64 << 20), MemoryDevice::new(100 << 20));
        let mut list = NvList::default();
        list.add_u64("version", 5000);
        list.add_u64("state", 3);
        list.add_u64("guid", 77);
        label_write::initialize(&from, &list).unwrap();
        copy_labels(&from, &to, 9).unwrap();
        for number in 0..LABELS {
            assert_eq!(Label::read(&to, number).unwrap().list, list, "label {number}");
            let at = label::offset(to.len(), number).unwrap() + BOOT_OFFSET;
            let mut boot = vec![0; BOOT_BYTES];
            to.read_at(at, &mut boot).unwrap();
            assert_eq!(verify_embedded(&boot, label::verifier(at)).unwrap(), ByteOrder::Little);
        }
        assert!(copy_labels(&from, &MemoryDevice::new(1 << 20), 9).is_err());
    }
}
