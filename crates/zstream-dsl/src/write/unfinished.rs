//! Datasets that an unfinished receive fills: other changes are refused, and what an interrupted receive has left is
//! resumed or destroyed.

use std::collections::HashSet;
use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_format::errno::Errno;

use super::Tx;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::phys::DatasetFlags;
use crate::pool::Dsl;
use crate::reader::{Mos, MosReader, RECEIVE_CHILD};

impl Tx<'_> {
    /// Destroys the state of an unfinished receive: the hidden child of a dataset, or the dataset itself.
    ///
    /// # Errors
    /// Fails with `EINVAL` if the dataset is not being filled, and `EEXIST` if it has children.
    pub fn abandon_receive(&mut self, filled: ObjectId) -> Result<()> {
        if !self.read().is_filled(filled)? {
            let name = self.read().full_name(filled)?;
            return Err(Error::refused(Errno::EINVAL, format!("{name} is not being received")));
        }
        self.read().check_destroy_head(filled)?;
        self.destroy_head(filled)
    }

    /// Destroys the datasets that interrupted receives have left and that cannot be resumed
    /// (`dsl_destroy_inconsistent`, which OpenZFS calls when it imports a pool). Returns their names, and the errors of
    /// datasets that could not be read, which are kept.
    ///
    /// # Errors
    /// Fails if the datasets cannot be changed.
    pub(super) fn destroy_unresumable(&mut self) -> Result<(Vec<String>, Vec<Error>)> {
        let mut destroyed = Vec::new();
        let (found, unread) = self.dsl().unresumable();
        let found: Vec<_> = found.iter().map(|filled| (filled.name().to_owned(), filled.object())).collect();
        for (name, filled) in found {
            // A dataset with snapshots or children is kept, as in OpenZFS.
            if self.read().check_destroy_head(filled).is_ok() {
                self.destroy_head(filled)?;
                destroyed.push(name);
            }
        }
        Ok((destroyed, unread))
    }
}

impl<M: Mos> Dsl<M> {
    /// Returns the datasets that interrupted receives have left and that cannot be resumed, children first, and the
    /// errors of datasets that could not be read.
    pub(super) fn unresumable(self: &Arc<Self>) -> (Vec<Dataset<M>>, Vec<Error>) {
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        let mut left: Vec<_> = self.root().map_err(|error| unread.push(error)).into_iter().collect();
        let mut seen = HashSet::new();
        while let Some(dir) = left.pop() {
            if dir.phys().head.is_none() || !seen.insert(dir.object()) {
                continue;
            }
            let cut = dir.head().and_then(|head| {
                let is_cut = head.is_inconsistent() && !head.has_receive_state()?;
                Ok(is_cut.then_some(head))
            });
            match cut {
                Ok(cut) => found.extend(cut),
                Err(error) => unread.push(error),
            }
            let (mut children, failures) = dir.readable_children();
            unread.extend(failures);
            children.retain(|child| {
                let last = child.name().rsplit('/').next().unwrap_or_default();
                last == RECEIVE_CHILD || !last.contains(['$', '%'])
            });
            left.extend(children);
        }
        found.reverse();
        (found, unread)
    }

    /// Returns the dataset that an unfinished receive into the dataset `name` fills; `None` if no receive was
    /// interrupted.
    ///
    /// # Errors
    /// Fails if the names cannot be read.
    pub fn unfinished_receive(self: &Arc<Self>, name: &str) -> Result<Option<Dataset<M>>> {
        let Some(dir) = self.find_dir(name)? else { return Ok(None) };
        let filled = dir.child(RECEIVE_CHILD)?.unwrap_or(dir).head()?;
        Ok(filled.is_inconsistent().then_some(filled))
    }
}

impl<M: Mos> Dataset<M> {
    /// Checks that a dataset is not being filled by a receive.
    ///
    /// # Errors
    /// Fails with `EBUSY` if it is.
    pub fn check_not_filled(&self) -> Result<()> {
        self.dsl().read().check_not_filled(self.object())
    }
}

impl MosReader<'_> {
    /// Returns `true` if an unfinished receive fills this head.
    fn is_filled(self, head: ObjectId) -> Result<bool> {
        Ok(self.dataset(head)?.flags.contains(DatasetFlags::INCONSISTENT))
    }

    /// Checks that a dataset is not being filled by a receive.
    pub(super) fn check_not_filled(self, head: ObjectId) -> Result<()> {
        if self.is_filled(head)? {
            let name = self.full_name(head)?;
            return Err(Error::refused(Errno::EBUSY, format!("{name} was only partially received")));
        }
        Ok(())
    }
}
