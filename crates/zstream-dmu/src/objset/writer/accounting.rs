//! Accounting of the space and objects of users, groups and projects, in the tables of [`Owner`]s
//! (`dmu_objset_do_userquota_updates`).
//!
//! An object is accounted with 512 bytes and the allocated size of its blocks. Its owners are in its bonus, and are
//! parsed by a function that is given to the writer ([`OwnersOf`]), because this layer does not know files. The flags
//! of a dnode record whether it is accounted. When an accounted object changes, its state on disk is subtracted and
//! the new one added. If the accounting of a set is not complete, nothing is accounted, and OpenZFS does it when the
//! filesystem is mounted.

use std::collections::BTreeMap;

use zstream_format::file_info::Owners;
use zstream_format::object_type::{ObjectType, ObjsetType};

use super::{ObjsetWriter, Overlay};
use crate::dnode::NewObject;
use crate::dnode::{DNODE_SLOT_BYTES, Dnode, DnodeFlags};
use crate::error::{Error, Result};
use crate::ids::ObjectId;
use crate::objset::{Counted, GROUP_USED_OBJECT, ObjsetFlags, Owner, USER_USED_OBJECT};
use crate::zap::write::{NewZap, ZapMut, create_in};
use crate::zap::{Value, Zap};
use crate::zio::write::Protection;

/// A function that parses the owners of an object from type and content of its bonus, and returns `None` if it has no
/// owner (`file_info_cb_t`). The layer that knows the content of the set provides it.
pub type OwnersOf = fn(ObjectType, &[u8]) -> Option<Owners>;

/// The changes of counts, by kind of owner and name.
#[derive(Default)]
pub(super) struct Deltas(pub(super) [BTreeMap<String, i64>; Owner::ALL.len()]);

impl Deltas {
    pub(super) fn add(&mut self, owners_of: OwnersOf, dnode: &Dnode, set_flags: ObjsetFlags, sign: i64) {
        let Some(owners) = owners_of(dnode.bonus_type, dnode.bonus()) else { return };
        let space = (DNODE_SLOT_BYTES as u64).saturating_add(dnode.used_bytes()).cast_signed();
        for (n, owner) in [owners.user, owners.group, owners.project].into_iter().enumerate() {
            // Projects are accounted only if their accounting is complete.
            if n == 2 && !set_flags.contains(ObjsetFlags::PROJECT_QUOTA_COMPLETE) {
                continue;
            }
            let mut count = |name: String, change: i64| {
                let sum = self.0[n].entry(name).or_default();
                *sum = sum.saturating_add(change);
            };
            if dnode.flags.contains(DnodeFlags::USER_USED_ACCOUNTED) {
                count(Counted::Bytes.entry(owner), sign * space);
            }
            if dnode.flags.contains(DnodeFlags::USER_OBJECT_ACCOUNTED) {
                count(Counted::Objects.entry(owner), sign);
            }
        }
    }
}

impl ObjsetWriter {
    /// Sets the function that parses the owners of objects (`dmu_objset_register_type`). A set with accounting cannot
    /// be synced without it.
    #[must_use]
    pub fn with_owners(mut self, owners_of: OwnersOf) -> Self {
        self.owners_of = Some(owners_of);
        self
    }

    /// Enables the accounting of users, groups, and if requested projects. Objects and projects require that the
    /// features `userobj_accounting` and `project_quota` are active in the dataset.
    ///
    /// # Errors
    ///
    /// Fails if the set already has objects, if it is not a filesystem, and if it is received raw.
    pub fn begin_accounting(&mut self, objects: bool, projects: bool) -> Result<()> {
        self.check()?;
        let is_new = self.base.is_none() && self.objects.is_empty();
        if !is_new || self.phys.objset_type != ObjsetType::ZFS || self.is_kept() {
            return Err(Error::bad_request(
                "accounting can be enabled only in an empty filesystem that is not received raw",
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

    /// Accounts the changes of an object that was synced, and marks it as accounted.
    ///
    /// # Errors
    ///
    /// Fails if the set has accounting, but not the function that parses owners.
    pub(super) fn count_object(&self, overlay: &mut Overlay, deltas: &mut Deltas) -> Result<()> {
        if self.phys.objset_type != ObjsetType::ZFS || self.is_kept() {
            return Ok(());
        }
        let set = self.phys.flags;
        let users = set.contains(ObjsetFlags::USER_ACCOUNTING_COMPLETE);
        let objects = users && set.contains(ObjsetFlags::USER_OBJECT_ACCOUNTING_COMPLETE);
        let Some(owners_of) = self.owners_of else {
            let detail = "set has accounting, but no function that parses the owners of objects";
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

    /// Applies the changes to the accounting objects.
    pub(super) fn apply_counts(&mut self, deltas: Deltas) -> Result<()> {
        for (owner, deltas) in Owner::ALL.into_iter().zip(deltas.0) {
            let object = owner.table();
            if self.phys.flags.contains(owner.complete()) {
                self.make_account(object)?;
            }
            for (name, delta) in deltas.into_iter().filter(|(_, delta)| *delta != 0) {
                let before = Zap::open(self, object)?.lookup_u64(&name)?.unwrap_or_default().cast_signed();
                let after = before.checked_add(delta).ok_or_else(|| {
                    Error::corrupt(
                        "accounting",
                        format!("count {name} is {before}, cannot change it by {delta}"),
                    )
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

    /// Creates an accounting object if it does not exist.
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
        // A salt that can be guessed does no harm here, and makes images reproducible.
        let zap = NewZap::new(self.source.id << 8 | object.0 & 0xff);
        create_in(self, object, &zap)
    }
}
