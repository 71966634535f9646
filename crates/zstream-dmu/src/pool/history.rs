//! The pool's history: what was done to it, by which command and by whom (`zpool history`).
//!
//! ```text
//! bonus  0 bytes of what was written first and is kept     object  0      records of the pool's creation
//!        8 where the ring ends                                     kept   ring of records
//!       16 logical start of the oldest record
//!       24 logical end of the newest                      record  u64 length, nvlist in native encoding
//!       32 records that were overwritten
//! ```
//!
//! Logical offsets only grow; one at `kept` or behind it lies in the ring at its remainder.

use zstream_format::nvlist::{NvList, Packed};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::structure;

use super::directory_object;
use crate::dnode::NewObject;
use crate::error::{Error, Fault, Result};
use crate::host::Host;
use crate::ids::ObjectId;
use crate::mos::DIRECTORY_OBJECT;
use crate::object_set::ObjectSet;
use crate::object_store::ObjectStore;
use crate::zap::{Value, Zap, ZapMut};

/// Block size of the history (`SPA_OLD_MAXBLOCKSIZE`).
const BLOCK_BYTES: u32 = 128 << 10;

/// Least and most bytes of a history.
const HISTORY_BYTES: (u64, u64) = (128 << 10, 1 << 30);

/// A history is this part of its pool.
const POOL_PART: u64 = 1000;

/// The longest record: one that would push all others out is not written.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// The longest record that is read: OpenZFS notes what its commands were given, which may be long.
const RECORD_BYTES_READ: u64 = 64 << 20;

/// What is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A command line.
    Command(&'a str),
    /// Something that a command led to: what, and to what.
    Internal(&'a str, &'a str),
}

/// Who notes it, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The host.
    pub host: Host,
    /// The user's number.
    pub uid: u32,
    /// Seconds since 1970.
    pub now: u64,
}

structure! {
    /// The bonus of the history (`spa_history_phys_t`).
    Ring[40] {
        /// Bytes of the records that are never overwritten (`sh_pool_create_len`).
        kept: u64,
        /// Where the ring ends (`sh_phys_max_off`).
        end: u64,
        /// Logical offset of the oldest record in the ring (`sh_bof`).
        oldest: u64,
        /// Where the next record goes (`sh_eof`).
        newest: u64,
        /// Records that were overwritten.
        lost: u64,
    }
}

impl Ring {
    /// Reads and checks the bonus.
    fn open(bonus: &[u8]) -> Result<Self> {
        let ring = Self::read(bonus, ByteOrder::Little)
            .ok_or_else(|| Error::corrupt("history", format!("bonus of {} bytes", bonus.len())))?;
        let Self { kept, end, oldest, newest, .. } = ring;
        if kept >= end || oldest < kept || newest < oldest || newest - oldest > end - kept {
            let detail = format!("records from {oldest} to {newest} in a ring from {kept} to {end}");
            return Err(Error::corrupt("history", detail));
        }
        Ok(ring)
    }

    fn len(&self) -> u64 {
        self.end - self.kept
    }

    /// Where a logical offset lies in the object.
    fn place(&self, logical: u64) -> u64 {
        self.kept + (logical - self.kept) % self.len()
    }

    /// The parts of the object that hold `len` bytes from a logical offset on, as offset and length.
    fn parts(&self, logical: u64, len: u64) -> [(u64, u64); 2] {
        let start = self.place(logical);
        let first = len.min(self.end - start);
        [(start, first), (self.kept, len - first)]
    }

    fn read_at(&self, mos: &dyn ObjectSet, object: ObjectId, at: u64, out: &mut [u8]) -> Result<()> {
        let [(first, len), (second, _)] = self.parts(at, out.len() as u64);
        let (head, tail) = out.split_at_mut(len as usize);
        mos.read(object, first, head)?;
        if tail.is_empty() { Ok(()) } else { mos.read(object, second, tail) }
    }

