//! The pool history: commands and internal events, with user and host (`zpool history`).
//!
//! ```text
//! bonus  0 length of the records that are kept               object  0      records of the pool's creation
//!        8 end of the ring                                         kept   ring of records
//!       16 logical start of the oldest record
//!       24 logical end of the newest                      record  u64 length, nvlist in native encoding
//!       32 number of overwritten records
//! ```
//!
//! Logical offsets only grow. A logical offset at or after `kept` is stored in the ring, at `kept` plus its remainder
//! modulo the length of the ring.

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

/// The block size of the history (`SPA_OLD_MAXBLOCKSIZE`).
const BLOCK_BYTES: u32 = 128 << 10;

/// The minimum and maximum size of a history in bytes.
const HISTORY_BYTES: (u64, u64) = (128 << 10, 1 << 30);

/// The ratio of the size of the pool to the size of its history.
const POOL_PART: u64 = 1000;

/// The size limit for new records. A record may not displace all others.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// The size limit for records that are read. It is larger because OpenZFS records the input of its commands.
const RECORD_BYTES_READ: u64 = 64 << 20;

/// An event in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A command line.
    Command(&'a str),
    /// An internal event: its name and a description.
    Internal(&'a str, &'a str),
}

/// The author and the time of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Author {
    /// The host.
    pub host: Host,
    /// The user id.
    pub uid: u32,
    /// The time in seconds since 1970.
    pub now: u64,
}

structure! {
    /// The bonus of the history (`spa_history_phys_t`).
    Ring[40] {
        /// The length of the records that are never overwritten (`sh_pool_create_len`).
        kept: u64,
        /// The end of the ring (`sh_phys_max_off`).
        end: u64,
        /// The logical offset of the oldest record in the ring (`sh_bof`).
        oldest: u64,
        /// The logical offset of the next record (`sh_eof`).
        newest: u64,
        /// The number of overwritten records (`sh_records_lost`).
        lost: u64,
    }
}

impl Ring {
    /// Parses and validates the bonus.
    fn open(bonus: &[u8]) -> Result<Self> {
        let ring = Self::read(bonus, ByteOrder::Little).ok_or_else(|| {
            Error::corrupt("history", format!("bonus is {} bytes, expected {}", bonus.len(), Self::LEN))
        })?;
        let Self { kept, end, oldest, newest, .. } = ring;
        if kept >= end || oldest < kept || newest < oldest || newest - oldest > end - kept {
            let detail = format!("records span {oldest} to {newest}, the ring spans {kept} to {end}");
            return Err(Error::corrupt("history", detail));
        }
        Ok(ring)
    }

    fn len(&self) -> u64 {
        self.end - self.kept
    }

    /// Returns the offset in the object of a logical offset.
    fn place(&self, logical: u64) -> u64 {
        self.kept + (logical - self.kept) % self.len()
    }

    /// Returns the parts of the object that store `len` bytes from a logical offset, as offset and length.
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

    /// Returns the logical end of the record that starts at the logical offset `at`.
    fn record_end(&self, mos: &dyn ObjectSet, object: ObjectId, at: u64, last: u64) -> Result<u64> {
        let mut length = [0; 8];
        self.read_at(mos, object, at, &mut length)?;
        let length = u64::from_le_bytes(length);
        let end = length.checked_add(8 + at).filter(|end| *end <= last);
        end.ok_or_else(|| {
            Error::corrupt("history", format!("record at {at} is {length} bytes, which exceeds the ring"))
        })
    }
}

/// Reads all records, oldest first.
///
/// # Errors
/// Fails if the history cannot be read or is corrupt.
pub fn records(mos: &dyn ObjectSet) -> Result<Vec<NvList>> {
    let Some(object) = directory_object(mos, "history")? else {
        return Ok(Vec::new());
    };
    let ring = Ring::open(mos.info(object)?.bonus()?)?;
    // The kept records are read as a ring that never lost a record.
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
                .map_err(|error| Error::corrupt("history", format!("record at {at}: {error}")))?;
            records.push(record.list);
            at = end;
        }
    }
    Ok(records)
}

/// Creates the history of a pool with `dspace` bytes of usable space (`spa_history_create_obj`).
///
/// # Errors
/// Fails if the MOS cannot be changed.
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

/// Records an event, and overwrites the oldest records if the ring is full (`spa_history_log_sync`).
///
/// # Errors
/// Fails if the history is corrupt, if the record is too long, and if the MOS cannot be changed.
pub fn log(mos: &mut dyn ObjectStore, author: &Author, event: Event<'_>) -> Result<()> {
    let object = match Zap::open(&*mos, DIRECTORY_OBJECT)?.lookup_u64("history")? {
        Some(object) => ObjectId(object),
        // Very old pools have no history. OpenZFS creates it with the next record.
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
        .map_err(|error| Error::bad_request(format!("cannot pack the history record: {error}")))?;
    if packed.len() as u64 > RECORD_BYTES_MAX {
        return Err(Error::bad_request(format!(
            "history record is {} bytes, at most {RECORD_BYTES_MAX} are allowed",
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
    use crate::made::Store;
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
