//! Allocation for the copies of a block, either as a whole or in pieces below gang headers.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::{Salt, checksum, seal_embedded, seal_folded};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::gang::{DEPTH_MAX, GangHeader, HEADER_BYTES, PIECES};
use crate::blkptr::{BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, NormalBlock, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::zio::{AllocationClass, Space};

/// The number and kind of the allocations for a block.
#[derive(Clone, Copy)]
pub(super) struct Demand {
    pub(super) copies: u8,
    pub(super) class: AllocationClass,
    /// The maximum number of copies of a gang header: the number of addresses that fit into the pointer.
    pub(super) headers_max: u8,
    /// Larger blocks are split into pieces, even if there is space for them as a whole.
    pub(super) whole_max: Option<u64>,
}

/// The locations that were allocated for a block.
#[derive(Clone, Debug)]
pub(super) enum Placed {
    /// Locations for the whole block.
    Whole(Vec<Dva>),
    /// Locations for a gang header.
    Gang {
        /// The locations of the header.
        headers: Vec<Dva>,
        /// The pieces, with their sizes in bytes.
        pieces: Vec<(u64, Placed)>,
    },
}

/// Bytes to write at a location.
pub(super) enum GangWrite {
    /// A part of the block.
    Part(Dva, std::ops::Range<usize>),
    /// A gang header.
    Header(Dva, Vec<u8>),
}

impl Placed {
    /// Allocates space for a block of `psize` bytes, in one piece if possible (`zio_dva_allocate`,
    /// `zio_write_gang_block`).
    ///
    /// # Errors
    ///
    /// Fails if there is not enough space. Nothing remains allocated then.
    pub(super) fn allocate(space: &dyn Space, psize: u64, demand: Demand) -> Result<Self> {
        Self::allocate_at(space, psize, demand, 0)
    }

    fn allocate_at(space: &dyn Space, psize: u64, demand: Demand, depth: usize) -> Result<Self> {
        let unit = SECTOR_BYTES.max(1 << space.unit_shift());
        let may_gang = psize > unit && depth < DEPTH_MAX;
        if !may_gang || demand.whole_max.is_none_or(|whole_max| psize <= whole_max) {
            match space.allocate(psize, demand.copies, demand.class) {
                Ok(places) => return Ok(Self::Whole(places)),
                Err(error) if !may_gang || !matches!(error.fault(), Fault::NoSpace { .. }) => {
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        let copies = (demand.copies + 1).min(demand.headers_max);
        // More copies than requested are allocated even on a pool with one disk, but fewer are sufficient.
        let headers = space
            .allocate(HEADER_BYTES as u64, copies, demand.class)
            .or_else(|_| space.allocate(HEADER_BYTES as u64, demand.copies, demand.class))
            .map_err(|_| Error::from(Fault::NoSpace { bytes: psize }))?;
        let mut gang = Self::Gang { headers, pieces: Vec::new() };
        let mut left = psize;
        for n in 0..PIECES as u64 {
            if left == 0 {
                break;
            }
            let piece = (left / (PIECES as u64 - n)).next_multiple_of(unit).max(unit).min(left);
            match Self::allocate_at(space, piece, demand, depth + 1) {
                Ok(placed) => gang.push(piece, placed),
                Err(error) => {
                    gang.give_back(space);
                    let full = matches!(error.fault(), Fault::NoSpace { .. });
                    return Err(if full { Fault::NoSpace { bytes: psize }.into() } else { error });
                }
            }
            left -= piece;
        }
        Ok(gang)
    }

    fn push(&mut self, bytes: u64, placed: Self) {
        if let Self::Gang { pieces, .. } = self {
            pieces.push((bytes, placed));
        }
    }

    /// Frees all locations.
    pub(super) fn give_back(&self, space: &dyn Space) {
        match self {
            Self::Whole(places) => space.unallocate(places),
            Self::Gang { headers, pieces } => {
                for (_, piece) in pieces {
                    piece.give_back(space);
                }
                space.unallocate(headers);
            }
        }
    }

    /// Returns the addresses for the pointer of a block at these locations, and adds the writes to `jobs`. `bytes` is
    /// the stored block. `is_cut` is `true` if the checksum in its pointer is truncated for a MAC.
    ///
    /// # Errors
    ///
    /// Fails if a checksum cannot be computed.
    pub(super) fn seal(
        &self,
        bytes: &[u8],
        is_cut: bool,
        sum: &Sum<'_>,
        jobs: &mut Vec<GangWrite>,
    ) -> Result<[Dva; DVAS_PER_BLOCK_POINTER]> {
        self.seal_part(bytes, 0, is_cut, sum, jobs)
    }

    /// Implements [`seal`](Self::seal) for the part of a block that starts at byte `start`.
    fn seal_part(
        &self,
        bytes: &[u8],
        start: usize,
        is_cut: bool,
        sum: &Sum<'_>,
        jobs: &mut Vec<GangWrite>,
    ) -> Result<[Dva; DVAS_PER_BLOCK_POINTER]> {
        let mut dvas = [Dva::default(); DVAS_PER_BLOCK_POINTER];
        match self {
            Self::Whole(places) => {
                for (dva, place) in dvas.iter_mut().zip(places) {
                    *dva = *place;
                    jobs.push(GangWrite::Part(*place, start..start + bytes.len()));
                }
            }
            Self::Gang { headers, pieces } => {
                let mut header = GangHeader::default();
                let mut asize = [0; DVAS_PER_BLOCK_POINTER];
                let mut at = 0;
                for ((size, piece), out) in pieces.iter().zip(&mut header.pieces) {
                    let part = &bytes[at..at + *size as usize];
                    let addresses = piece.seal_part(part, start + at, false, sum, jobs)?;
                    for (total, address) in asize.iter_mut().zip(addresses) {
                        *total += address.asize();
                    }
                    *out = sum.piece(part, addresses)?;
                    at += part.len();
                }
                // Every header has the checksum for the location of the first one.
                let place = [u64::from(headers[0].vdev()), headers[0].offset(), sum.txg.0, 0];
                let seal = if is_cut { seal_folded } else { seal_embedded };
                let mut header = header.to_bytes(ByteOrder::Little).to_vec();
                seal(&mut header, place, ByteOrder::Little)?;
                for ((dva, place), members) in dvas.iter_mut().zip(headers).zip(asize) {
                    *dva = Dva::new(place.vdev(), place.offset(), place.asize() + members, true);
                    jobs.push(GangWrite::Header(*place, header.clone()));
                }
            }
        }
        Ok(dvas)
    }
}

/// The parameters of the checksums of the pieces of a gang block.
pub(super) struct Sum<'a> {
    pub(super) kind: ChecksumType,
    pub(super) salt: Option<&'a Salt>,
    pub(super) txg: Txg,
}

impl Sum<'_> {
    fn piece(&self, bytes: &[u8], dvas: [Dva; DVAS_PER_BLOCK_POINTER]) -> Result<BlockPointer> {
        Ok(BlockPointer::normal(&NormalBlock {
            dvas,
            lsize: bytes.len() as u64,
            psize: bytes.len() as u64,
            compression: CompressionType::OFF,
            checksum_type: self.kind,
            object_type: ObjectType::NONE,
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: ByteOrder::Little,
            logical_birth: self.txg,
            physical_birth: Txg(0),
            fill: 0,
            checksum: checksum(self.kind, bytes, ByteOrder::Little, self.salt)?.0,
        }))
    }
}