    /// Where the record that starts at `at` ends; both logical.
    fn record_end(&self, mos: &dyn ObjectSet, object: ObjectId, at: u64, last: u64) -> Result<u64> {
        let mut length = [0; 8];
        self.read_at(mos, object, at, &mut length)?;
        let length = u64::from_le_bytes(length);
        let end = length.checked_add(8 + at).filter(|end| *end <= last);
        end.ok_or_else(|| Error::corrupt("history", format!("a record of {length} bytes at {at}")))
    }
}

/// Reads all records, oldest first.
///
/// # Errors
/// The history cannot be read or is bad.
pub fn records(mos: &dyn ObjectSet) -> Result<Vec<NvList>> {
    let Some(object) = directory_object(mos, "history")? else {
        return Ok(Vec::new());
    };
    let ring = Ring::open(mos.info(object)?.bonus()?)?;
    // What is kept is read like a ring that nothing was ever lost of.
    let kept = Ring { kept: 0, end: ring.end, oldest: 0, newest: ring.kept, lost: 0 };
    let mut records = Vec::new();
    for ring in [kept, ring] {
        let mut at = ring.oldest;
        while at < ring.newest {
            let end = ring.record_end(mos, object, at, ring.newest)?;
            if end - at > RECORD_BYTES_READ {
                let (size, limit) = (end - at, RECORD_BYTES_READ);
                return Err(Fault::TooLarge { what: "history record", size, limit }.into());
            }
            let mut bytes = vec![0; (end - at - 8) as usize];
            ring.read_at(mos, object, at + 8, &mut bytes)?;
            let record = NvList::decode(&bytes)
                .map_err(|error| Error::corrupt("history", format!("the record at {at}: {error}")))?;
            records.push(record.list);
            at = end;
        }
    }
    Ok(records)
}

/// Makes the history of a pool with `dspace` bytes of room for data (`spa_history_create_obj`).
///
/// # Errors
/// The MOS cannot be changed.
pub fn create(mos: &mut dyn ObjectStore, dspace: u64) -> Result<ObjectId> {
    let new = NewObject::new(ObjectType::SPA_HISTORY, BLOCK_BYTES)
        .with_bonus(ObjectType::SPA_HISTORY_OFFSETS, Ring::LEN as u16);
    let object = mos.allocate(&new)?;
    let (least, most) = HISTORY_BYTES;
    let end = (dspace / POOL_PART).clamp(least, most);
    let ring = Ring { kept: 0, end, oldest: 0, newest: 0, lost: 0 };
    mos.set_bonus(object, ObjectType::SPA_HISTORY_OFFSETS, &ring.to_bytes(ByteOrder::Little))?;
    ZapMut::open(mos, DIRECTORY_OBJECT)?.add("history", &Value::word(object.0))?;
    Ok(object)
}

