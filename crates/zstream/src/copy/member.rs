//! The copy of one member of a pool.
//!
//! ```text
//! progress, flush -> blocks, in the order of their offsets; now and then: flush -> progress, flush
//!   -> boot area, flush -> labels, flush
//! ```
//!
//! The progress is in the boot area of the new device, which the copy overwrites at last. Before the labels are written,
//! the device is not a member of a pool.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use zstream_dmu::RangeSet;
use zstream_dmu::device::{Device, EntryKind, Mode, OpenDevice};
use zstream_dmu::error::Error as PoolError;
use zstream_dmu::ids::{Guid, Txg};
use zstream_dmu::pool::UsedMember;
use zstream_dmu::vdev::label::{LABEL_BYTES, Labels, Role, uberblocks};
use zstream_dmu::vdev::{LEAF_DATA_START, copy_labels};
use zstream_format::checksum::{EmbeddedChecksum, seal_embedded, verify_embedded};
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::on_device;
use crate::control::Control;
use crate::error::{Error, MemberFault, Result};

/// The offset of the progress in the boot area, which OpenZFS does not use.
const PROGRESS_OFFSET: u64 = 2 * LABEL_BYTES;

/// The bytes after which the progress is recorded.
const PROGRESS_BYTES: u64 = 256 << 20;

/// The bytes that are read with one call.
const PIECE_BYTES: u64 = 4 << 20;

/// The pieces that are read ahead.
const PIECES_AHEAD: usize = 4;

/// The magic number of a progress record: "zscopy" and a version.
const MAGIC: u64 = 0x7a73_636f_7079_0001;

structure! {
    /// The progress of a copy on the new device.
    Progress[512] {
        magic: u64,
        pool: u64,
        member: u64,
        txg: Txg,
        /// The size of the device that is copied.
        len: u64,
        /// The offset before which everything was copied.
        position: u64,
        pad: [u8; 512 - 48 - EmbeddedChecksum::LEN],
        embedded: EmbeddedChecksum,
    }
}

/// A member to copy, with its pool.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) pool: Guid,
    pub(super) txg: Txg,
    pub(super) member: &'a UsedMember,
}

impl Origin<'_> {
    fn progress(&self, position: u64) -> Progress {
        Progress {
            magic: MAGIC,
            pool: self.pool.0,
            member: self.member.guid.0,
            txg: self.txg,
            len: self.member.device.len(),
            position,
            pad: [0; 512 - 48 - EmbeddedChecksum::LEN],
            embedded: EmbeddedChecksum::default(),
        }
    }
}

/// A copy under way.
pub(super) struct Copying<'a> {
    origin: Origin<'a>,
    path: PathBuf,
    device: Arc<dyn Device>,
    position: u64,
}

impl<'a> Copying<'a> {
    /// Opens or creates the new device, and finds where an interrupted copy ended.
    pub(super) fn open(
        origin: Origin<'a>,
        opener: &dyn OpenDevice,
        path: &Path,
        force: bool,
    ) -> Result<Self> {
        let len = origin.member.device.len();
        let fault = |fault| Error::Member { path: path.display().to_string(), fault };
        let kind = match opener.kind(path) {
            Ok(kind) => Some(kind),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(on_device(path)(error)),
        };
        let create = |replace| opener.open(path, Mode::Create { len, replace }).map_err(on_device(path));
        let Some(kind) = kind else {
            return Ok(Self { origin, path: path.to_owned(), device: create(false)?, position: 0 });
        };
        let mut device = opener.open(path, Mode::Write).map_err(on_device(path))?;
        let position = position(&origin, &*device);
        if position.is_none() && !force {
            check_unused(kind, &*device).map_err(fault)?;
        }
        if device.len() != len && kind == EntryKind::File {
            drop(device);
            device = create(true)?;
        }
        if device.len() < len {
            return Err(fault(MemberFault::TooSmall { bytes: device.len(), required: len }));
        }
        Ok(Self { origin, path: path.to_owned(), device, position: position.unwrap_or(0) })
    }

    /// The bytes of blocks that an earlier copy has written.
    pub(super) fn resumed_bytes(&self) -> u64 {
        let ranges = self.origin.member.ranges.iter();
        ranges.map(|(start, end)| end.min(self.position).saturating_sub(start)).sum()
    }

