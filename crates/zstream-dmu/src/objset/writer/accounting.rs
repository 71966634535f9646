//! Space and objects of users, groups and projects (`dmu_objset_do_userquota_updates`).
//!
//! ```text
//! object -1   users     hex id -> bytes     "obj-" hex id -> objects
//! object -2   groups    the same
//! object -3   projects  the same
//! ```
//!
//! An object counts 512 bytes and what its blocks take. Its owners stand in its bonus, where a function finds them that is given
//! to the writer ([`OwnersOf`]): nothing is known of files here. A dnode's flags say whether it is counted; what is counted and changes is taken
//! back as it was on disk and counted anew. In a set whose accounting is not complete, nothing is counted: OpenZFS then
//! does it when the file system is mounted.

use std::collections::BTreeMap;

use zstream_format::file_info::Owners;
use zstream_format::object_type::{ObjectType, ObjsetType};

use super::{ObjsetWriter, Overlay};
use crate::dnode::NewObject;
use crate::dnode::{DNODE_SLOT_BYTES, Dnode, DnodeFlags};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::objset::{GROUP_USED_OBJECT, ObjsetFlags, PROJECT_USED_OBJECT, USER_USED_OBJECT};
use crate::zap::write::{NewZap, ZapMut, create_in};
use crate::zap::{Value, Zap};
use crate::zio::write::Protection;

/// Tells whom an object belongs to, from type and content of its bonus; `None` for what belongs to nobody
/// (`file_info_cb_t`). Who knows what the set holds gives it to the set's writer.
pub type OwnersOf = fn(ObjectType, &[u8]) -> Option<Owners>;

/// What comes in front of an id in the name of a count of objects.
const OBJECTS_PREFIX: &str = "obj-";

/// The accounts, and the flags that say that they are complete.
const ACCOUNTS: [(ObjectId, ObjsetFlags); 3] = [
    (USER_USED_OBJECT, ObjsetFlags::USER_ACCOUNTING_COMPLETE),
    (GROUP_USED_OBJECT, ObjsetFlags::USER_ACCOUNTING_COMPLETE),
    (PROJECT_USED_OBJECT, ObjsetFlags::PROJECT_QUOTA_COMPLETE),
];

/// Changes of counts, by account and name.
#[derive(Default)]
pub(super) struct Deltas(pub(super) [BTreeMap<String, i64>; ACCOUNTS.len()]);

impl Deltas {
    pub(super) fn add(&mut self, owners_of: OwnersOf, dnode: &Dnode, set_flags: ObjsetFlags, sign: i64) {
        let Some(owners) = owners_of(dnode.bonus_type, dnode.bonus()) else { return };
        let space = (DNODE_SLOT_BYTES as u64).saturating_add(dnode.used_bytes()).cast_signed();
        for (n, owner) in [owners.user, owners.group, owners.project].into_iter().enumerate() {
            // Projects are counted from the moment on from which they are complete.
            if n == 2 && !set_flags.contains(ObjsetFlags::PROJECT_QUOTA_COMPLETE) {
                continue;
            }
            let mut count = |name: String, change: i64| {
                let sum = self.0[n].entry(name).or_default();
                *sum = sum.saturating_add(change);
            };
            if dnode.flags.contains(DnodeFlags::USER_USED_ACCOUNTED) {
                count(format!("{owner:x}"), sign * space);
            }
            if dnode.flags.contains(DnodeFlags::USER_OBJECT_ACCOUNTED) {
                count(format!("{OBJECTS_PREFIX}{owner:x}"), sign);
            }
        }
    }
}

impl ObjsetWriter {
    /// Gives the set the function that tells whom its objects belong to (`dmu_objset_register_type`). A set that counts cannot
    /// be synced without.
    #[must_use]
    pub fn with_owners(mut self, owners_of: OwnersOf) -> Self {
        self.owners_of = Some(owners_of);
        self
    }

