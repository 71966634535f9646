//! The verbs `hold` and `release` (`dsl_dataset_user_hold`, `_release`).

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::{NormFlags, Value};
use zstream_format::errno::Errno;
use zstream_format::object_type::ObjectType;

use super::Tx;
use crate::error::{Error, Fault, Result};
use crate::phys::DatasetFlags;
use crate::reader::MosReader;

/// The longest tag in bytes (`MAXNAMELEN - 1`).
const TAG_BYTES_MAX: usize = 255;

impl Tx<'_> {
    /// Puts a hold on snapshots, on all or none.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST` when a snapshot has the hold, `E2BIG` when the tag is too long.
    pub fn hold(&mut self, tag: &str, names: &[String]) -> Result<()> {
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
            return Err(Error::refused(Errno::E2BIG, format!("a tag has 1 to {TAG_BYTES_MAX} bytes")));
        }
        let mut plan = Vec::new();
        for name in names {
            let snapshot = self.dsl().snapshot(name)?.object();
            if self.read().lookup(self.read().dataset(snapshot)?.holds, tag)?.is_some() {
                return Err(Error::refused(Errno::EEXIST, format!("{name} has the hold {tag} already")));
            }
            plan.push(snapshot);
        }
        let now = Value::word(self.clock.seconds);
        for snapshot in plan {
            let holds = match self.read().dataset(snapshot)?.holds {
                Some(holds) => holds,
                None => {
                    let holds = self.create_zap(ObjectType::USERREFS, NormFlags::empty())?;
                    self.change_dataset(snapshot, |dataset| dataset.holds = Some(holds))?;
                    holds
                }
            };
            self.zap(holds)?.update(tag, &now)?;
        }
        Ok(())
    }

    /// Takes a hold off snapshots, off all or none. What waited for its last hold to be destroyed is destroyed.
    ///
    /// # Errors
    /// `ENOENT` when there is no such snapshot, `ESRCH` when a snapshot does not have the hold.
    pub fn release(&mut self, tag: &str, names: &[String]) -> Result<()> {
        let mut plan = Vec::new();
        for name in names {
            let snapshot = self.dsl().snapshot(name)?.object();
            let holds = self.read().dataset(snapshot)?.holds;
            match holds {
                Some(holds) if self.read().lookup(Some(holds), tag)?.is_some() => {
                    plan.push((snapshot, holds))
                }
                _ => return Err(Fault::NoHold { snapshot: name.clone(), tag: tag.to_owned() }.into()),
            }
        }
        for (snapshot, holds) in plan {
            self.release_temporary(snapshot, tag)?;
            self.zap(holds)?.remove(tag)?;
            let phys = self.read().dataset(snapshot)?;
            if phys.flags.contains(DatasetFlags::DEFER_DESTROY)
                && phys.children == 1
                && self.read().hold_count(snapshot)? == 0
            {
                self.destroy_snapshot(snapshot)?;
            }
        }
        Ok(())
    }

    /// Forgets that a hold is one that ends with a process.
    fn release_temporary(&mut self, snapshot: ObjectId, tag: &str) -> Result<()> {
        if let Some(temporary) = self.read().directory("tmp_userrefs")? {
            self.zap(temporary)?.remove_if_there(format!("{:x}-{tag}", snapshot.0))?;
        }
        Ok(())
    }
}

impl MosReader<'_> {
    /// How many holds a snapshot has.
    pub(super) fn hold_count(self, snapshot: ObjectId) -> Result<usize> {
        Ok(self.entries(self.dataset(snapshot)?.holds)?.len())
    }
}
