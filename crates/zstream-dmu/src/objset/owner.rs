//! The tables of the space and the objects of users, groups and projects (`dmu_objset_do_userquota_updates`).
//!
//! ```text
//! object -1   users     hex id -> bytes     "obj-" hex id -> objects
//! object -2   groups    the same
//! object -3   projects  the same
//! ```
//!
//! The writer maintains them ([`writer`](super::writer)), this module looks up what they count. The flags of a set record
//! which of them are complete.

use zstream_format::object_type::ObjsetType;

use super::{GROUP_USED_OBJECT, Objset, ObjsetFlags, PROJECT_USED_OBJECT, USER_USED_OBJECT};
use crate::error::Result;
use crate::ids::ObjectId;
use crate::object_set::ObjectSet as _;
use crate::zap::Zap;

/// The prefix of an id in the name of a count of objects.
const OBJECTS_PREFIX: &str = "obj-";

/// A kind of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A user.
    User,
    /// A group.
    Group,
    /// A project.
    Project,
}

impl Owner {
    /// All kinds, in the order of their tables.
    pub(crate) const ALL: [Self; 3] = [Self::User, Self::Group, Self::Project];

    /// Returns the object of the table.
    pub(crate) fn table(self) -> ObjectId {
        match self {
            Self::User => USER_USED_OBJECT,
            Self::Group => GROUP_USED_OBJECT,
            Self::Project => PROJECT_USED_OBJECT,
        }
    }

    /// Returns the flag of a set whose table is complete.
    pub(crate) fn complete(self) -> ObjsetFlags {
        match self {
            Self::User | Self::Group => ObjsetFlags::USER_ACCOUNTING_COMPLETE,
            Self::Project => ObjsetFlags::PROJECT_QUOTA_COMPLETE,
        }
    }
}

/// The amount that is counted for an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Bytes in use.
    Bytes,
    /// Objects in use.
    Objects,
}

impl Counted {
    /// Returns the name of the count in a table.
    pub(crate) fn entry(self, id: u64) -> String {
        match self {
            Self::Bytes => format!("{id:x}"),
            Self::Objects => format!("{OBJECTS_PREFIX}{id:x}"),
        }
    }
}

impl Objset {
    /// Returns `true` if an amount is counted for owners of this kind. Only filesystems count.
    #[must_use]
    pub fn counts(&self, owner: Owner, counted: Counted) -> bool {
        let needed = match (owner, counted) {
            (Owner::User | Owner::Group, Counted::Objects) => ObjsetFlags::USER_OBJECT_ACCOUNTING_COMPLETE,
            _ => owner.complete(),
        };
        self.objset_type() == ObjsetType::ZFS && self.phys().flags.contains(needed)
    }

    /// Returns the amount that is counted for an owner.
    ///
    /// # Errors
    ///
    /// Fails if the table cannot be read.
    pub fn used_by(&self, owner: Owner, counted: Counted, id: u64) -> Result<u64> {
        Ok(Zap::open(self, owner.table())?.lookup_u64(counted.entry(id))?.unwrap_or(0))
    }
}
