//! The records of a receive: applied, or counted in a rehearsal.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use zstream_dmu::ids::Guid;
use zstream_dmu::objset::Objset;
use zstream_dmu::zap::Value;
use zstream_dsl::write::{Change, Use};
use zstream_format::record::Body;

use super::group::Group;
use super::{Job, Receiving};
use crate::apply::References;
use crate::error::Result;
use crate::input::{Input, Opening};
use crate::needs::Needs;

struct Snapshots<'a>(&'a HashMap<Guid, Arc<Objset>>);

impl References for Snapshots<'_> {
    fn snapshot(&self, guid: Guid) -> Option<Arc<Objset>> {
        self.0.get(&guid).map(Arc::clone)
    }
}

impl Receiving<'_> {
    /// Applies all records up to END, and returns their number.
    pub(super) fn fill<R: Read>(
        &mut self,
        job: &mut Job,
        input: &mut Input<R>,
        opening: &Opening,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        let counted_from = input.counted_from();
        let records = input.records(opening, |at, offset| {
            let point = job
                .apply
                .record(&mut job.set, &Snapshots(&self.received), &at.header, at.payload)
                .map_err(|error| error.at(at.place))?;
            if !job.has_large_dnodes
                && let Some(Body::Object(object)) = at.header.body()
                && object.slots() > 1
            {
                job.has_large_dnodes = true;
                self.pool.tx().activate_feature(job.filled, "large_dnode", &Value::word(0))?;
            }
            if let Some(point) = point {
                job.point = Some((point, job.bytes_before + at.end.saturating_sub(counted_from)));
            }
            progress(offset);
            if job.group.is_full(offset, job.set.dirty_bytes() as u64) {
                self.complete_group(job)?;
                self.pool.tx().check_quotas(job.filled)?;
                job.group = Group::new(offset);
            }
            Ok(())
        })?;
        if job.is_full_clone {
            job.apply.free_above(&mut job.set)?;
        }
        Ok(records)
    }

    /// Reads all records up to END without applying them. Returns their number, and the space that their blocks need.
    pub(super) fn measure<R: Read>(
        &mut self,
        job: &Job,
        input: &mut Input<R>,
        opening: &Opening,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(u64, u64)> {
        let mut needs = Needs::new(self.pool, job.filled)?;
        let records = input.records(opening, |at, offset| {
            if let Some(body) = at.header.body() {
                needs.record(&body, &at.payload)?;
            }
            progress(offset);
            Ok(())
        })?;
        Ok((records, needs.bytes()))
    }

    /// Checks, in a rehearsal, that the pool and quotas have room. The space counts as used for the snapshots that
    /// follow.
    pub(super) fn check_room(&mut self, job: &Job, needs: u64) -> Result<()> {
        let head = job.head.unwrap_or(job.filled);
        let dir = self.pool.dsl().dataset_by_object(head)?.dir().object();
        let mut tx = self.pool.tx();
        if job.head.is_some() {
            tx.check_received_refquota(head, needs)?;
        }
        let used = i64::try_from(needs).unwrap_or(i64::MAX);
        tx.use_space(dir, Use::Head, Change { used, ..Change::default() })?;
        Ok(tx.check_quotas(head)?)
    }

    /// Completes the open transaction group, with the point from which the receive can be resumed.
    pub(super) fn complete_group(&mut self, job: &mut Job) -> Result<()> {
        if let (Some((point, bytes)), true) = (job.point, job.keeps_point) {
            self.pool.tx().set_resume_point(job.filled, point, bytes)?;
        }
        self.pool.sync(job.filled, &mut job.set)?;
        self.pool.commit()?;
        Ok(())
    }
}

/// Reads all records up to END without applying them.
pub(super) fn read_past<R: Read>(
    input: &mut Input<R>,
    opening: &Opening,
    progress: &mut dyn FnMut(u64),
) -> Result<u64> {
    input.records(opening, |_, offset| {
        progress(offset);
        Ok(())
    })
}
