//! Creation of redaction lists (`redaction_list_phys_t`; [`redact`](crate::redact) has a drawing of the layout).

use zstream_dmu::block::StoredBlock;
use zstream_dmu::dnode::NewObject;
use zstream_dmu::ids::ObjectId;
use zstream_format::algorithm::CompressionType;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::Tx;
use crate::error::Result;
use crate::redact::{ListEntry, ListHeader, RedactedBlocks};

/// The size of a list's blocks, in bytes.
const LIST_BLOCK_BYTES: u32 = 128 << 10;
/// The limit on the bonus of a dnode of one slot, in bytes (`dmu_bonus_max`).
const BONUS_BYTES_MAX: usize = 320;
/// The type of objects that consist of words and belong to the pool (`DMU_OTN_UINT64_METADATA`).
const WORDS: ObjectType = ObjectType(ObjectType::NEW_TYPE | ObjectType::METADATA | 3);

impl RedactedBlocks {
    /// Encodes the entry for a list, which stores the count less one.
    pub(super) fn encode(&self) -> [u8; ListEntry::LEN] {
        let size_and_count = (self.block_bytes / 512) << 48 | (self.count - 1);
        let entry = ListEntry { object: self.object, block: self.block, size_and_count, pad: 0 };
        entry.to_bytes(ByteOrder::Little)
    }
}

/// The header of a complete list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CompleteHeader {
    /// The number of runs of blocks in the list.
    pub(super) entries: u64,
    /// Guids of the redaction snapshots.
    pub(super) snapshots: Vec<u64>,
}

impl CompleteHeader {
    /// Returns the header of an empty list.
    pub(super) fn new(snapshots: Vec<u64>) -> Self {
        Self { entries: 0, snapshots }
    }

    fn encode(&self) -> Vec<u8> {
        let (entries, snapshots) = (self.entries, self.snapshots.len() as u64);
        let head = ListHeader { last_object: u64::MAX, last_block: u64::MAX, entries, snapshots };
        let guids = self.snapshots.iter().flat_map(|guid| guid.to_le_bytes());
        head.to_bytes(ByteOrder::Little).into_iter().chain(guids).collect()
    }
}

impl Tx<'_> {
    /// Creates a list without entries.
    pub(super) fn create_redaction_list(&mut self, header: &CompleteHeader) -> Result<ObjectId> {
        let bytes = header.encode();
        let spills = bytes.len() > BONUS_BYTES_MAX;
        let bonus_len = if spills { 0 } else { bytes.len() as u16 };
        self.feature_add("redaction_bookmarks", 1)?;
        if spills {
            self.feature_add("redaction_list_spill", 1)?;
        }
        let object = self.allocate(&NewObject::new(WORDS, LIST_BLOCK_BYTES).with_bonus(WORDS, bonus_len))?;
        self.put_list_header(object, header)?;
        Ok(object)
    }

    /// Stores the header of a list, which has as many snapshots as when the list was created.
    pub(super) fn put_list_header(&mut self, object: ObjectId, header: &CompleteHeader) -> Result<()> {
        let mut bytes = header.encode();
        if bytes.len() <= BONUS_BYTES_MAX {
            return Ok(self.mos_mut().set_bonus(object, WORDS, &bytes)?);
        }
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        let block = StoredBlock {
            logical_bytes: bytes.len() as u32,
            bytes,
            compression: CompressionType::OFF,
            crypt: None,
            embedded: false,
        };
        Ok(self.mos_mut().set_spill(object, Some(block))?)
    }
}
