//! Redaction lists as flows of ranges (`redact_list_thread`).

use zstream_dmu::ids::{BlockId, ObjectId};
use zstream_dsl::redact::{RedactedBlocks, RedactionList};

use crate::error::{Error, Result};
use crate::merge::Flow;
use crate::range::{Range, What};

/// Returns the blocks of a list, starting at `from`, as ranges of the kind that `what` returns.
///
/// # Errors
/// Fails if the list is incomplete: it is unknown which blocks are missing in it.
pub(crate) fn redactions(
    list: &RedactionList,
    from: Option<(ObjectId, BlockId)>,
    what: impl Fn(&RedactedBlocks) -> What + Send + 'static,
) -> Result<Flow<'_>> {
    if !list.is_complete() {
        return Err(Error::bad_plan("the redaction list is not complete"));
    }
    let (object, block) = from.unwrap_or_default();
    let ranges = list.blocks_from(object, block).map(move |blocks| {
        let blocks = blocks?;
        // A run that starts before the point to resume at was sent up to there.
        let start = if blocks.object == object { blocks.block.max(block).0 } else { blocks.block.0 };
        let end = blocks.block.0.saturating_add(blocks.count);
        Ok(Range { object: blocks.object.0, start, end, what: what(&blocks) })
    });
    Ok(Box::new(ranges))
}
