//! Recognition of devices that are not members of a pool but may contain one: images in other formats than raw,
//! encrypted and logical volumes, compressed files, streams. They are identified by their first bytes, and described
//! with the steps that turn them into members.

use std::fmt;

use crate::device::Device;

/// A recognized format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// The description, with its article.
    pub what: &'static str,
    /// The advice to the user.
    pub advice: &'static str,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.advice)
    }
}

const IMAGE: &str =
    "convert it (qemu-img convert -O raw), or attach it (qemu-nbd --read-only) and use that device";
const COMPRESSED: &str = "decompress it first";
const STREAM: &str = "read it with -f, or receive it with recv";
const FILESYSTEM: &str = "mount it to read a pool in a file on it";

/// The offset and bytes of a signature, the description, and the advice.
const SIGNATURES: [(u64, &[u8], &str, &str); 27] = [
    (0, b"QFI\xfb", "a qcow2 image", IMAGE),
    (0, b"KDMV", "a VMDK image", IMAGE),
    (0, b"COWD", "a VMDK image", IMAGE),
    (0, b"# Disk DescriptorFile", "the description of a VMDK image", IMAGE),
    (64, b"\x7f\x10\xda\xbe", "a VDI image", IMAGE),
    (0, b"vhdxfile", "a VHDX image", IMAGE),
    (0, b"conectix", "a VHD image", IMAGE),
    (0, b"WithoutFreeSpace", "a Parallels image", IMAGE),
    (0, b"WithouFreSpacExt", "a Parallels image", IMAGE),
    (0, b"QED\0", "a QED image", IMAGE),
    (0, b"EVF\x09\x0d\x0a\xff\0", "an EnCase image", "mount it (ewfmount) and use the raw image in it"),
    (
        0,
        b"LUKS\xba\xbe",
        "a LUKS container",
        "open it (cryptsetup open --readonly) and use the device in /dev/mapper",
    ),
    (
        0x218,
        b"LVM2 001",
        "a physical volume of LVM",
        "activate its volume group (vgchange -a y) and use the logical volume",
    ),
    (3, b"-FVE-FS-", "a BitLocker volume", "open it (cryptsetup open --type bitlk) and use that device"),
    (
        4096,
        b"\xfc\x4e\x2b\xa9",
        "a member of a Linux software RAID",
        "assemble the array (mdadm --assemble --readonly) and use that device",
    ),
    (0, b"\xfd7zXZ\0", "a file compressed by xz", COMPRESSED),
    (0, b"\x1f\x8b\x08", "a file compressed by gzip", COMPRESSED),
    (0, b"\x28\xb5\x2f\xfd", "a file compressed by zstd", COMPRESSED),
    (0, b"BZh", "a file compressed by bzip2", COMPRESSED),
    (0, b"\x04\x22\x4d\x18", "a file compressed by lz4", COMPRESSED),
    (8, b"\xac\xcb\xba\xf5\x02\0\0\0", "a stream", STREAM),
    (8, b"\0\0\0\x02\xf5\xba\xcb\xac", "a stream", STREAM),
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 filesystem", FILESYSTEM),
    (0, b"XFSB", "an XFS filesystem", FILESYSTEM),
    (0x10040, b"_BHRfS_M", "a Btrfs filesystem", FILESYSTEM),
    (3, b"NTFS    ", "an NTFS filesystem", FILESYSTEM),
    (0x8001, b"CD001", "an ISO 9660 filesystem", FILESYSTEM),
];

/// The number of bytes at the start of a device that contain all signatures.
const HEAD_BYTES: u64 = 0x10040 + 8;

/// The distance of the metadata of GELI from the end of a disk, and its first bytes.
const GELI: (u64, &[u8]) = (512, b"GEOM::ELI");

/// Recognizes the format of a device.
#[must_use]
pub fn recognize(device: &dyn Device) -> Option<Container> {
    let mut head = vec![0; device.len().min(HEAD_BYTES) as usize];
    device.read_at(0, &mut head).ok()?;
    let has = |at: u64, bytes: &[u8]| head.get(at as usize..).is_some_and(|head| head.starts_with(bytes));
    let known = SIGNATURES.iter().find(|(at, bytes, ..)| has(*at, bytes));
    if let Some((_, _, what, advice)) = known {
        return Some(Container { what, advice });
    }
    let mut tail = [0; GELI.1.len()];
    device.read_at(device.len().checked_sub(GELI.0)?, &mut tail).ok()?;
    (tail == GELI.1).then_some(Container {
        what: "a GELI provider",
        advice: "attach it on FreeBSD (geli attach -r) and use the device that ends in .eli",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;

    #[test]
    fn each_is_named_and_nothing_else() {
        for (at, bytes, what, advice) in SIGNATURES {
            let device = MemoryDevice::new(1 << 20);
            device.write_at(at, bytes).unwrap();
            assert_eq!(recognize(&device), Some(Container { what, advice }));
            device.write_at(at, &[bytes[0] ^ 1]).unwrap();
            assert_eq!(recognize(&device), None, "{what}");
        }
        let device = MemoryDevice::new(1 << 20);
        device.write_at((1 << 20) - 512, GELI.1).unwrap();
        assert_eq!(recognize(&device).unwrap().what, "a GELI provider");
        assert_eq!(recognize(&MemoryDevice::new(0)), None);
    }
}
