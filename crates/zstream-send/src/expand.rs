//! Look-ups in the dataset for ranges, before their blocks are read: previously redacted ranges are replaced by their
//! current content, and unmodified spill blocks are added to their objects.

use std::collections::VecDeque;
use std::sync::Arc;

use zstream_dmu::Seek;
use zstream_dmu::dnode::Dnode;
use zstream_dmu::error::Fault as DmuFault;
use zstream_dmu::ids::{BlockId, Bookmark, ObjectId, Txg};
use zstream_dmu::objset::Objset;

use crate::error::Result;
use crate::merge::Merge;
use crate::range::{Range, What};

/// The number of block pointers that are looked up at a time.
const POINTERS_PER_LOOKUP: u64 = 1024;

/// An iterator over ranges that are ready to be sent, in canonical order. An error is the last item.
pub(crate) struct Expand<'a> {
    pub(crate) ranges: Merge<'a>,
    pub(crate) objset: &'a Objset,
    /// The transaction group up to which spill blocks are sent with their objects; none are sent if this is `None`.
    pub(crate) unmodified_spill: Option<Txg>,
    /// The first object that was not sent yet.
    pub(crate) first_object: u64,
    /// The next ranges; `rest` follows them.
    pub(crate) ready: VecDeque<Range>,
    /// The rest of a previously redacted range.
    pub(crate) rest: Option<Rest>,
    pub(crate) failed: bool,
}

/// Blocks whose pointers are still to be looked up.
pub(crate) struct Rest {
    object: u64,
    dnode: Arc<Dnode>,
    next: u64,
    end: u64,
}

impl Expand<'_> {
    fn step(&mut self) -> Result<Option<Range>> {
        loop {
            if let Some(range) = self.ready.pop_front() {
                return Ok(Some(range));
            }
            if self.rest.is_some() {
                self.look_up()?;
                continue;
            }
            let Some(range) = self.ranges.next().transpose()? else { return Ok(None) };
            match &range.what {
                What::Object { .. } if range.object < self.first_object => {}
                What::Object { dnode, .. } => {
                    self.ready.extend(dnode.as_ref().and_then(|dnode| self.spill(range.object, dnode)));
                    return Ok(Some(range));
                }
                What::PreviouslyRedacted => self.rest = self.rest_of(&range)?,
                _ => return Ok(Some(range)),
            }
        }
    }

    /// Returns the spill block of an object, if it is sent with the object.
    fn spill(&self, object: u64, dnode: &Dnode) -> Option<Range> {
        let pointer = *dnode.spill().filter(|pointer| !pointer.is_hole())?;
        if pointer.logical_birth() > self.unmodified_spill? {
            return None;
        }
        let start = Bookmark::SPILL.0;
        let block_bytes = pointer.lsize();
        let what = What::Data { pointer, object_type: dnode.object_type, block_bytes };
        Some(Range { object, start, end: start + 1, what })
    }

    /// Returns the blocks to look up for a range, or `None` if its object was freed, which the changes contain.
    fn rest_of(&self, range: &Range) -> Result<Option<Rest>> {
        let dnode = match self.objset.dnode(ObjectId(range.object)) {
            Ok(dnode) => dnode,
            Err(error) if matches!(error.fault(), DmuFault::NoObject(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The last block is included. (OpenZFS up to 2.3.7 omitted it.)
        let end = range.end.min(dnode.max_block.0.saturating_add(1));
        Ok((range.start < end).then_some(Rest { object: range.object, dnode, next: range.start, end }))
    }

    /// Looks up the next blocks: a hole, or blocks with content.
    fn look_up(&mut self) -> Result<()> {
        let Some(mut rest) = self.rest.take() else { return Ok(()) };
        let (object, block_bytes) = (rest.object, rest.dnode.block_bytes());
        let tree = self.objset.tree(ObjectId(object), &rest.dnode);
        let data = tree.next(Seek::Data, BlockId(rest.next))?.map_or(rest.end, |block| block.0.min(rest.end));
        if data > rest.next {
            let what = What::Hole { block_bytes };
            self.ready.push_back(Range { object, start: rest.next, end: data, what });
        }
        rest.next = data;
        let count = (rest.end - data).min(POINTERS_PER_LOOKUP);
        for pointer in tree.data_pointers(BlockId(data), count as usize)? {
            if pointer.is_hole() {
                break;
            }
            tree.check_data(&pointer, BlockId(rest.next))?;
            let what = if pointer.is_redacted() {
                What::Redact { block_bytes }
            } else {
                What::Data { pointer, object_type: rest.dnode.object_type, block_bytes }
            };
            self.ready.push_back(Range { object, start: rest.next, end: rest.next + 1, what });
            rest.next += 1;
        }
        self.rest = (rest.next < rest.end).then_some(rest);
        Ok(())
    }
}

impl Iterator for Expand<'_> {
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
