//! Quotas of users, groups and projects (`zfs_quota.c`).
//!
//! ```text
//! master node   userquota@ groupquota@ projectquota@              table: id in hexadecimal -> limit in bytes
//!               userobjquota@ groupobjquota@ projectobjquota@     table: id in hexadecimal -> limit in objects
//!               defaultuserquota and five others (OpenZFS 2.4)    limit of the ids that are not in the table
//! ```
//!
//! An entry of 0 does not exist. The use of space that is limited is counted in objects of the object set, by hexadecimal
//! id, for counts of objects with the prefix `obj-`.

use std::collections::HashMap;
use std::fmt;

use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::objset::{GROUP_USED_OBJECT, Objset, ObjsetFlags, PROJECT_USED_OBJECT, USER_USED_OBJECT};
use zstream_dmu::zap::{self, NewZap, Value, Zap, ZapMut};
use zstream_format::object_type::{ObjectType, ObjsetType};

use crate::error::{Error, Result};
use crate::master;

/// The version of filesystems that count space by owner (`ZPL_VERSION_USERSPACE`).
const VERSION_USERSPACE: u64 = 4;

/// The largest number of a project (`zpl_is_valid_projid`), which stands for an invalid one.
const PROJECT_INVALID: u32 = u32::MAX;

/// A kind of quota.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kind {
    /// The name of its table in the master node: `userquota@`.
    pub table: &'static str,
    /// The name of the limit for all other ids: `defaultuserquota`.
    pub default: &'static str,
    /// "user", "group" or "project".
    pub whose: &'static str,
    used: ObjectId,
    /// The prefix of the names of what is counted.
    prefix: &'static str,
    counted: ObjsetFlags,
}

const fn kind(
    names: (&'static str, &'static str, &'static str),
    used: ObjectId,
    prefix: &'static str,
    counted: ObjsetFlags,
) -> Kind {
    let (table, default, whose) = names;
    Kind { table, default, whose, used, prefix, counted }
}

const BYTES: ObjsetFlags = ObjsetFlags::USER_ACCOUNTING_COMPLETE;
const OBJECTS: ObjsetFlags = ObjsetFlags::USER_OBJECT_ACCOUNTING_COMPLETE;
const PROJECTS: ObjsetFlags = ObjsetFlags::PROJECT_QUOTA_COMPLETE;

/// All kinds of quotas.
pub const KINDS: [Kind; 6] = [
    kind(("userquota@", "defaultuserquota", "user"), USER_USED_OBJECT, "", BYTES),
    kind(("groupquota@", "defaultgroupquota", "group"), GROUP_USED_OBJECT, "", BYTES),
    kind(("projectquota@", "defaultprojectquota", "project"), PROJECT_USED_OBJECT, "", PROJECTS),
    kind(("userobjquota@", "defaultuserobjquota", "user"), USER_USED_OBJECT, "obj-", OBJECTS),
    kind(("groupobjquota@", "defaultgroupobjquota", "group"), GROUP_USED_OBJECT, "obj-", OBJECTS),
    kind(("projectobjquota@", "defaultprojectobjquota", "project"), PROJECT_USED_OBJECT, "obj-", PROJECTS),
];

impl Kind {
    /// Returns `true` for quotas of projects, which need a feature of the pool.
    #[must_use]
    pub fn is_of_project(&self) -> bool {
        self.used == PROJECT_USED_OBJECT
    }

    /// The entry of an id in what is counted.
    fn counted_name(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }
}

fn check_filesystem(set: &dyn ObjectSet) -> Result<()> {
    match set.objset_type() {
        ObjsetType::ZFS => Ok(()),
        other => {
            Err(Error::other_type(format!("object set is of type {}, expected a filesystem", other.name())))
        }
    }
}

/// Sets the quota of one user, group or project; 0 removes it (`zfs_set_userquota`). `random` provides the salt of a new
/// table.
///
/// # Errors
/// Returns `ENOTSUP` for a filesystem before version 4, and `EINVAL` for the invalid project. Fails if the object set is
/// not a filesystem or cannot be changed.
pub fn set_quota(
    set: &mut dyn ObjectStore,
    kind: &Kind,
    id: u32,
    limit: u64,
    random: &mut dyn FnMut() -> PoolResult<u64>,
) -> Result<()> {
    check_filesystem(set)?;
    let (version, table) = {
        let node = master::open(&*set)?;
        (node.lookup_u64(master::VERSION)?, node.lookup_u64(kind.table)?)
    };
    if version.is_none_or(|version| version < VERSION_USERSPACE) {
        return Err(Error::unsupported("a quota in a filesystem before version 4"));
    }
    if kind.is_of_project() && id == PROJECT_INVALID {
        return Err(Error::bad_request(format!("{id} is not the number of a project")));
    }
    let table = match table {
        Some(table) => ObjectId(table),
        None => {
            let table = zap::create(set, ObjectType::USERGROUP_QUOTA, &NewZap::new(random()?))?;
            ZapMut::open(set, master::NODE)?.add(kind.table, &Value::word(table.0))?;
            table
        }
    };
    put(set, table, &format!("{id:x}"), limit)
}

/// Sets the quota of all users, groups or projects without an own one; 0 removes it (`zfs_set_default_quota`).
///
/// # Errors
/// Fails if the object set is not a filesystem or cannot be changed.
pub fn set_default_quota(set: &mut dyn ObjectStore, kind: &Kind, limit: u64) -> Result<()> {
    check_filesystem(set)?;
    put(set, master::NODE, kind.default, limit)
}

fn put(set: &mut dyn ObjectStore, table: ObjectId, name: &str, limit: u64) -> Result<()> {
    let mut table = ZapMut::open(set, table)?;
    match limit {
        0 => table.remove_if_there(name).map(drop)?,
        _ => table.update(name, &Value::word(limit))?,
    }
    Ok(())
}

/// The use of space and objects by those who have quotas.
#[derive(Clone, Debug, Default)]
pub struct Used(HashMap<(usize, String), u64>);

/// A quota that is exceeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    kind: usize,
    id: String,
    used: u64,
    limit: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kind { whose, prefix, .. } = &KINDS[self.kind];
        let unit = if prefix.is_empty() { "bytes" } else { "objects" };
        let id = u64::from_str_radix(&self.id, 16).map_or_else(|_| self.id.clone(), |id| id.to_string());
        let Self { used, limit, .. } = self;
        write!(f, "the quota of {whose} {id} is exceeded: {used} {unit}, the limit is {limit}")
    }
}

