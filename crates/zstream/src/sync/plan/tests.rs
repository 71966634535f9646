use proptest::prelude::*;
use zstream_format::nvlist::NvList;
use zstream_format::order::ByteOrder;

use super::*;

fn point(name: &str, guid: u64) -> Point {
    Point { name: name.to_owned(), guid, txg: guid }
}

/// A dataset by its points: `a` is a snapshot, `#a` a bookmark of what had that name. The guid of a name is its byte.
fn head(name: &str, text: &str) -> Head {
    let mut head = Head { name: name.to_owned(), ..Head::default() };
    for word in text.split_whitespace() {
        let short = word.trim_start_matches('#');
        let point = point(short, short.as_bytes()[0].into());
        if word.starts_with('#') { head.bookmarks.push(point) } else { head.snapshots.push(point) }
    }
    head
}

fn shown(plan: Result<Plan, SyncFault>) -> String {
    match plan {
        Ok(Plan::UpToDate(point)) => {
            format!("has {}", point.map_or_else(|| "-".to_owned(), |point| point.name))
        }
        Ok(Plan::Resume { to, .. }) => format!("resume {}", to.name),
        Ok(Plan::Discard) => "discard".to_owned(),
        Ok(Plan::RollBack(to)) => format!("roll back to {to}"),
        Ok(Plan::Send(steps)) => {
            let step = |step: &Step| {
                let names: String = step.snapshots.iter().map(|point| point.name.as_str()).collect();
                format!("{}>{names}", step.from.as_deref().unwrap_or(""))
            };
            steps.iter().map(step).collect::<Vec<_>>().join(" ")
        }
        Err(fault) => format!("! {fault}"),
    }
}

#[test]
fn the_target_gets_what_it_lacks() {
    let all: &dyn Fn(&str) -> bool = &|_| true;
    let not_d: &dyn Fn(&str) -> bool = &|name| name != "d";
    for (source, target, force, latest, wanted, expected) in [
        ("a b c", None, false, false, all, ">a @a>bc"),
        ("a", None, false, false, all, ">a"),
        ("a b c", None, false, true, all, ">c"),
        ("a b c", Some("a"), false, false, all, "@a>bc"),
        ("a b c", Some("a b"), false, false, all, "@b>c"),
        ("a b c d", Some("a"), false, true, all, "@a>d"),
        ("a b c", Some("a b c"), false, false, all, "has c"),
        // The target keeps what the source has destroyed, and the other way round.
        ("b c d", Some("a b"), false, false, all, "@b>cd"),
        ("a b c d", Some("c"), false, false, all, "@c>d"),
        ("a b #c d e f", Some("a c"), false, false, all, "#c>d @d>ef"),
        ("a c #c d", Some("a c"), false, false, all, "@c>d"),
        ("#c", Some("c"), false, false, all, "has c"),
        // Gaps that the filter leaves.
        ("a b c d e f", Some("b"), false, false, not_d, "@b>c @c>e @e>f"),
        ("a b c d e f", None, false, false, not_d, ">a @a>bc @c>e @e>f"),
        ("a b c d", Some("c"), false, false, not_d, "has c"),
        // Snapshots of its own are no obstacle while there is nothing to bring.
        ("a b", Some("a b x"), false, false, all, "has b"),
        (
            "a b c",
            Some("a b x"),
            false,
            false,
            all,
            "! p/t has snapshots that p/s lacks: @x; -F rolls it back to @b and destroys them",
        ),
        ("a b c", Some("a b x"), true, false, all, "@b>c"),
        (
            "a b c",
            Some("x y"),
            true,
            false,
            all,
            "! p/t has no snapshot in common with p/s: rename or destroy it, or name another target",
        ),
        ("a b", Some(""), false, false, all, "! p/t exists and has no snapshots: -F replaces it"),
        ("a b", Some(""), true, false, all, ">a @a>b"),
        ("", Some(""), false, false, all, "has -"),
        ("", None, false, false, all, "has -"),
        ("d", None, false, false, not_d, "! p/s has no snapshot that is to be sent"),
    ] {
        let (of_source, of_target) = (head("p/s", source), target.map(|text| head("p/t", text)));
        let rules = Rules { force, latest_only: latest, is_wanted: wanted };
        let found = shown(plan(&of_source, of_target.as_ref(), None, rules));
        assert_eq!(found, expected, "{source} -> {target:?}");
    }
    let rules = Rules { force: false, latest_only: false, is_wanted: all };
    let clone = plan(&head("p/s", "c d"), None, Some(("p/o@b".to_owned(), 98)), rules);
    assert_eq!(shown(clone), "p/o@b>c @c>d");
}

