//! The logs of fast deduplication tables.
//!
//! ```text
//! block:  | record | record | ... | zeros |        no record crosses the end of a block
//! record: | u64 type, length, class | key 40 | entry |
//! ```
//!
//! One of the two logs is appended to, and the other one is moved to the objects of entries in the order of the keys.
//! Its header has the last key that was moved. A newer record replaces an older one of the same key.

use std::collections::BTreeMap;

use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::table::Class;
use super::{Entry, Key};
use crate::error::{Error, Result};
use crate::ids::{BlockId, Bookmark, ObjectId};
use crate::object_set::ObjectSet;

/// The version of logs.
const VERSION: u64 = 1;

/// The flag of the log that is being moved to the objects of entries (`DDL_FLAG_FLUSHING`).
const FLAG_FLUSHING: u64 = 1 << 8;

/// The flag of a header with the last key that was moved (`DDL_FLAG_CHECKPOINT`).
const FLAG_CHECKPOINT: u64 = 1 << 9;

/// The type of a record that ends a block.
const RECORD_END: u64 = 0;

/// The type of a record with an entry.
const RECORD_ENTRY: u64 = 1;

structure! {
    /// The bonus of a log (`ddt_log_header_t`).
    pub(crate) LogHeader[64] {
        /// The version, 8 bits, and the flags, 8 bits.
        info: u64,
        /// The length of the log in bytes.
        length: u64,
        /// The transaction group since which the log was appended to.
        first_txg: u64,
        /// The last key that was moved.
        checkpoint: Key,
    }
}

impl LogHeader {
    /// Returns whether the log is being moved to the objects of entries.
    pub(super) fn is_flushing(&self) -> bool {
        self.info & FLAG_FLUSHING != 0
    }

    /// Returns the header after all entries were moved (`ddt_log_truncate`).
    pub(crate) fn emptied(&self) -> Self {
        Self { info: self.info & !FLAG_CHECKPOINT, length: 0, checkpoint: Key::default(), ..*self }
    }
}

/// An entry of a log, which replaces that in an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    /// The class of the object that has an older entry of the key.
    pub class: Option<Class>,
    /// The entry.
    pub entry: Entry,
}

/// A log on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    /// Its object.
    pub object: ObjectId,
    /// Its header.
    pub header: LogHeader,
}

impl Log {
    /// Opens a log.
    pub(super) fn open(mos: &dyn ObjectSet, object: ObjectId) -> Result<Self> {
        let info = mos.info(object)?;
        let at = Bookmark { objset: mos.objset_id(), object, level: 0, block: BlockId(0) };
        let bad = |detail: String| Error::corrupt("deduplication log", detail).at_bookmark(at);
        let bonus = info.bonus()?;
        let header = LogHeader::read(bonus, ByteOrder::Little);
        let header = header.ok_or_else(|| bad(format!("bonus is {} bytes", bonus.len())))?;
        if header.info & 0xff != VERSION {
            return Err(bad(format!("version is {}, expected {VERSION}", header.info & 0xff)));
        }
        if header.length > info.end() {
            return Err(bad(format!("length is {}, the object ends at {}", header.length, info.end())));
        }
        Ok(Self { object, header })
    }

    /// Reads the entries that were not moved, and adds them to `entries`.
    pub(super) fn read(
        &self,
        mos: &dyn ObjectSet,
        is_flat: bool,
        entries: &mut BTreeMap<Key, Logged>,
    ) -> Result<()> {
        let block_bytes = mos.info(self.object)?.block_bytes;
        let done = (self.header.info & FLAG_CHECKPOINT != 0).then_some(self.header.checkpoint);
        for block in 0..self.header.length.div_ceil(block_bytes) {
            let at =
                Bookmark { objset: mos.objset_id(), object: self.object, level: 0, block: BlockId(block) };
            let bad = |detail: String| Error::corrupt("deduplication log", detail).at_bookmark(at);
            let Some(bytes) = mos.block(self.object, BlockId(block))? else {
                return Err(bad("block is a hole".to_owned()));
            };
            let mut rest = &bytes[..];
            while let Some(info) = rest.first_chunk::<8>().map(|word| u64::from_le_bytes(*word)) {
                match info & 0xff {
                    RECORD_END => break,
                    RECORD_ENTRY => {}
                    other => return Err(bad(format!("record has type {other}"))),
                }
                let length = (info >> 8 & 0xffff) as usize;
                if length < 8 + Key::BYTES + Entry::bytes(is_flat) || length > rest.len() {
                    return Err(bad(format!("record is {length} bytes, {} are left", rest.len())));
                }
                let (record, after) = rest.split_at(length);
                rest = after;
                let key = Key::parse(&record[8..]);
                let entry = Entry::parse(&record[8 + Key::BYTES..], is_flat, ByteOrder::Little);
                let entry = entry.ok_or_else(|| bad("record is too short".to_owned()))?;
                if done.is_some_and(|done| key <= done) {
                    continue;
                }
                let (kind, class) = (info >> 48 & 0xff, info >> 56);
                let class = if kind == 0 { Class::by_number(class) } else { None };
                entries.insert(key, Logged { class, entry });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    zstream_format::round_trips! { LogHeader }
}
