//! Parts of a disk that may contain a member of a pool: partitions of a GPT or MBR, and slices in them or directly on
//! the disk.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::gpt::SECTOR_SIZES;
use crate::slices::slices;
use crate::{gpt, mbr};

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The name: `partition 3`, or `partition 1, slice a`.
    pub name: String,
    /// The byte offset on the disk.
    pub start: u64,
    /// The size in bytes.
    pub len: u64,
}

/// The parts of a disk.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Parts {
    /// The parts, those inside another part before it. Parts whose start is ambiguous occur several times.
    pub list: Vec<Part>,
    /// The number of partitions, or of slices directly on the disk.
    pub count: usize,
    /// The error in the table, if it is damaged.
    pub damage: Option<Error>,
}

/// Returns the parts of a disk; none if there is no table.
///
/// # Errors
/// Fails if the disk cannot be read.
pub fn parts(disk: &dyn Device) -> Result<Parts> {
    let mut parts = Parts::default();
    match gpt::partitions(disk) {
        Ok(Some(found)) => {
            parts.count = found.len();
            for partition in found {
                parts.add(&format!("partition {}", partition.number), partition.start, partition.len);
            }
            return Ok(parts);
        }
        Ok(None) => {}
        Err(error) => parts.damage = Some(error),
    }
    for sector in SECTOR_SIZES {
        let Some(table) = mbr::table(disk, sector)? else { continue };
        if sector == SECTOR_SIZES[0] {
            parts.count = table.partitions.len();
            parts.damage = parts.damage.or(table.damage);
        }
        for partition in table.partitions {
            let name = format!("partition {}", partition.number);
            for slice in slices(disk, partition.start)? {
                parts.add(&format!("{name}, slice {}", slice.name), slice.start, slice.len);
            }
            parts.add(&name, partition.start, partition.len);
        }
    }
    let on_disk = slices(disk, 0)?;
    parts.count += on_disk.len();
    for slice in on_disk {
        parts.add(&format!("slice {}", slice.name), slice.start, slice.len);
    }
    Ok(parts)
}

impl Parts {
    fn add(&mut self, name: &str, start: u64, len: u64) {
        let part = Part { name: name.to_owned(), start, len };
        if !self.list.contains(&part) {
            self.list.push(part);
        }
    }
}
