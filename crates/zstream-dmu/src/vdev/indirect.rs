//! Removed vdevs: the mapping to the new locations of their blocks (`vdev_indirect_mapping`).
//!
//! The mapping is an object of the MOS: an array of entries in ascending order of source, without overlap. Their
//! number is in the bonus of the object.
//!
//! A block may have been moved in several pieces, and a piece may have been moved again later.

use super::{Damage, DamageCause, Effort, Reading, Vdev, VdevTree};
use crate::blkptr::{Dva, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use zstream_format::order::ByteOrder;
use zstream_format::structure;

structure! {
    /// The bonus of a mapping (`vdev_indirect_mapping_phys_t`). The last word exists with the feature
    /// `obsolete_counts`.
    pub(crate) MappingPhys[32] {
        /// The highest mapped offset.
        max_offset: u64,
        bytes_mapped: u64,
        entries: u64,
        counts_object: u64,
    }

    /// An entry of a mapping (`vdev_indirect_mapping_entry_phys_t`).
    pub(crate) MappingEntry[24] {
        /// Bit 63: mark, used only during the removal; bits 0..62: source offset in sectors.
        source: u64,
        /// The destination. Its allocated size is the length of both ranges.
        destination: Dva,
    }
}

/// The entry of a removed vdev's ZAP with the space map of the ranges to which nothing refers any more.
pub(crate) const OBSOLETE_MAP: &str = "com.delphix:indirect_obsolete_sm";

/// The size of an entry in bytes.
pub(crate) const ENTRY_BYTES: usize = MappingEntry::LEN;

/// The maximum number of entries of a mapping, which use 1.5 GiB.
pub(crate) const ENTRIES_MAX: u64 = 64 << 20;

/// The maximum number of times that a block may have been moved.
pub(crate) const MOVES_MAX: usize = 32;

/// The maximum number of combinations of copies that are tried to read the pieces of a block.
pub(crate) const COMBINATIONS_MAX: usize = 4096;

const LE: ByteOrder = ByteOrder::Little;

/// A range that was moved as a whole. All numbers are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move {
    from: u64,
    len: u64,
    to_vdev: u32,
    to: u64,
}

/// The new locations of the ranges of a removed vdev.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    moves: Vec<Move>,
}

impl Mapping {
    /// Returns the number of entries according to the bonus buffer of a mapping object.
    ///
    /// # Errors
    /// Fails if the bonus is too short, or if the number exceeds [`ENTRIES_MAX`].
    pub(crate) fn entries_in_bonus(bonus: &[u8]) -> Result<u64> {
        const BYTES_MIN: usize = MappingPhys::offset_of("counts_object");
        if bonus.len() < BYTES_MIN {
            return Err(Error::corrupt(
                "mapping",
                format!("bonus is {} bytes, expected {BYTES_MIN} or more", bonus.len()),
            ));
        }
        let entries = MappingPhys::read_short(bonus, LE).entries;
        if entries > ENTRIES_MAX {
            return Err(Fault::TooLarge {
                what: "number of mapping entries",
                size: entries,
                limit: ENTRIES_MAX,
            }
            .into());
        }
        Ok(entries)
    }

    /// Adds the next entries of a mapping object, in little-endian order. A large mapping can be read in parts, and a
    /// corrupt one is detected before it uses much memory.
    ///
    /// # Errors
    /// Fails if entries overlap, are out of order or exceed the maximum offset.
    pub(crate) fn extend(&mut self, entries: &[u8]) -> Result<()> {
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let number = self.moves.len();
            let MappingEntry { source, destination: dva } = MappingEntry::parse(entry, LE);
            let from = (source & !(1 << 63)).checked_mul(SECTOR_BYTES);
            let to = dva.offset_sectors().checked_mul(SECTOR_BYTES);
            let (Some(from), Some(to)) = (from, to) else {
                return Err(Error::corrupt("mapping", format!("offsets of entry {number} are too large")));
            };
            let end = self.moves.last().map_or(0, |last| last.from + last.len);
            let fits = from.checked_add(dva.asize()).is_some() && to.checked_add(dva.asize()).is_some();
            if dva.asize() == 0 || from < end || !fits {
                let len = dva.asize();
                let detail = format!(
                    "entry {number} maps {len} bytes at {from:#x}, the previous one ends at {end:#x}"
                );
                return Err(Error::corrupt("mapping", detail));
            }
            self.moves.push(Move { from, len: dva.asize(), to_vdev: dva.vdev(), to });
        }
        Ok(())
    }

    /// Returns the new locations of the `len` bytes at `offset`, in order: vdev, offset and length.
    fn translate(&self, offset: u64, len: u64) -> Result<Vec<(u32, u64, u64)>> {
        let mut places = Vec::new();
        let (mut at, mut left) = (offset, len);
        let first = self.moves.partition_point(|entry| entry.from + entry.len <= at);
        let mut rest = self.moves[first..].iter();
        while left > 0 {
            let entry = rest.next().filter(|entry| entry.from <= at);
            let entry = entry.ok_or_else(|| {
                Error::corrupt("mapping", format!("offset {at:#x} of a removed vdev is not mapped"))
            })?;
            let skip = at - entry.from;
            let part = left.min(entry.len - skip);
            places.push((entry.to_vdev, entry.to + skip, part));
            at += part;
            left -= part;
        }
        Ok(places)
    }
}

