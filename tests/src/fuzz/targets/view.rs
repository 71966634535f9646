//! Views of stored streams.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_format::stream::Checking;
use zstream_view::{Options, Source, StreamView, Streams};

use crate::forged;

/// Objects of a view that are looked at.
const OBJECTS_MAX: usize = 200;
/// Bytes of an object that are read at once.
const CONTENT_BYTES: usize = 300_000;
/// Bytes that are compared at once.
const CONTENT_PIECE_BYTES: usize = 4096;

fn open(input: &[u8], checking: Checking) -> Option<Streams> {
    let source = Source::from_bytes("input".to_owned(), input.to_vec());
    Streams::index(vec![source], &Options { partial: true, checking }).ok()
}

/// What is shown in pieces is shown as a whole; with checksums verified nothing else is shown than without.
pub(super) fn run(input: &[u8]) {
    let Some(streams) = open(input, Checking::Shape) else { return };
    let summed = open(input, Checking::Sums);
    for number in 0..streams.snapshots().len().min(8) {
        let Ok(view) = streams.view(number) else { continue };
        look_at(&view);
        let _ = forged::look_at_files(&view);
        let summed = summed.as_ref().and_then(|streams| streams.view(number).ok());
        // A sum that is wrong cuts the stream short there.
        if let Some(summed) = summed.filter(|summed| summed.snapshot() == view.snapshot()) {
            let objects = |view: &StreamView| {
                let next = |at: Option<ObjectId>| {
                    view.next_object(ObjectId(at.map_or(0, |at| at.0 + 1))).expect("a number")
                };
                std::iter::successors(next(None), |at| next(Some(*at))).take(OBJECTS_MAX).collect::<Vec<_>>()
            };
            // Of the object at the cut, a record that nothing vouches for may say the first.
            let end = view.snapshot().cut.map_or(u64::MAX, |cut| cut.object);
            let below = |view| objects(view).into_iter().filter(|object| object.0 < end).collect::<Vec<_>>();
            assert_eq!(below(&summed), below(&view));
            // What is shown of any object, that at the cut too, is the same.
            for object in objects(&summed).into_iter().filter(|object| object.0 <= end) {
                same_content(&summed, &view, object);
            }
        }
    }
}

/// What can be read of an object with checksums verified is what can be read without.
fn same_content(summed: &StreamView, view: &StreamView, object: ObjectId) {
    let info = summed.info(object).expect("it was listed");
    let len = usize::try_from(info.end()).unwrap_or(usize::MAX).min(CONTENT_BYTES);
    let mut buffers = [vec![1; CONTENT_PIECE_BYTES], vec![2; CONTENT_PIECE_BYTES]];
    for at in (0..len).step_by(CONTENT_PIECE_BYTES) {
        let part = ..CONTENT_PIECE_BYTES.min(len - at);
        if summed.read(object, at as u64, &mut buffers[0][part]).is_ok() {
            let read = view.read(object, at as u64, &mut buffers[1][part]);
            assert!(read.is_ok() && buffers[0][part] == buffers[1][part], "object {object} at {at}");
        }
    }
}

fn look_at(view: &StreamView) {
    let mut next = ObjectId(0);
    for _ in 0..OBJECTS_MAX {
        let Some(object) = view.next_object(next).expect("a number") else { return };
        next = ObjectId(object.0 + 1);
        let info = view.info(object).expect("it was listed");
        let len = usize::try_from(info.end()).unwrap_or(usize::MAX).min(CONTENT_BYTES);
        let (mut whole, mut pieces) = (vec![1; len], vec![2; len]);
        let read = view.read(object, 0, &mut whole);
        let piece = len.div_ceil(7).max(1);
        let in_pieces = pieces
            .chunks_mut(piece)
            .enumerate()
            .try_for_each(|(n, part)| view.read(object, (n * piece) as u64, part));
        assert_eq!(read.is_ok(), in_pieces.is_ok(), "object {object}");
        assert!(read.is_err() || whole == pieces, "object {object} in pieces");
        // Holes are zeros.
        if let (Ok(()), Ok(hole)) = (read, view.next_hole(object, 0))
            && let Ok(hole) = usize::try_from(hole)
            && hole < len
        {
            let end = view.next_data(object, hole as u64).expect("a number").map_or(len as u64, |at| at);
            let end = usize::try_from(end).unwrap_or(len).min(len);
            assert!(whole[hole..end].iter().all(|byte| *byte == 0), "object {object}: a hole at {hole}");
        }
        let _ = view.spill(object);
    }
}
