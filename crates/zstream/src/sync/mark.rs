//! Bookmarks and holds that keep the source of the next increment.

use super::state::{Head, Point};

/// The bookmarks of a dataset to create and destroy: full names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// One that has the name of the new one, for another snapshot: it goes first.
    pub(super) stale: Option<String>,
    pub(super) new: Option<String>,
    /// Those that go when the new one is there.
    pub(super) old: Vec<String>,
}

/// The bookmark `PREFIX_SNAPSHOT` for the last snapshot that was sent, instead of older ones of that prefix.
pub(super) fn bookmarks(head: &Head, prefix: &str, last: &Point) -> Marks {
    let full = |short: &str| format!("{}#{short}", head.name);
    let wanted = format!("{prefix}_{}", last.name);
    let is_there = |mark: &Point| mark.name == wanted && mark.guid == last.guid;
    // A bookmark is made of a snapshot; where that is gone, the last one stays.
    let can_make = head.snapshots.iter().any(|point| point.guid == last.guid);
    let exists = head.bookmarks.iter().any(is_there);
    if !exists && !can_make {
        return Marks::default();
    }
    let is_old = |mark: &&Point| {
        let is_ours = mark.name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_'));
        is_ours && mark.name != wanted && mark.txg <= last.txg
    };
    let stale = head.bookmarks.iter().find(|mark| mark.name == wanted && !is_there(mark));
    let old: Vec<String> = head.bookmarks.iter().filter(is_old).map(|mark| full(&mark.name)).collect();
    Marks { stale: stale.map(|mark| full(&mark.name)), new: (!exists).then(|| full(&wanted)), old }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_snapshot_has_the_bookmark() {
        let point = |name: &str, guid| Point { name: name.to_owned(), guid, txg: guid };
        let mut head = Head { name: "p/f".to_owned(), ..Head::default() };
        head.snapshots = vec![point("a", 1), point("b", 2)];
        let marks = |head: &Head, last: &Point| {
            let marks = bookmarks(head, "nas", last);
            (marks.new.unwrap_or_default(), marks.old.join(" "))
        };
        assert_eq!(marks(&head, &point("b", 2)), ("p/f#nas_b".into(), String::new()));
        // Those of others stay, and so does one that is newer.
        head.bookmarks = vec![point("nas_a", 1), point("nasty_a", 1), point("a", 1), point("nas_c", 3)];
        assert_eq!(marks(&head, &point("b", 2)), ("p/f#nas_b".into(), "p/f#nas_a".into()));
        head.bookmarks.push(point("nas_b", 2));
        assert_eq!(marks(&head, &point("b", 2)), (String::new(), "p/f#nas_a".into()));
        // A snapshot of that name was there before.
        head.snapshots.push(Point { guid: 7, ..point("b", 7) });
        let again = bookmarks(&head, "nas", &point("b", 7));
        assert_eq!((again.stale.as_deref(), again.new.as_deref()), (Some("p/f#nas_b"), Some("p/f#nas_b")));
        // The snapshot is gone: its bookmark stays.
        assert_eq!(marks(&head, &point("x", 9)), (String::new(), String::new()));
    }
}