    /// Lets the set count from now on what its users, groups and, if asked for, projects use. Objects and projects need the
    /// features `userobj_accounting` and `project_quota` active in the dataset.
    ///
    /// # Errors
    ///
    /// The set has objects already, is no file system, or is received raw.
    pub fn begin_accounting(&mut self, objects: bool, projects: bool) -> Result<()> {
        self.check()?;
        let is_new = self.base.is_none() && self.objects.is_empty();
        if !is_new || self.phys.objset_type != ObjsetType::ZFS || self.is_kept() {
            return Err(Error::bad_request(
                "what is used can be counted from the start of a file system only",
            ));
        }
        self.phys.flags.insert(ObjsetFlags::USER_ACCOUNTING_COMPLETE);
        self.phys.flags.set(ObjsetFlags::USER_OBJECT_ACCOUNTING_COMPLETE, objects);
        self.phys.flags.set(ObjsetFlags::PROJECT_QUOTA_COMPLETE, projects);
        Ok(())
    }

    fn is_kept(&self) -> bool {
        self.properties.protection == Protection::Kept
    }

    /// Counts what became of an object that was synced, and marks it as counted.
    ///
    /// # Errors
    ///
    /// The set counts, and was not given the function that tells owners.
    pub(super) fn count_object(&self, overlay: &mut Overlay, deltas: &mut Deltas) -> Result<()> {
        if self.phys.objset_type != ObjsetType::ZFS || self.is_kept() {
            return Ok(());
        }
        let set = self.phys.flags;
        let users = set.contains(ObjsetFlags::USER_ACCOUNTING_COMPLETE);
        let objects = users && set.contains(ObjsetFlags::USER_OBJECT_ACCOUNTING_COMPLETE);
        let Some(owners_of) = self.owners_of else {
            let detail = "the set counts what owners use, and nothing tells whom its objects belong to";
            return if users { Err(Error::internal(detail)) } else { Ok(()) };
        };
        if let Some(base) = &overlay.base {
            deltas.add(owners_of, base, set, -1);
        }
        if let Some(dnode) = &mut overlay.dnode {
            dnode.flags.set(DnodeFlags::USER_USED_ACCOUNTED, users);
            dnode.flags.set(DnodeFlags::USER_OBJECT_ACCOUNTED, objects);
            deltas.add(owners_of, dnode, set, 1);
        }
        Ok(())
    }

    /// Changes the counts.
    pub(super) fn apply_counts(&mut self, deltas: Deltas) -> Result<()> {
        for ((object, flag), deltas) in ACCOUNTS.into_iter().zip(deltas.0) {
            if self.phys.flags.contains(flag) {
                self.make_account(object)?;
            }
            for (name, delta) in deltas.into_iter().filter(|(_, delta)| *delta != 0) {
                let before = Zap::open(self, object)?.lookup_u64(&name)?.unwrap_or_default().cast_signed();
                let after = before.checked_add(delta).ok_or_else(|| {
                    Error::corrupt("accounting", format!("{name} is {before}, changed by {delta}"))
                })?;
                let mut zap = ZapMut::open(self, object)?;
                if after == 0 {
                    zap.remove_if_there(name)?;
                } else {
                    zap.update(name, &Value::word(after.cast_unsigned()))?;
                }
            }
        }
        Ok(())
    }

    /// Makes an account's object, unless it is there.
    fn make_account(&mut self, object: ObjectId) -> Result<()> {
        let there = match object {
            USER_USED_OBJECT => &self.phys.user_used,
            GROUP_USED_OBJECT => &self.phys.group_used,
            _ => &self.phys.project_used,
        };
        if there.is_some() || self.objects.contains_key(&object.0) {
            return Ok(());
        }
        let dnode = Dnode::new(&NewObject::new(ObjectType::USERGROUP_USED, 0))?;
        self.objects.insert(object.0, Overlay { dnode: Some(dnode), is_new: true, ..Overlay::default() });
        // Nothing is gained by salts that nobody can guess, but images become reproducible.
        let zap = NewZap::new(self.source.id << 8 | object.0 & 0xff);
        create_in(self, object, &zap)
    }
}
