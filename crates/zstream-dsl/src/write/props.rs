//! Changes of properties that are set, inherited and received (`dsl_prop_set_sync_impl`), and of those that count
//! space.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::{NormFlags, Value};
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjectType;

use super::Tx;
use super::usage::{Change, Use};
use crate::error::{Error, Result};
use crate::prop::{INHERIT, KNOWN_ELSEWHERE, RECEIVED};
use crate::reader::MosReader;

/// A change of a property of one dataset (`zprop_source_t`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Sets a local value (`zfs set`).
    Local(Value),
    /// Sets a received value.
    Received(Value),
    /// Inherits the value of the dataset above, even if a value was received (`zfs inherit`).
    Inherited,
    /// Reverts to the received value, or else to that of the dataset above (`zfs inherit -S`).
    Revert,
    /// Removes the received value.
    ForgetReceived,
    /// Removes the local and the received value.
    Forget,
}

/// The mark of a dataset that has received properties.
const HAS_RECEIVED: &str = "$hasrecvd";

/// Properties with values that are unknown to older software: the first such value, and the one that older software
/// sees.
const NEW_VALUES: [(&str, u64, u64); 2] = [("redundant_metadata", 2, 0), ("snapdir", 2, 0)];

impl Tx<'_> {
    /// Changes the entries of a property in a dataset or snapshot, and nothing else.
    pub(super) fn put_property(&mut self, dataset: ObjectId, name: &str, setting: &Setting) -> Result<()> {
        let phys = self.read().dataset(dataset)?;
        let props = if phys.is_snapshot() {
            match (phys.props, setting) {
                (Some(props), _) => Some(props),
                (None, Setting::Local(_) | Setting::Received(_)) => {
                    let props = self.create_zap(ObjectType::DSL_PROPS, NormFlags::empty())?;
                    self.change_dataset(dataset, |dataset| dataset.props = Some(props))?;
                    Some(props)
                }
                (None, _) => None,
            }
        } else {
            self.read().dir(phys.dir)?.props
        };
        let Some(props) = props else { return Ok(()) };
        let (inherit, received) = (format!("{name}{INHERIT}"), format!("{name}{RECEIVED}"));
        let elsewhere = format!("{name}{KNOWN_ELSEWHERE}");
        let has_received = self.read().lookup(Some(props), HAS_RECEIVED)?.is_some();
        let mut zap = self.zap(props)?;
        match setting {
            Setting::Local(value) => {
                zap.remove_if_there(inherit)?;
                let old = NEW_VALUES.iter().find(|(known, first, _)| {
                    *known == name && value.u64().is_ok_and(|number| number >= *first)
                });
                match old {
                    Some((_, _, old)) => {
                        zap.update(elsewhere, value)?;
                        zap.update(name, &Value::word(*old))?;
                    }
                    None => {
                        zap.remove_if_there(elsewhere)?;
                        zap.update(name, value)?;
                    }
                }
            }
            Setting::Received(value) => zap.update(received, value)?,
            Setting::Inherited => {
                zap.remove_if_there(name)?;
                zap.remove_if_there(elsewhere)?;
                if has_received {
                    zap.update(inherit, &Value::word(0))?;
                }
            }
            Setting::Revert => {
                zap.remove_if_there(name)?;
                zap.remove_if_there(inherit)?;
            }
            Setting::ForgetReceived => {
                zap.remove_if_there(received)?;
            }
            Setting::Forget => {
                for key in [name.to_owned(), inherit, received] {
                    zap.remove_if_there(key)?;
                }
            }
        }
        if phys.is_snapshot() && self.read().entries(Some(props))?.is_empty() {
            self.change_dataset(dataset, |dataset| dataset.props = None)?;
            self.free(props)?;
        }
        Ok(())
    }

    /// Marks a dataset as one that has received properties (`dsl_prop_set_hasrecvd`).
    ///
    /// # Errors
    /// Fails if the MOS cannot be changed.
    pub fn set_has_received(&mut self, dataset: ObjectId) -> Result<()> {
        self.put_property(dataset, HAS_RECEIVED, &Setting::Local(Value::word(0)))
    }

    /// Changes a property of a dataset or snapshot, with its effects: quotas and reservations. The value was validated
    /// before.
    ///
    /// # Errors
    /// Fails with `ENOSPC` if a quota is below the used or reserved space, or a reservation exceeds a quota.
    pub fn set_property(&mut self, dataset: ObjectId, name: &str, setting: &Setting) -> Result<()> {
        let phys = self.read().dataset(dataset)?;
        if phys.is_snapshot() {
            return self.put_property(dataset, name, setting);
        }
        self.check_property(dataset, name, setting)?;
        match name {
            "refreservation" => self.set_refreservation(dataset, Some(setting)),
            "reservation" => {
                self.put_property(dataset, name, setting)?;
                let value = self.read().number_property(phys.dir, name)?;
                self.reserve(phys.dir, value)
            }
            "quota" => {
                self.put_property(dataset, name, setting)?;
                let value = self.read().number_property(phys.dir, name)?;
                self.change_dir(phys.dir, |dir| dir.quota_bytes = value)
            }
            "filesystem_limit" | "snapshot_limit" => {
                let is_limit = match setting {
                    Setting::Local(value) | Setting::Received(value) => *value != Value::word(u64::MAX),
                    _ => false,
                };
                if is_limit {
                    self.begin_counting(phys.dir)?;
                }
                self.put_property(dataset, name, setting)
            }
            _ => self.put_property(dataset, name, setting),
        }
    }

    /// Checks that quotas and reservations fit the present use.
    fn check_property(&self, head: ObjectId, name: &str, setting: &Setting) -> Result<()> {
        let Setting::Local(value) = setting else { return Ok(()) };
        let phys = self.read().dataset(head)?;
        let dir = self.read().dir(phys.dir)?;
        let refuse = |why: &str| Err(Error::refused(Errno::ENOSPC, format!("{name}: {why}")));
        let limit = |quota: u64, value: u64| quota != 0 && value > quota;
        match name {
            "quota" => match value.u64()? {
                0 => Ok(()),
                value if value < dir.reserved_bytes || value < dir.used_bytes => {
                    refuse("size is less than current used or reserved space")
                }
                _ => Ok(()),
            },
            "refquota" => match value.u64()? {
                0 => Ok(()),
                value if value < phys.referenced_bytes || value < self.read().refreservation(head)? => {
                    refuse("size is less than current used or reserved space")
                }
                _ => Ok(()),
            },
            "reservation" if limit(dir.quota_bytes, value.u64()?) => refuse("size is greater than the quota"),
            "refreservation" if limit(self.read().number_property(phys.dir, "refquota")?, value.u64()?) => {
                refuse("size is greater than the refquota")
            }
            "reservation" => self.check_reservation(phys.dir, value.u64()?),
            "refreservation" => self.check_refreservation(head, value.u64()?),
            _ => Ok(()),
        }
    }

    /// Sets or removes the reservation of a head alone (`dsl_dataset_set_refreservation_sync_impl`).
    pub(super) fn set_refreservation(&mut self, head: ObjectId, setting: Option<&Setting>) -> Result<()> {
        let old = self.read().refreservation(head)?;
        self.put_property(head, "refreservation", setting.unwrap_or(&Setting::Forget))?;
        let new = self.read().refreservation(head)?;
        let phys = self.read().dataset(head)?;
        let kept = |reserved: u64| reserved.saturating_sub(phys.unique_bytes) as i64;
        let change = Change { used: kept(new) - kept(old), ..Change::default() };
        self.use_space(phys.dir, Use::Refreservation, change)
    }

    /// Sets the reservation of a directory with all below it (`dsl_dir_set_reservation_sync_impl`).
    pub(super) fn reserve(&mut self, dir: ObjectId, bytes: u64) -> Result<()> {
        let phys = self.read().dir(dir)?;
        let used = phys.used_bytes;
        let change = bytes.max(used).wrapping_sub(phys.reserved_bytes.max(used)).cast_signed();
        self.change_dir(dir, |dir| dir.reserved_bytes = bytes)?;
        match phys.parent {
            Some(parent) => {
                let change = Change { used: change, ..Change::default() };
                self.use_space(parent, Use::ChildReservations, change)
            }
            None => Ok(()),
        }
    }
}

impl MosReader<'_> {
    /// Returns the bytes that are reserved for a head alone, 0 for none.
    pub(super) fn refreservation(self, head: ObjectId) -> Result<u64> {
        self.number_property(self.dataset(head)?.dir, "refreservation")
    }
}