/// Notes an event, and gives up the oldest records where there is no room (`spa_history_log_sync`).
///
/// # Errors
/// The history is bad, or the MOS cannot be changed.
pub fn log(mos: &mut dyn ObjectStore, author: &Author, event: Event<'_>) -> Result<()> {
    let object = match Zap::open(&*mos, DIRECTORY_OBJECT)?.lookup_u64("history")? {
        Some(object) => ObjectId(object),
        // Very old pools have none, and OpenZFS makes one for them with its next record.
        None => create(mos, 0)?,
    };
    let mut list = NvList::new();
    match event {
        Event::Command(line) => {
            list.add_string("history command", line).add_string("history zone", "linux");
            list.add_u64("history who", u64::from(author.uid));
        }
        Event::Internal(what, text) => {
            list.add_string("internal_name", what).add_string("history internal str", text);
            list.add_u64("history txg", mos.txg().0);
        }
    }
    list.add_u64("history time", author.now).add_string("history hostname", author.host.name.as_str());
    let packed = list
        .encode(Packed::native(ByteOrder::Little))
        .map_err(|error| Error::bad_request(format!("the history record cannot be packed: {error}")))?;
    if packed.len() as u64 > RECORD_BYTES_MAX {
        return Err(Error::bad_request(format!(
            "a history record of {} bytes, at most {RECORD_BYTES_MAX} are allowed",
            packed.len()
        )));
    }
    let mut ring = Ring::open(mos.info(object)?.bonus()?)?;
    let record = [&(packed.len() as u64).to_le_bytes()[..], &packed].concat();
    let len = record.len() as u64;
    while ring.len() - (ring.newest - ring.oldest) <= len {
        ring.oldest = ring.record_end(&*mos, object, ring.oldest, ring.newest)?;
        ring.lost += 1;
    }
    let mut at = 0;
    for (offset, len) in ring.parts(ring.newest, len) {
        if len > 0 {
            mos.write(object, offset, &record[at..at + len as usize])?;
        }
        at += len as usize;
    }
    ring.newest += len;
    // The command that created the pool is never overwritten.
    if ring.kept == 0 && matches!(event, Event::Command(_)) {
        (ring.kept, ring.oldest) = (ring.newest, ring.newest);
    }
    mos.set_bonus(object, ObjectType::SPA_HISTORY_OFFSETS, &ring.to_bytes(ByteOrder::Little))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Store;
    use crate::zap::{NewZap, write as zap};

    fn store() -> Store {
        let mut mos = Store::default();
        mos.claim(DIRECTORY_OBJECT, &NewObject::new(ObjectType::OBJECT_DIRECTORY, 0)).unwrap();
        zap::create_in(&mut mos, DIRECTORY_OBJECT, &NewZap::new(1)).unwrap();
        mos
    }

    fn author() -> Author {
        Author { host: Host { id: 0, name: "here".to_owned() }, uid: 7, now: 1_800_000_000 }
    }

    fn commands(mos: &Store) -> Vec<String> {
        let records = records(mos).unwrap();
        records.iter().filter_map(|record| record.get_str("history command")).map(str::to_owned).collect()
    }

    #[test]
    fn the_creation_is_kept_and_the_oldest_of_the_rest_give_way() {
        let mut mos = store();
        assert_eq!(records(&mos).unwrap(), []);
        let object = create(&mut mos, 1 << 20).unwrap();
        log(&mut mos, &author(), Event::Internal("create", "pool version 5000")).unwrap();
        log(&mut mos, &author(), Event::Command("pool create")).unwrap();
        let line = |n: usize| format!("{n} {}", "x".repeat(999));
        for n in 0..300 {
            log(&mut mos, &author(), Event::Command(&line(n))).unwrap();
        }
        let found = commands(&mos);
        let kept = found.len() - 1;
        assert_eq!(found[0], "pool create");
        assert!((90..130).contains(&kept), "{kept} records of some 1200 bytes in 128 KiB");
        assert_eq!(found[1..], (300 - kept..300).map(line).collect::<Vec<_>>());
        let ring = Ring::open(mos.info(object).unwrap().bonus().unwrap()).unwrap();
        assert_eq!((ring.end, ring.lost as usize), (128 << 10, 300 - kept));
        let first = &records(&mos).unwrap()[0];
        assert_eq!(first.get_str("internal_name"), Some("create"));
        assert_eq!(first.get_u64("history time"), Some(1_800_000_000));
        let last = records(&mos).unwrap().pop().unwrap();
        assert_eq!((last.get_u64("history who"), last.get_str("history zone")), (Some(7), Some("linux")));
    }

    #[test]
    fn records_that_cannot_be_are_refused() {
        let mut mos = store();
        let object = create(&mut mos, 0).unwrap();
        let long = "x".repeat(RECORD_BYTES_MAX as usize);
        assert!(log(&mut mos, &author(), Event::Command(&long)).is_err());
        log(&mut mos, &author(), Event::Command("a")).unwrap();
        mos.write(object, 0, &u64::MAX.to_le_bytes()).unwrap();
        assert!(records(&mos).unwrap_err().to_string().contains("corrupt history"));
        for words in [[1, 1, 0, 0, 0], [0, 9, 5, 4, 0], [0, 9, 0, 10, 0], [5, 9, 4, 6, 0]] {
            mos.set_bonus(object, ObjectType::SPA_HISTORY_OFFSETS, &words.map(u64::to_le_bytes).concat())
                .unwrap();
            assert!(records(&mos).is_err(), "{words:?}");
        }
    }

    zstream_format::round_trips! { Ring }
}