#[test]
fn an_interrupted_receive_comes_first() {
    let token = |guid: u64| {
        let mut list = NvList::new();
        for name in ["object", "offset", "bytes"] {
            list.add_u64(name, 1);
        }
        list.add_u64("toguid", guid).add_string("toname", "p/s@b");
        ResumeToken::from_list(&list, ByteOrder::Little)
            .and_then(|token| Ok(token.encode()?))
            .expect("a token")
    };
    let with = |guid| Head { token: Some(token(guid)), ..head("p/t", "a") };
    let rules = |force| Rules { force, latest_only: false, is_wanted: &|_| true };
    let source = head("p/s", "a b c");
    assert_eq!(shown(plan(&source, Some(&with(98)), None, rules(false))), "resume b");
    let other = shown(plan(&source, Some(&with(77)), None, rules(false)));
    assert!(other.contains("interrupted receive of a snapshot that p/s does not have: -F"), "{other}");
    assert_eq!(shown(plan(&source, Some(&with(77)), None, rules(true))), "discard");
    let garbled = Head { token: Some("1-x".to_owned()), ..head("p/t", "a") };
    assert!(plan(&source, Some(&garbled), None, rules(false)).is_err());
}

proptest! {
    /// Whatever each side has kept of a common history: every stream begins where the target is at that time, and at the end
    /// the target has the newest snapshot.
    #[test]
    fn each_stream_continues_the_target(
        kept in proptest::collection::vec((0..4_u8, any::<bool>(), any::<bool>()), 0..14),
        reached in 0..14_usize,
        own in any::<bool>(),
        force in any::<bool>(),
        latest_only in any::<bool>(),
    ) {
        let mut source = Head { name: "s".to_owned(), ..Head::default() };
        let mut target = Head { name: "t".to_owned(), ..Head::default() };
        for (at, (at_source, at_target, _)) in kept.iter().enumerate() {
            let point = point(&format!("n{at}"), at as u64 + 1);
            if at_source & 1 == 1 { source.snapshots.push(point.clone()) }
            if at_source & 2 == 2 { source.bookmarks.push(point.clone()) }
            if *at_target && at < reached { target.snapshots.push(point) }
        }
        if own { target.snapshots.push(point("own", 1000)) }
        let is_wanted = |name: &str| name.strip_prefix('n').and_then(|at| at.parse().ok()).is_some_and(|at: usize| kept[at].2);
        let had = target.snapshots.clone();
        match plan(&source, Some(&target), None, Rules { force, latest_only, is_wanted: &is_wanted }) {
            Ok(Plan::Send(steps)) => {
                let mut first = true;
                for step in &steps {
                    if force && first {
                        // A rollback to the source of the increment.
                        target.snapshots.retain(|point| point.guid <= step.from_guid);
                    }
                    first = false;
                    let newest = target.snapshots.last().map_or(0, |point| point.guid);
                    prop_assert_eq!(step.from_guid, newest);
                    prop_assert_eq!(step.from.is_some(), newest != 0);
                    if let Some(from) = &step.from {
                        prop_assert!(source.with_guid(newest).is_some_and(|known| known.signed() == *from));
                    }
                    if step.snapshots.len() > 1 {
                        prop_assert!(step.from.as_ref().is_some_and(|from| from.starts_with('@')));
                        // Intermediates are all that the source has in between.
                        let between = source.snapshots.iter()
                            .filter(|point| point.guid > newest && point.guid <= step.to().guid);
                        prop_assert!(between.eq(&step.snapshots));
                    }
                    target.snapshots.extend(step.snapshots.iter().cloned());
                }
                let sent: Vec<&Point> = steps.iter().flat_map(|step| &step.snapshots).collect();
                let base = steps[0].from_guid;
                let mut lacking: Vec<&Point> = source.snapshots.iter()
                    .filter(|point| point.guid > base && is_wanted(&point.name)).collect();
                if latest_only { lacking.drain(..lacking.len() - 1); }
                prop_assert_eq!(sent, lacking);
            }
            Ok(Plan::UpToDate(Some(point))) => {
                prop_assert!(had.iter().any(|known| known.guid == point.guid));
                prop_assert!(!source.snapshots.iter().any(|newer| newer.guid > point.guid && is_wanted(&newer.name)));
            }
            Ok(Plan::UpToDate(None)) => prop_assert!(source.snapshots.is_empty()),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(SyncFault::Diverged { .. }) => prop_assert!(!force && (own || had.len() > 1)),
            Err(SyncFault::Occupied { .. }) => prop_assert!(had.is_empty() && !force),
            Err(SyncFault::NothingInCommon { .. }) => {
                prop_assert!(had.iter().all(|point| source.with_guid(point.guid).is_none()));
            }
            Err(SyncFault::NothingChosen { .. }) => {
                prop_assert!(!source.snapshots.iter().any(|point| is_wanted(&point.name)));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

#[test]
fn a_name_that_is_taken_is_freed_first() {
    let (source, mut target) = (head("s", "a b c"), head("t", "a"));
    target.snapshots.push(Point { guid: 1000, ..point("b", 1000) });
    let plan_of = |target: &Head, force| {
        let rules = Rules { force, latest_only: false, is_wanted: &|_| true };
        shown(plan(&source, Some(target), None, rules))
    };
    assert_eq!(plan_of(&target, true), "roll back to a");
    assert!(plan_of(&target, false).contains("-F rolls it back to @a"));
    // Another name needs no rollback of its own: the receive does it.
    target.snapshots[1].name = "x".to_owned();
    assert_eq!(plan_of(&target, true), "@a>bc");
}