impl VdevTree {
    /// Returns the new locations of a range of a removed vdev, in order: vdev, offset and length. They may be on another
    /// removed vdev. Returns `None` if the vdev was not removed.
    ///
    /// # Errors
    /// Fails if the mapping was not read, or does not have the whole range.
    pub(crate) fn moved(&self, vdev: u32, offset: u64, len: u64) -> Result<Option<Vec<(u32, u64, u64)>>> {
        match self.tops.get(vdev as usize).map(|top| &top.kind) {
            Some(super::Kind::Indirect(mapping)) => {
                mapping.get().ok_or(Fault::NoMapping(vdev))?.translate(offset, len).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl VdevTree {
    /// Returns the current locations of an address, in order: on no removed vdev.
    ///
    /// # Errors
    /// Fails if a mapping does not have the range, or if it was moved too often.
    pub(crate) fn current(&self, place: Dva) -> Result<Vec<Dva>> {
        let (mut found, mut left) = (Vec::new(), vec![(place, 0)]);
        while let Some((place, depth)) = left.pop() {
            if depth >= MOVES_MAX {
                return Err(Error::corrupt(
                    "mapping",
                    format!("a block was moved more than {MOVES_MAX} times"),
                ));
            }
            match self.moved(place.vdev(), place.offset(), place.asize())? {
                None => found.push(place),
                Some(pieces) => left.extend(
                    pieces
                        .into_iter()
                        .rev()
                        .map(|(vdev, offset, len)| (Dva::new(vdev, offset, len, place.is_gang()), depth + 1)),
                ),
            }
        }
        Ok(found)
    }
}

/// A range of a removed vdev.
pub(super) struct Place<'a> {
    pub(super) tree: &'a VdevTree,
    pub(super) mapping: &'a Mapping,
    pub(super) offset: u64,
    pub(super) birth: u64,
}

/// A piece of a block at its current location.
struct Piece<'a> {
    vdev: &'a Vdev,
    offset: u64,
    len: usize,
}

impl<'a> Place<'a> {
    /// Reads `out.len()` bytes that pass the verification of `reading`.
    pub(super) fn read(&self, out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        let mut pieces = Vec::new();
        self.resolve(self.mapping, self.offset, out.len() as u64, 0, &mut pieces)?;
        match &pieces[..] {
            [piece] => piece.vdev.read(piece.offset, self.birth, out, reading),
            _ => self.read_pieces(&pieces, out, reading),
        }
    }

    fn resolve(
        &self,
        mapping: &Mapping,
        offset: u64,
        len: u64,
        depth: usize,
        pieces: &mut Vec<Piece<'a>>,
    ) -> Result<()> {
        if depth >= MOVES_MAX {
            return Err(Error::corrupt("mapping", format!("a block was moved more than {MOVES_MAX} times")));
        }
        for (vdev, offset, len) in mapping.translate(offset, len)? {
            let (top, offset) = self.tree.locate(Dva::new(vdev, offset, 0, false), len)?;
            match &top.kind {
                super::Kind::Indirect(next) => {
                    let next = next.get().ok_or(Fault::NoMapping(vdev))?;
                    self.resolve(next, offset, len, depth + 1, pieces)?;
                }
                _ => pieces.push(Piece { vdev: top, offset, len: len as usize }),
            }
        }
        Ok(())
    }

    /// Reads the pieces in all combinations of copies, because the checksum of the block covers all pieces together.
    fn read_pieces(&self, pieces: &[Piece<'a>], out: &mut [u8], reading: &mut Reading<'_>) -> Result<()> {
        let mut chosen = vec![0; pieces.len()];
        let mut last = None;
        for _ in 0..COMBINATIONS_MAX {
            match self.read_chosen(pieces, &chosen, out).and_then(|()| (reading.verify)(out)) {
                Ok(()) => {
                    if reading.effort == Effort::EveryCopy || last.is_some() {
                        self.compare(pieces, out, reading);
                    }
                    return Ok(());
                }
                Err(error) => last = Some(last.unwrap_or(error)),
            }
            // Count up, with one digit per piece.
            let Some(digit) = (0..pieces.len()).find(|&i| chosen[i] + 1 < pieces[i].vdev.sources()) else {
                break;
            };
            chosen[..digit].fill(0);
            chosen[digit] += 1;
        }
        Err(last.unwrap_or_else(|| Fault::NoGoodCopy(Vec::new()).into()))
    }

    fn read_chosen(&self, pieces: &[Piece<'a>], chosen: &[usize], out: &mut [u8]) -> Result<()> {
        let mut rest = out;
        for (piece, &source) in pieces.iter().zip(chosen) {
            let (part, behind) = rest.split_at_mut(piece.len);
            piece.vdev.read_unverified(piece.offset, part, self.birth, source)?;
            rest = behind;
        }
        Ok(())
    }

    /// Reports the copies of pieces that differ from the verified content.
    fn compare(&self, pieces: &[Piece<'a>], right: &[u8], reading: &mut Reading<'_>) {
        let mut at = 0;
        for piece in pieces {
            let expected = &right[at..at + piece.len];
            let verify = |found: &[u8]| match found == expected {
                true => Ok(()),
                false => Err(Error::corrupt("copy", "copy differs from the verified one")),
            };
            let mut each = Reading::new(&verify, Effort::EveryCopy);
            let mut scratch = vec![0; piece.len];
            // A raidz vdev may be unable to identify the corrupt member. The damage is then reported for the vdev.
            if piece.vdev.read(piece.offset, self.birth, &mut scratch, &mut each).is_err()
                && each.damage.is_empty()
            {
                let (vdev, guid) = (piece.vdev.name().to_owned(), piece.vdev.guid());
                let (offset, len) = (piece.offset, piece.len as u64);
                each.damage.push(Damage { vdev, guid, offset, len, cause: DamageCause::Wrong });
            }
            reading.damage.append(&mut each.damage);
            at += piece.len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(from: u64, to_vdev: u32, to: u64, len: u64) -> Vec<u8> {
        let mut entry = vec![0; ENTRY_BYTES];
        let dva = Dva::new(to_vdev, to, len, false).words();
        LE.put_u64(&mut entry, (from / 512) | 1 << 63);
        LE.put_u64(&mut entry[8..], dva[0]);
        LE.put_u64(&mut entry[16..], dva[1]);
        entry
    }

    fn mapping(bytes: &[u8]) -> Result<Mapping> {
        let mut mapping = Mapping::default();
        mapping.extend(bytes)?;
        Ok(mapping)
    }

    #[test]
    fn ranges_are_translated_across_entries() {
        let bytes = [entry(0x1000, 1, 0x9000, 0x1000), entry(0x2000, 2, 0x4000, 0x800)].concat();
        let mapping = mapping(&bytes).unwrap();
        assert_eq!(mapping.translate(0x1800, 0x1000).unwrap(), [(1, 0x9800, 0x800), (2, 0x4000, 0x800)]);
        assert_eq!(mapping.translate(0x2600, 0x200).unwrap(), [(2, 0x4600, 0x200)]);
        assert!(mapping.translate(0, 0x200).is_err());
        assert!(mapping.translate(0x2600, 0x400).is_err());
        assert!(Mapping::default().translate(0, 1).is_err());
    }

    #[test]
    fn entries_that_overlap_or_are_empty_are_refused() {
        assert!(mapping(&[entry(0x1000, 1, 0, 0x1000), entry(0x1800, 2, 0, 0x800)].concat()).is_err());
        assert!(mapping(&entry(0x1000, 1, 0, 0)).is_err());
        assert!(mapping(&[0xff; ENTRY_BYTES]).is_err());
    }

    #[test]
    fn the_bonus_tells_the_number_of_entries() {
        let mut bonus = vec![0; 32];
        LE.put_u64(&mut bonus[16..], 7);
        assert_eq!(Mapping::entries_in_bonus(&bonus).unwrap(), 7);
        LE.put_u64(&mut bonus[16..], ENTRIES_MAX + 1);
        assert!(Mapping::entries_in_bonus(&bonus).is_err());
        assert!(Mapping::entries_in_bonus(&bonus[..16]).is_err());
    }

    zstream_format::round_trips! { MappingPhys, MappingEntry }
}
