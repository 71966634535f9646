//! Allocation for the copies of a block, either as a whole or in pieces below gang headers.

use zstream_format::algorithm::{ChecksumType, CompressionType};
use zstream_format::checksum::{Salt, checksum};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::gang::DEPTH_MAX;
use super::header::{self, HEADER_BYTES_MIN, pieces_max};
use super::large_headers::LargeHeaders;
use crate::blkptr::{BlockPointer, DVAS_PER_BLOCK_POINTER, Dva, NormalBlock, SECTOR_BYTES};
use crate::error::{Error, Fault, Result};
use crate::ids::Txg;
use crate::zio::{AllocationClass, Space};

/// The number and kind of the allocations for a block.
#[derive(Clone, Copy)]
pub(super) struct Demand<'a> {
    pub(super) copies: u8,
    pub(super) class: AllocationClass,
    /// The maximum number of copies of a gang header: the number of addresses that fit into the pointer.
    pub(super) headers_max: u8,
    /// Larger blocks are split into pieces, even if there is space for them as a whole.
    pub(super) whole_max: Option<u64>,
    /// The use of large gang headers in the pool.
    pub(super) large_headers: &'a LargeHeaders,
}

impl Demand<'_> {
    /// Returns `true` if a block of `psize` bytes may be in one piece.
    fn allows_whole(&self, psize: u64) -> bool {
        self.whole_max.is_none_or(|whole_max| psize <= whole_max)
    }
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
        /// The size of the header.
        header_bytes: usize,
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
    pub(super) fn allocate(space: &dyn Space, psize: u64, demand: Demand<'_>) -> Result<Self> {
        Self::allocate_at(space, psize, demand, 0)
    }

    fn allocate_at(space: &dyn Space, psize: u64, demand: Demand<'_>, depth: usize) -> Result<Self> {
        let unit = SECTOR_BYTES.max(1 << space.unit_shift());
        let may_gang = psize > unit && depth < DEPTH_MAX;
        if !may_gang || demand.allows_whole(psize) {
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
            .allocate(HEADER_BYTES_MIN as u64, copies, demand.class)
            .or_else(|_| space.allocate(HEADER_BYTES_MIN as u64, demand.copies, demand.class))
            .map_err(|_| Error::from(Fault::NoSpace { bytes: psize }))?;
        let large = headers.iter().map(|place| space.gang_header_bytes(*place)).min();
        let is_large = demand.large_headers.are_used();
        let header_bytes = large.filter(|_| is_large).unwrap_or(HEADER_BYTES_MIN);
        let mut gang = Self::Gang { headers, header_bytes, pieces: Vec::new() };
        // A longer piece than the last one would hardly find a place.
        let (mut left, mut longest) = (psize, psize);
        for n in 0..pieces_max(header_bytes) as u64 {
            if left == 0 {
                break;
            }
            let share = left / (pieces_max(header_bytes) as u64 - n);
            let share = share.next_multiple_of(unit).max(unit).min(left);
            let most = if is_large { longest.min(left) } else { share };
            match Self::allocate_piece(space, share, most, demand, depth) {
                Ok((bytes, placed)) => {
                    if matches!(placed, Self::Gang { .. }) && large > Some(HEADER_BYTES_MIN) {
                        demand.large_headers.want();
                    }
                    gang.push(bytes, placed);
                    left -= bytes;
                    longest = bytes;
                }
                Err(error) => {
                    gang.give_back(space);
                    let full = matches!(error.fault(), Fault::NoSpace { .. });
                    return Err(if full { Fault::NoSpace { bytes: psize }.into() } else { error });
                }
            }
        }
        Ok(gang)
    }

    /// Allocates a piece of a gang block: `most` bytes, or half of that and so on, as a whole, but not less than
    /// `share`, which may become a gang block. Returns the size with the locations.
    fn allocate_piece(
        space: &dyn Space,
        share: u64,
        most: u64,
        demand: Demand<'_>,
        depth: usize,
    ) -> Result<(u64, Self)> {
        let mut bytes = most;
        while bytes > share {
            if demand.allows_whole(bytes) {
                match space.allocate(bytes, demand.copies, demand.class) {
                    Ok(places) => return Ok((bytes, Self::Whole(places))),
                    Err(error) if !matches!(error.fault(), Fault::NoSpace { .. }) => return Err(error),
                    Err(_) => {}
                }
            }
            bytes = bytes.div_ceil(2).next_multiple_of(1 << space.unit_shift()).min(bytes - 1);
        }
        Ok((share, Self::allocate_at(space, share, demand, depth + 1)?))
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
            Self::Gang { headers, pieces, .. } => {
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
            Self::Gang { headers, header_bytes, pieces } => {
                let mut pointers = Vec::with_capacity(pieces.len());
                let mut asize = [0; DVAS_PER_BLOCK_POINTER];
                let mut at = 0;
                for (size, piece) in pieces {
                    let part = &bytes[at..at + *size as usize];
                    let addresses = piece.seal_part(part, start + at, false, sum, jobs)?;
                    for (total, address) in asize.iter_mut().zip(addresses) {
                        *total += address.asize();
                    }
                    pointers.push(sum.piece(part, addresses)?);
                    at += part.len();
                }
                // Every header has the checksum for the location of the first one.
                let place = [u64::from(headers[0].vdev()), headers[0].offset(), sum.txg.0, 0];
                let header = header::encode(&pointers, *header_bytes, place, is_cut)?;
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