/// Reads how much is used by those who have quotas.
///
/// # Errors
/// Fails if the set cannot be read.
pub fn used(set: &Objset) -> Result<Used> {
    let mut all = Used::default();
    each(set, |kind, id, used, _| {
        all.0.insert((kind, id.to_owned()), used);
    })?;
    Ok(all)
}

/// Returns the first quota that is exceeded by somebody who uses more than `before`.
///
/// # Errors
/// Fails if the set cannot be read.
pub fn exceeded(set: &Objset, before: &Used) -> Result<Option<Exceeded>> {
    let mut found = None;
    each(set, |kind, id, used, limit| {
        let grew = || used > before.0.get(&(kind, id.to_owned())).copied().unwrap_or(0);
        if found.is_none() && used > limit && grew() {
            found = Some(Exceeded { kind, id: id.to_owned(), used, limit });
        }
    })?;
    Ok(found)
}

/// Visits everybody with a quota whose use is counted: number of the kind, hexadecimal id, use, limit.
fn each(set: &Objset, mut visit: impl FnMut(usize, &str, u64, u64)) -> Result<()> {
    if set.objset_type() != ObjsetType::ZFS || set.next_object(master::NODE)? != Some(master::NODE) {
        return Ok(());
    }
    let node = master::open(set)?;
    for (number, kind) in KINDS.iter().enumerate() {
        // OpenZFS 2.4 also stores 0, which is no limit.
        let default = node.lookup_u64(kind.default)?.filter(|limit| *limit != 0);
        let table = node.lookup_u64(kind.table)?;
        if table.is_none() && default.is_none() || !set.phys().flags.contains(kind.counted) {
            continue;
        }
        let used = Zap::open(set, kind.used)?;
        let mut limits = HashMap::new();
        if let Some(table) = table {
            for entry in Zap::open(set, ObjectId(table))?.entries() {
                let entry = entry?;
                limits.insert(String::from_utf8_lossy(entry.key.name()?).into_owned(), entry.value.u64()?);
            }
        }
        for (id, limit) in &limits {
            visit(number, id, used.lookup_u64(kind.counted_name(id))?.unwrap_or(0), *limit);
        }
        let Some(default) = default else { continue };
        for entry in used.entries() {
            let entry = entry?;
            let name = String::from_utf8_lossy(entry.key.name()?).into_owned();
            let id = match kind.prefix {
                "" if name.starts_with("obj-") => continue,
                prefix => name.strip_prefix(prefix),
            };
            if let Some(id) = id.filter(|id| !limits.contains_key(*id)) {
                visit(number, id, entry.value.u64()?, default);
            }
        }
    }
    Ok(())
}
