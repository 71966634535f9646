//! Gang blocks: blocks that are stored in pieces because no free range was long enough.
//!
//! Each address of a gang block is that of a header (see `header`). All headers of a block are the same.
//!
//! The embedded checksum of a header includes the vdev and offset of the first address, and the physical birth of the
//! block. If the checksum in the pointer of the block is truncated for a MAC, that in the header is folded. Pieces
//! are never encrypted on their own: their checksums, and those in the headers of pieces that are gang blocks, are
//! complete.
//!
//! The concatenated pieces are the stored block, whose checksum is in the pointer of the gang block. Pieces are not
//! compressed, and can be gang blocks again.

use super::header::{self, HEADER_BYTES_MIN};
use super::read::BlockReader;
use super::verify::{Verifier, is_cut};
use crate::blkptr::{BlockKind, BlockPointer, Dva};
use crate::error::{Error, Fault, Result};
use crate::vdev::{Damage, Effort, Reading};

/// The maximum depth of nested gang blocks. Each level is at most a third of the size of the previous one, which could not be
/// allocated; the largest block is down to one sector after ten levels.
pub(crate) const DEPTH_MAX: usize = 12;

/// A gang block whose pieces are read.
pub(super) struct Gang<'a> {
    pub(super) reader: &'a BlockReader,
    /// The pointer of the gang block.
    pub(super) bp: &'a BlockPointer,
    pub(super) verifier: &'a Verifier<'a>,
    pub(super) effort: Effort,
    /// The number of gang blocks around it.
    pub(super) depth: usize,
}

impl Gang<'_> {
    /// Reads the stored block with the gang header at `address`.
    pub(super) fn read(&self, address: Dva, out: &mut [u8], damage: &mut Vec<Damage>) -> Result<()> {
        let Self { reader, bp, effort, depth, .. } = *self;
        if depth >= DEPTH_MAX {
            return Err(Error::corrupt(
                "gang block",
                format!("block is nested deeper than {DEPTH_MAX} levels"),
            ));
        }
        let pieces = read_header(reader, bp, address, effort, damage)?;
        for (piece, part) in parts(&pieces, out)? {
            match effort {
                Effort::AnyCopy => reader.read_any(piece, None, part, damage, depth + 1)?,
                Effort::EveryCopy => read_every(reader, piece, part, damage, depth + 1)?,
            }
        }
        self.verifier.verify(out)
    }
}

/// Splits the buffer for a block into those for its pieces.
fn parts<'a, 'b>(
    pieces: &'a [BlockPointer],
    out: &'b mut [u8],
) -> Result<Vec<(&'a BlockPointer, &'b mut [u8])>> {
    let whole = out.len();
    let mut rest = out;
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece.kind() {
            BlockKind::Hole => continue,
            BlockKind::Normal => {}
            _ => return Err(Error::corrupt("gang block", format!("unexpected piece {piece}"))),
        }
        piece.validate()?;
        let (size, left) = (piece.psize() as usize, rest.len());
        if size > left || piece.lsize() != piece.psize() {
            return Err(Error::corrupt(
                "gang block",
                format!("a piece is {size} bytes, expected at most {left}"),
            ));
        }
        let (part, after) = rest.split_at_mut(size);
        parts.push((piece, part));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(Error::corrupt(
            "gang block",
            format!("pieces are {} bytes, expected {whole}", whole - rest.len()),
        ));
    }
    Ok(parts)
}

impl BlockReader {
    /// Returns the ranges that a block occupies: its copies, or the headers and pieces of a gang block, where they are
    /// now if a vdev was removed. The allocated size in the address of a gang header includes its pieces; each range
    /// here has only its own size.
    ///
    /// # Errors
    /// Fails if no header of a gang block can be read, and if an address is not on a vdev.
    pub fn ranges(&self, bp: &BlockPointer) -> Result<Vec<Dva>> {
        let mut ranges = Vec::new();
        for place in self.ranges_nested(bp, 0)? {
            ranges.extend(self.vdevs().current(place)?);
        }
        Ok(ranges)
    }

