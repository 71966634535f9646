//! What a pool holds, told so that it can be compared with what it held before, or with what another pool holds.
//!
//! Content is compared object by object: type, bonus, data, spill. Block sizes and the form in which blocks are stored are no
//! part of it, since options of `send` change them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use zstream_dmu::error::Fault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dsl::RECEIVE_CHILD;
use zstream_dsl::dataset::{Dataset, Dir};

use crate::sending::Sending;

/// How much of an object is read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// Datasets and snapshots by name, with what they are.
pub type State = BTreeMap<String, String>;

/// The content of a set of objects as a hash. What was redacted, or is encrypted and not unlocked, counts as that.
#[must_use]
pub fn content(set: &dyn ObjectSet) -> String {
    let mut digest = Sha256::new();
    let mut at = ObjectId(1);
    while let Some(object) = set.next_object(at).expect("dnodes") {
        let info = set.info(object).expect("an object");
        digest.update(format!(
            "\n{object} {} {} {} {} {} ",
            info.object_type, info.bonus_type, info.dn_slots, info.checksum_type.0, info.compression.0
        ));
        digest.update(info.bonus.as_deref().unwrap_or(b"locked"));
        match set.spill(object) {
            Ok(spill) => digest.update(spill.as_deref().unwrap_or_default()),
            Err(_) => digest.update(b"locked"),
        }
        let mut offset = 0;
        while offset < info.end() {
            let mut bytes = vec![0; (info.end() - offset).min(PIECE_BYTES) as usize];
            match set.read(object, offset, &mut bytes) {
                // Zeros are holes or not, and the last block may be larger than what is in it.
                Ok(()) => {
                    let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    if length > 0 {
                        digest.update(offset.to_le_bytes());
                        digest.update(&bytes[..length]);
                    }
                }
                Err(error) if matches!(error.fault(), Fault::Redacted) => digest.update(b"redacted"),
                Err(error) if matches!(error.fault(), Fault::Encrypted { .. }) => digest.update(b"locked"),
                Err(error) => panic!("object {object}: {error}"),
            }
            offset += PIECE_BYTES;
        }
        at = ObjectId(object.0 + 1);
    }
    digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The content of a dataset.
#[must_use]
pub fn dataset_content(dataset: &Dataset) -> String {
    if dataset.phys().root.is_hole() {
        return "nothing".to_owned();
    }
    content(&*dataset.objset_locked().expect("an object set"))
}

/// What a snapshot is: guid, time, holds, content.
fn snapshot(dataset: &Dataset) -> String {
    let holds: Vec<String> = dataset.holds().expect("holds").into_iter().map(|hold| hold.tag).collect();
    let phys = dataset.phys();
    format!("{} {} {holds:?} {}", phys.guid, phys.creation_time, dataset_content(dataset))
}

/// All at and below the dataset `top`, by names without it: of heads the guid of the snapshot that they are clones of, of
/// snapshots guid, time, holds and content.
#[must_use]
pub fn tree(sending: &Sending, top: &str) -> State {
    let mut state = State::new();
    let root = sending.dsl.dir(top).expect("the top");
    root.walk(&mut |dir| {
        let Some(name) = dir.name().strip_prefix(top) else { return Ok(()) };
        if dir.name().contains(['$', '%']) || dir.phys().head.is_none() {
            return Ok(());
        }
        let origin = dir.origin()?.filter(|origin| !origin.name().contains('$'));
        state.insert(name.to_owned(), format!("of {:?}", origin.map(|origin| origin.phys().guid)));
        for found in dir.head()?.snapshots()? {
            let short = found.name().strip_prefix(top).unwrap_or_default().to_owned();
            state.insert(short, snapshot(&found));
        }
        Ok(())
    })
    .expect("a tree of datasets");
    state
}

/// All that the pool holds, hidden clones and content of heads included, and where interrupted receives go on.
#[must_use]
pub fn whole(sending: &Sending) -> State {
    let mut state = State::new();
    let mut add = |dir: &Arc<Dir>| {
        if dir.phys().head.is_none() {
            return Ok(());
        }
        let head = dir.head()?;
        let phys = head.phys();
        // What the pool takes as a whole grows with its history.
        let used = dir.parent().map(|_| dir.phys().used_bytes);
        let what = format!(
            "{} {:?} {} {used:?} {:?} {:?} {}",
            phys.guid,
            phys.flags,
            phys.referenced_bytes,
            dir.origin()?.map(|origin| origin.phys().guid),
            head.resume_token()?,
            dataset_content(&head)
        );
        state.insert(head.name().to_owned(), what);
        for found in head.snapshots()? {
            state.insert(found.name().to_owned(), snapshot(&found));
        }
        Ok(())
    };
    let mut visit = |dir: &Arc<Dir>| {
        add(dir)?;
        dir.child(RECEIVE_CHILD)?.as_ref().map_or(Ok(()), &mut add)
    };
    sending.dsl.walk(&mut visit).expect("a tree of datasets");
    state
}

/// What differs between two states, a line for each name.
#[must_use]
pub fn difference(found: &State, expected: &State) -> String {
    let mut text = String::new();
    for name in found.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (a, b) = (found.get(name), expected.get(name));
        if a != b {
            let _ = writeln!(text, "{name:?}: {a:?}, expected {b:?}");
        }
    }
    text
}
