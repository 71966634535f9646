//! Owners: POSIX ids, and ids in a domain (FUIDs).
//!
//! An owner is 64 bits: the lower 32 are an id, the upper 32 an index in the table of domains of the
//! filesystem. Domains are texts like `S-1-5-21-1-2-3`. With index 0, the id is a POSIX id.

use std::collections::BTreeMap;

use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_format::nvlist::{NvList, NvValue};
use zstream_format::order::ByteOrder;

/// The limit for a table of domains in bytes. Real tables have a few hundred bytes.
const TABLE_BYTES_MAX: u64 = 16 << 20;

/// A user or group of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fuid(pub u64);

impl Fuid {
    /// The index of the domain; 0 for POSIX ids.
    #[must_use]
    pub fn domain(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The id in its domain.
    #[must_use]
    pub fn rid(self) -> u32 {
        self.0 as u32
    }

    /// The POSIX id; `None` if the id belongs to a domain.
    #[must_use]
    pub fn posix(self) -> Option<u32> {
        (self.domain() == 0).then_some(self.rid())
    }
}

/// Reads the table of domains of a filesystem: texts by index.
pub(crate) fn domains(set: &dyn ObjectSet, object: ObjectId) -> Result<BTreeMap<u32, String>> {
    let info = set.info(object)?;
    let bonus = info.bonus()?;
    if bonus.len() < 8 {
        let found = bonus.len();
        return Err(Error::corrupt("FUID table", format!("bonus is {found} bytes, expected 8")));
    }
    let size = ByteOrder::Little.u64(bonus);
    if size > TABLE_BYTES_MAX {
        return Err(Fault::TooLarge { what: "FUID table", size, limit: TABLE_BYTES_MAX }.into());
    }
    if size == 0 {
        return Ok(BTreeMap::new());
    }
    let mut bytes = vec![0; size as usize];
    set.read(object, 0, &mut bytes)?;
    let table = NvList::decode(&bytes)
        .map_err(|error| Error::corrupt("FUID table", format!("object {object}: {error}")))?
        .list;
    let Some(NvValue::ListArray(rows)) = table.get("fuid_nvlist") else {
        return Err(Error::corrupt("FUID table", format!("object {object} has no list fuid_nvlist")));
    };
    let row = |row: &NvList| {
        let index = row.get_u64("fuid_idx").and_then(|index| u32::try_from(index).ok())?;
        Some((index, row.get_str("fuid_domain")?.to_owned()))
    };
    rows.iter().map(row).collect::<Option<_>>().ok_or_else(|| {
        Error::corrupt("FUID table", format!("object {object} has a row without an index or domain"))
    })
}
