//! Encryption roots of raw trees, restored when all snapshots are there.

use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dsl::CryptoKey;
use zstream_dsl::write::Setting;
use zstream_format::summary::{Dataset as SentDataset, PackageList};

use super::Context;
use crate::engine::Receiving;
use crate::error::Result;
use crate::host::{Host, Note};
use crate::sent::{entry, stored};

impl Receiving<'_> {
    /// Restores the encryption roots of a raw tree that was received: the encryption roots at the sender become
    /// encryption roots here, and datasets that share the key of the dataset above them share it here, too, unless the
    /// key is another one (`recv_fix_encryption_hierarchy`). The top remains an encryption root.
    pub(super) fn join_encryption_roots(&mut self, context: &Context<'_>, host: &mut dyn Host) -> Result<()> {
        let (Some(list), Some(top)) = (context.list, &context.top) else { return Ok(()) };
        if !list.raw {
            return Ok(());
        }
        let mut found: Vec<(ObjectId, &SentDataset)> = Vec::new();
        let mut first = None;
        {
            let Some(dir) = self.pool().dsl().find_dir(top)? else { return Ok(()) };
            dir.walk(&mut |dir| {
                let head = dir.head()?;
                let snapshots = head.snapshots()?;
                let sent = snapshots.iter().find_map(|snapshot| entry(Some(list), snapshot.phys().guid));
                if let Some((sent, _)) = sent {
                    first.get_or_insert_with(|| head.name().to_owned());
                    found.push((head.object(), sent));
                }
                Ok(())
            })?;
        }
        let top = found.first().filter(|_| first.as_ref() == Some(top)).map(|(head, _)| *head);
        for (head, sent) in found {
            if sent.is_encryption_root {
                let is_set = top == Some(head)
                    && context.request.set.iter().any(|parsed| parsed.name == "keylocation");
                self.make_root(head, sent, is_set)?;
            } else if top != Some(head) {
                self.join_root(context, list, head, host)?;
            }
        }
        self.commit()
    }

    /// Makes a dataset the encryption root that it is at the sender, with the same location of the key.
    fn make_root(&mut self, head: ObjectId, sent: &SentDataset, is_location_set: bool) -> Result<()> {
        let mut tx = self.pool().tx();
        {
            let dataset = tx.dsl().dataset_by_object(head)?;
            if dataset.crypto_key()?.is_none() || dataset.dir().origin()?.is_some() {
                return Ok(());
            }
        }
        tx.make_encryption_root(head, None)?;
        let location = sent.properties.iter().find(|(name, _)| *name == "keylocation");
        let Some(location) = location.and_then(|(_, value)| stored(value)).filter(|_| !is_location_set)
        else {
            return Ok(());
        };
        let is_new = {
            let dataset = tx.dsl().dataset_by_object(head)?;
            dataset.dir().inherited("keylocation")?.as_ref() != Some(&location)
                && dataset.check_key_location(location.text()?).is_ok()
        };
        if is_new {
            tx.set_property(head, "keylocation", &Setting::Local(location))?;
        }
        Ok(())
    }

    /// Gives a dataset the encryption root of the dataset above it, if the same key wraps the keys of both.
    fn join_root(
        &mut self,
        context: &Context<'_>,
        list: &PackageList,
        head: ObjectId,
        host: &mut dyn Host,
    ) -> Result<()> {
        let mut tx = self.pool().tx();
        let (own, above, name, root) = {
            let dataset = tx.dsl().dataset_by_object(head)?;
            let Some(root) = dataset.inheritable_root()? else { return Ok(()) };
            let (Some(own), Some(above)) = (dataset.crypto_key()?, CryptoKey::of(&root)?) else {
                return Ok(());
            };
            (own, above, dataset.name().to_owned(), root.name().to_owned())
        };
        if context.keys.have_same_key(list, &own, &above) {
            tx.inherit_encryption_root(head)?;
        } else {
            host.note(Note::Warning(format!(
                "{name} remains an encryption root: its key is not known to be the one of {root}"
            )));
        }
        Ok(())
    }

    /// Warns about the datasets that inherited a key which was replaced, and that are encryption roots now.
    pub(super) fn warn_detached(&mut self, context: &Context<'_>, host: &mut dyn Host) -> Result<()> {
        let dsl = self.pool().dsl();
        for head in &context.detached {
            let head = match dsl.dataset_by_object(*head) {
                Ok(head) => head,
                // It may have been destroyed since, as at the sender, and its number may belong to something else.
                Err(error)
                    if matches!(
                        error.pool_fault(),
                        Some(PoolFault::NoObject(_) | PoolFault::Corrupt { .. })
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if head.crypto_key()?.is_some_and(|keys| keys.root == head.dir().object()) {
                let name = head.name();
                host.note(Note::Warning(format!(
                    "{name} has become an encryption root: the dataset from which it inherited its key was received with another key"
                )));
            }
        }
        Ok(())
    }
}
