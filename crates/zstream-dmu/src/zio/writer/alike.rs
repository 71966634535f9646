//! Blocks that are written once, because deduplication finds that they are alike.
//!
//! A block that no table has is entered after it has been written, so that nobody refers to a block that could not be
//! written.

use std::collections::HashSet;

use super::BlockWriter;
use super::prepare::{Form, Prepared};
use crate::blkptr::BlockPointer;
use crate::error::Result;
use crate::zio::Same;
use crate::zio::place::Placed;
use crate::zio::write::{Dedup, WriteBlock as _, WriteRequest, Written};

/// The locations and references that a write has taken so far.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) places: Vec<Placed>,
    pub(super) shared: Vec<BlockPointer>,
}

/// The blocks of one write that are deduplicated.
#[derive(Default)]
pub(super) struct Alike {
    /// Properties, checksums and copies of the blocks that no table has.
    keys: HashSet<(u64, [u64; 4], u8)>,
    /// The requests of these blocks, each with the index of its location in [`Taken`].
    pub(super) new: Vec<(usize, usize)>,
    /// The requests of blocks that are like one of these.
    pub(super) later: Vec<usize>,
}

impl BlockWriter {
    /// Searches for a block of the same content. Blocks that are alike are written once: the pointers of the others,
    /// which have no addresses, are replaced when the first one has been written.
    pub(super) fn find_same(
        &self,
        n: usize,
        request: &WriteRequest<'_>,
        prepared: &Prepared<'_>,
        alike: &mut Alike,
    ) -> Result<Option<Same>> {
        let Some(dedup) = request.props.dedup else { return Ok(None) };
        let pointer = prepared.seal.put(BlockPointer::normal(&prepared.block));
        let words = pointer.words();
        let key = (words[6], <[u64; 4]>::try_from(&words[12..]).unwrap_or_default(), request.props.copies);
        if alike.keys.contains(&key) {
            alike.later.push(n);
            return Ok(Some(Same::Shared(pointer.without_dedup())));
        }
        let content = (dedup == Dedup::Verified).then_some(&*prepared.bytes);
        let same = self.space.find_same(&pointer, request.props.copies, content);
        let same = same.map_err(|error| error.at_bookmark(request.at))?;
        if same == Same::New {
            alike.keys.insert(key);
        }
        Ok(Some(same))
    }

    /// Enters blocks that were written into the deduplication tables. Blocks that another thread entered meanwhile are
    /// given back.
    pub(super) fn enter(
        &self,
        requests: &[WriteRequest<'_>],
        forms: &[Form<'_>],
        alike: &Alike,
        written: &mut [Written],
        taken: &mut Taken,
    ) -> Result<()> {
        let mut again = alike.later.clone();
        for &(n, place) in &alike.new {
            let pointer = written[n].pointer;
            if self.space.enter(&pointer, requests[n].props.copies)? {
                // It is freed with its last reference.
                taken.places[place] = Placed::Whole(Vec::new());
                taken.shared.push(pointer);
            } else {
                again.push(n);
            }
        }
        for n in again {
            let (request, Form::Stored(prepared)) = (&requests[n], &forms[n]) else { continue };
            match self.find_same(n, request, prepared, &mut Alike::default())? {
                Some(Same::Shared(pointer)) => {
                    if let Some(&(_, place)) = alike.new.iter().find(|(new, _)| *new == n) {
                        self.discard(&written[n].pointer.without_dedup());
                        taken.places[place] = Placed::Whole(Vec::new());
                    }
                    written[n].pointer = pointer;
                    taken.shared.push(pointer);
                }
                // It has an address of its own.
                _ if alike.new.iter().any(|(new, _)| *new == n) => {
                    written[n].pointer = written[n].pointer.without_dedup();
                }
                _ => written[n] = self.write_all(std::slice::from_ref(request), taken)?.remove(0),
            }
        }
        Ok(())
    }
}