    /// Copies the blocks that are not on the new device yet. Returns the number of bytes.
    pub(super) fn copy_blocks(&mut self, control: &mut Control<'_>) -> Result<u64> {
        control.did(usize::try_from(self.resumed_bytes()).unwrap_or(usize::MAX));
        // From now on, a copy that is killed is known as one.
        self.record()?;
        let (source, name) = (Arc::clone(&self.origin.member.device), &self.origin.member.name);
        let pieces = pieces(&self.origin.member.ranges, self.position);
        let (mut bytes, mut unrecorded) = (0, 0);
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(PIECES_AHEAD);
            scope.spawn(move || {
                for (start, len) in pieces {
                    let mut piece = vec![0; len as usize];
                    let read = source.read_at(start, &mut piece).map(|()| (start, piece));
                    let is_over = read.is_err();
                    if sender.send(read).is_err() || is_over {
                        break;
                    }
                }
            });
            for read in receiver {
                control.cancel().check()?;
                let (start, piece) = read.map_err(|error| PoolError::from(error).on_vdev(name))?;
                self.device.write_at(start, &piece).map_err(on_device(&self.path))?;
                self.position = start + piece.len() as u64;
                bytes += piece.len() as u64;
                unrecorded += piece.len() as u64;
                control.did(piece.len());
                if unrecorded >= PROGRESS_BYTES {
                    self.record()?;
                    unrecorded = 0;
                }
            }
            Ok(bytes)
        })
        .inspect_err(|_: &Error| {
            // So that the next copy continues here; the first error is the one that counts.
            let _ = self.record();
        })
    }

    /// Records the progress, after everything before it is on stable storage.
    fn record(&self) -> Result<()> {
        let place = on_device(&self.path);
        self.device.flush().map_err(&place)?;
        let mut bytes = self.origin.progress(self.position).to_bytes(ByteOrder::Little);
        seal_embedded(&mut bytes, [PROGRESS_OFFSET, 0, 0, 0], ByteOrder::Little).map_err(PoolError::from)?;
        self.device.write_at(PROGRESS_OFFSET, &bytes).map_err(&place)?;
        self.device.flush().map_err(&place)
    }

    /// Makes the new device a member of the copied pool.
    pub(super) fn finish(self) -> Result<()> {
        let place = on_device(&self.path);
        let member = self.origin.member;
        self.device.flush().map_err(&place)?;
        let mut boot = vec![0; (LEAF_DATA_START - PROGRESS_OFFSET) as usize];
        let read = member.device.read_at(PROGRESS_OFFSET, &mut boot);
        read.map_err(|error| PoolError::from(error).on_vdev(&member.name))?;
        self.device.write_at(PROGRESS_OFFSET, &boot).map_err(&place)?;
        self.device.flush().map_err(&place)?;
        copy_labels(&*member.device, &*self.device, member.ashift)
            .map_err(|error| error.on_vdev(self.path.display()))?;
        self.device.flush().map_err(&place)
    }
}

/// Checks that a pool with these members is still in the transaction group that is copied. Not every member has each
/// uberblock.
pub(super) fn check_unchanged(pool: &str, members: &[UsedMember], txg: Txg) -> Result<()> {
    let mut newest = Txg::default();
    for member in members {
        let found = uberblocks(&*member.device, member.ashift)?;
        newest = found.iter().map(|found| found.uberblock.txg).fold(newest, Txg::max);
    }
    match newest == txg {
        true => Ok(()),
        false => Err(Error::Changed { pool: pool.to_owned(), from: txg, to: newest }),
    }
}

/// The pieces of the ranges from an offset on: their offsets and sizes.
fn pieces(ranges: &RangeSet, position: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    ranges.iter().flat_map(move |(start, end)| {
        let starts = (start.max(position)..end).step_by(PIECE_BYTES as usize);
        starts.map(move |at| (at, PIECE_BYTES.min(end - at)))
    })
}

/// Where an interrupted copy of the same state of the same member ended.
fn position(origin: &Origin<'_>, device: &dyn Device) -> Option<u64> {
    let mut bytes = [0; Progress::LEN];
    device.read_at(PROGRESS_OFFSET, &mut bytes).ok()?;
    let order = verify_embedded(&bytes, [PROGRESS_OFFSET, 0, 0, 0]).ok()?;
    let found = Progress::read(&bytes, order)?;
    let expected = Progress { embedded: found.embedded, ..origin.progress(found.position) };
    (found == expected).then_some(found.position)
}

/// Refuses a device that has something else.
fn check_unused(kind: EntryKind, device: &dyn Device) -> Result<(), MemberFault> {
    if kind == EntryKind::File {
        return Err(MemberFault::Exists);
    }
    match Labels::read(device).best(None).map(|label| &label.role) {
        Some(Role::Member(config)) => {
            Err(MemberFault::InUse { pool: config.name.clone(), state: config.state })
        }
        Some(Role::Auxiliary { state, .. }) => Err(MemberFault::Auxiliary(*state)),
        None => Ok(()),
    }
}