    fn ranges_nested(&self, bp: &BlockPointer, depth: usize) -> Result<Vec<Dva>> {
        if !bp.is_gang() {
            return Ok(bp.dvas().collect());
        }
        let header = |address: Dva| {
            let top = self.vdevs().tops().get(address.vdev() as usize);
            let top = top.ok_or_else(|| Error::no_vdev(address.vdev()))?;
            let asize = top.asize(HEADER_BYTES_MIN as u64, bp.physical_birth());
            Ok(Dva::new(address.vdev(), address.offset(), asize, true))
        };
        let mut ranges = bp.dvas().map(header).collect::<Result<Vec<_>>>()?;
        for piece in pieces(self, bp, depth)? {
            ranges.extend(self.ranges_nested(&piece, depth + 1)?);
        }
        Ok(ranges)
    }
}

/// Returns the pieces of a gang block, from the first intact header. `depth` is the number of gang blocks around it.
///
/// # Errors
/// Fails if no header can be read, and if the block is nested too deep.
pub(crate) fn pieces(reader: &BlockReader, bp: &BlockPointer, depth: usize) -> Result<Vec<BlockPointer>> {
    if depth >= DEPTH_MAX {
        return Err(Error::corrupt("gang block", format!("block is nested deeper than {DEPTH_MAX} levels")));
    }
    let mut failed = Vec::new();
    for address in bp.dvas() {
        match read_header(reader, bp, address, Effort::AnyCopy, &mut Vec::new()) {
            Ok(pieces) => return Ok(pieces),
            Err(error) => failed.push(error),
        }
    }
    Err(Fault::NoGoodCopy(failed).into())
}

/// Reads every copy of a piece. At least one must be intact.
fn read_every(
    reader: &BlockReader,
    piece: &BlockPointer,
    out: &mut [u8],
    damage: &mut Vec<Damage>,
    depth: usize,
) -> Result<()> {
    let mut good = false;
    let mut last = None;
    let mut copy = vec![0; out.len()];
    for address in piece.dvas() {
        match reader.read_copy(piece, address, &mut copy, Effort::EveryCopy, damage, depth) {
            Ok(()) => {
                out.copy_from_slice(&copy);
                good = true;
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        Some(error) if !good => Err(error),
        _ => Ok(()),
    }
}

/// Returns the size of the largest gang header that can be at the addresses of a block.
fn header_bytes_max(reader: &BlockReader, bp: &BlockPointer) -> Result<usize> {
    let bytes = |address: Dva| {
        let top = reader.vdevs().tops().get(address.vdev() as usize);
        top.map(|top| top.config().gang_header_bytes()).ok_or_else(|| Error::no_vdev(address.vdev()))
    };
    bp.dvas().try_fold(usize::MAX, |least, address| Ok(least.min(bytes(address)?)))
}

fn read_header(
    reader: &BlockReader,
    bp: &BlockPointer,
    address: Dva,
    effort: Effort,
    damage: &mut Vec<Damage>,
) -> Result<Vec<BlockPointer>> {
    let first = bp.dva(0);
    let place = [u64::from(first.vdev()), first.offset(), bp.physical_birth().0, 0];
    let is_cut = is_cut(bp.uses_crypt(), bp.object_type());
    let mut bytes = vec![0; header_bytes_max(reader, bp)?];
    let verify = |bytes: &[u8]| header::find(bytes, place, is_cut).map(drop).map_err(Error::from);
    let mut reading = Reading::new(&verify, effort);
    let result = reader.vdevs().read(address, bp.physical_birth(), &mut bytes, &mut reading);
    damage.append(&mut reading.damage);
    result?;
    let (header, order) = header::find(&bytes, place, is_cut)?;
    Ok(header::parse(header, order))
}
