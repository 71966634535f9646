//! The changes of a dataset since a transaction group: the visits of a traversal as ranges (`send_cb`).

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId, Txg};
use zstream_dmu::traverse::{self, Floor, Traverse, Visit, VisitKind};

use crate::error::{Fault, Result};
use crate::plan::Source;
use crate::progress::Progress;
use crate::range::{Range, What};

/// An iterator over the changes of a source, in canonical order. An error is the last item.
pub(crate) struct Changes<'a> {
    traverse: Traverse,
    encrypted: bool,
    raw: bool,
    progress: &'a Progress,
    failed: bool,
}

impl<'a> Changes<'a> {
    /// Creates an iterator over the changes after `floor`, starting at the block `resume`. With `raw`, dnode blocks are
    /// announced.
    pub(crate) fn new(
        source: &Source,
        raw: bool,
        floor: Txg,
        resume: Option<(ObjectId, BlockId)>,
        progress: &'a Progress,
    ) -> Self {
        let objset = &source.objset;
        let id = zstream_dmu::object_set::ObjectSet::objset_id(&**objset);
        let resume = resume.map(|(object, block)| Bookmark { objset: id, object, level: 0, block });
        let floor = Floor::Logical(floor);
        let options = traverse::Options { floor, resume, locked: objset.is_locked(), once: true };
        let traverse = Traverse::new(objset.reader().clone(), id, *objset.root(), options);
        Self { traverse, encrypted: source.is_encrypted(), raw, progress, failed: false }
    }

    /// Returns the range of a visit, or `None` if it is not sent.
    fn range(&mut self, visit: Visit) -> Result<Option<Range>> {
        let (at, pointer) = (visit.at, visit.pointer);
        if self.encrypted && !pointer.is_hole() && !pointer.uses_crypt() {
            return Err(Fault::Unencrypted(at).into());
        }
        let object = at.object.0;
        // The receiver counts the space used by users, groups and projects itself.
        if object.cast_signed() < 0 {
            self.traverse.prune();
            return Ok(None);
        }
        self.progress.visited();
        match visit.kind {
            VisitKind::Root => Ok(None),
            VisitKind::Dnode if object == 0 => Ok(None),
            VisitKind::Dnode => {
                let what = What::Object { pointer, dnode: visit.dnode };
                Ok(Some(Range { object, start: 0, end: 0, what }))
            }
            VisitKind::Block if object == 0 && at.level == 0 && !pointer.is_hole() => {
                let what = What::ObjectRange { pointer };
                Ok(self.raw.then_some(Range { object, start: at.block.0, end: at.block.0 + 1, what }))
            }
            VisitKind::Block => Self::block(&visit, pointer),
        }
    }

    fn block(visit: &Visit, pointer: BlockPointer) -> Result<Option<Range>> {
        let (at, object) = (visit.at, visit.at.object.0);
        let Some(dnode) = &visit.dnode else { return Ok(None) };
        let is_hole = pointer.is_hole();
        if !is_hole && (at.level > 0 || object == 0) {
            return Ok(None);
        }
        let shift = u32::from(at.level.unsigned_abs()) * dnode.pointers_per_block_shift();
        // Ranges past the largest block number and after the last block were always holes.
        let Some(span) = 1_u64.checked_shl(shift) else { return Ok(None) };
        let Some(start) = span.checked_mul(at.block.0) else { return Ok(None) };
        let is_spill = visit.is_spill();
        if !is_spill && !dnode.object_type.is_metadata() && start > dnode.max_block.0 {
            return Ok(None);
        }
        let block_bytes = if is_spill { pointer.lsize() } else { dnode.block_bytes() };
        if !is_hole && (at.level != 0 || pointer.level() != 0 || pointer.lsize() != block_bytes) {
            let detail = format!(
                "it has level {} and {} bytes, expected level 0 and the {block_bytes} of the object",
                pointer.level(),
                pointer.lsize()
            );
            return Err(zstream_dmu::error::Error::corrupt("block pointer", detail).at_bookmark(at).into());
        }
        let what = if is_hole {
            What::Hole { block_bytes }
        } else if pointer.is_redacted() {
            What::Redact { block_bytes }
        } else {
            What::Data { pointer, object_type: dnode.object_type, block_bytes }
        };
        Ok(Some(Range { object, start, end: start.saturating_add(span), what }))
    }

    fn step(&mut self) -> Result<Option<Range>> {
        while let Some(visit) = self.traverse.next() {
            if self.progress.is_cancelled() {
                return Err(Fault::Cancelled.into());
            }
            if let Some(range) = self.range(visit?)? {
                return Ok(Some(range));
            }
        }
        Ok(None)
    }
}

impl Iterator for Changes<'_> {
    type Item = Result<Range>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let outcome = self.step().transpose();
        self.failed = !matches!(outcome, Some(Ok(_)));
        outcome
    }
}
