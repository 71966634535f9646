//! `zstream prune` on pools: what stays is what the policy says, with its content, and everything else is gone at once.

use std::fs;
use std::sync::Arc;

use serde_json::Value;
use zstream::create::{NewDataset, NewPool};
use zstream::{Control, NoKeys, PoolPlace, Put, PutOptions};
use zstream_dmu::device::Memory;
use zstream_dmu::pool::{WriteOptions, history};
use zstream_tests::lab::{Lab, contents};

const DAY: u64 = 86_400;
/// A Monday, 12:00 UTC.
const START: u64 = 1_767_614_400 - 12 * 3600;

/// A pool with `fs`, which has a snapshot for each of these days, and a file that changes. It is made in memory.
fn lab(days: &[u64]) -> Lab {
    let memory = Arc::new(Memory::new());
    let new = NewPool::new("p", &["disk"]).unwrap().with_file_size(96 << 20).unwrap();
    new.through(Arc::clone(&memory) as _).create("test", &NoKeys).unwrap();
    let place = PoolPlace::new(["disk"]).through(Arc::clone(&memory) as _);
    let datasets = ["p/fs", "p/fs/below", "p/other"];
    let created = place.change("p", "test", |pool| {
        datasets.iter().try_for_each(|name| NewDataset::filesystem(*name).create(pool, &NoKeys).map(drop))
    });
    created.unwrap();
    for (nr, day) in days.iter().enumerate() {
        let control = &mut Control::new();
        let mut put = Put::open(&place, "p/fs", &PutOptions::default(), &NoKeys).unwrap();
        put.file(b"file", &vec![nr as u8; 40_000 + nr * 1000], control).unwrap();
        put.file(format!("of-{day}").as_bytes(), &vec![3; 150_000], control).unwrap();
        put.finish("test").unwrap();
        let options = WriteOptions { now: Some(START + day * DAY), ..WriteOptions::default() };
        let mut pool = place.open_writable(Some("p"), options, None).unwrap();
        zstream::snapshot(&mut pool, &[format!("p/fs@{day}"), format!("p/fs/below@{day}")]).unwrap();
        pool.export().unwrap();
    }
    let lab = Lab::new(&["p"]);
    fs::write(lab.image("p"), memory.get("disk").unwrap().to_vec()).unwrap();
    lab
}

/// The commands in the history of the pool.
fn commands(lab: &Lab) -> Vec<String> {
    let open = PoolPlace::new([lab.image("p")]).open(None, &mut Control::new()).unwrap();
    let records = history::records(&**open.pool.mos()).unwrap();
    records.iter().filter_map(|record| record.get_str("history command").map(str::to_owned)).collect()
}

/// The snapshots of `p/fs`, oldest first.
fn left(lab: &Lab, of: &str) -> Vec<String> {
    let prefix = format!("{of}@");
    lab.names("p").iter().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
}

fn json(lab: &Lab, line: &str) -> Value {
    let outcome = lab.run("p", line, b"");
    assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
    serde_json::from_slice(&outcome.stdout).unwrap()
}

fn used(lab: &Lab) -> u64 {
    lab.get("p", "used", "p/fs").split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_policy_decides_and_the_rest_goes_at_once() {
    let days: Vec<u64> = (0..24).collect();
    let lab = lab(&days);
    let (before, used_before) = (contents(&lab.reading("p")), used(&lab));
    let image = fs::read(lab.image("p")).unwrap();
    let line = "prune --keep-last 1 --keep-daily 3 --keep-weekly 3 --json p/fs";
    let planned = json(&lab, &format!("{line} --dry-run"));
    assert!(fs::read(lab.image("p")).unwrap() == image, "a dry run changes nothing");

    let mut done = json(&lab, line);
    assert_eq!(done["dry_run"], false);
    done["dry_run"] = true.into();
    assert_eq!(done, planned);
    // Day 0 is a Monday: the weeks end on days 6, 13 and 20.
    assert_eq!(left(&lab, "p/fs"), ["13", "20", "21", "22", "23"]);
    assert_eq!(left(&lab, "p/fs/below").len(), 24, "not without -r");
    let reasons = |nr: usize| planned["datasets"][0]["snapshots"][nr]["reasons"].to_string();
    assert_eq!(reasons(0), r#"["last snapshot","daily snapshot","weekly snapshot"]"#);
    assert_eq!(reasons(3), r#"["weekly snapshot"]"#);
    assert_eq!(planned["destroyed"], 19);
    let freed = planned["freed_bytes"].as_u64().unwrap();
    assert!(freed > 19 * 40_000, "{freed}");
    assert_eq!(used_before - used(&lab), freed);

    let after = contents(&lab.reading("p"));
    assert!(after.iter().all(|(guid, content)| before.get(guid) == Some(content)), "what stays is as it was");
    lab.check("p");
    let commands = commands(&lab);
    assert!(commands.last().unwrap().contains("prune --keep-last 1"), "{commands:?}");

    // Nothing is left to do: the pool is not written.
    let image = fs::read(lab.image("p")).unwrap();
    assert_eq!(json(&lab, line)["destroyed"], 0);
    assert!(fs::read(lab.image("p")).unwrap() == image);
}

#[test]
fn trees_holds_and_clones() {
    let lab = lab(&[0, 1, 2, 3, 4]);
    lab.does("p", &["hold keep p/fs@0", "hold other p/fs/below@1", "clone p/fs@2 p/clone"]);
    let planned = json(&lab, "prune -n --keep-last 1 --keep-tag keep -r --json p/fs p/fs/below");
    let datasets = planned["datasets"].as_array().unwrap();
    let names: Vec<_> = datasets.iter().map(|dataset| dataset["dataset"].as_str().unwrap()).collect();
    assert_eq!(names, ["p/fs", "p/fs/below"], "each once");
    lab.does("p", &["prune --keep-last 1 --keep-tag keep -r p/fs"]);
    assert_eq!(left(&lab, "p/fs"), ["0", "2", "4"]);
    assert_eq!(left(&lab, "p/fs/below"), ["1", "4"]);
    let text = |nr: usize, of: usize| datasets[of]["snapshots"][nr]["reasons"].to_string();
    assert_eq!((text(4, 0), text(2, 0)), (r#"["has tag keep"]"#.into(), r#"["origin of p/clone"]"#.into()));
    assert_eq!(text(3, 1), r#"["held by other"]"#);
    lab.check("p");
}

#[test]
fn what_is_refused_destroys_nothing() {
    let lab = lab(&[0, 1]);
    for (line, code, expected) in [
        ("prune p/fs", 2, "no policy is given"),
        ("prune --keep-last 0 p/fs", 2, "no policy is given"),
        ("prune --keep-last=-1 p/fs", 2, "expected a number or `unlimited`"),
        ("prune --keep-within 1w p/fs", 2, "expected numbers with the units"),
        ("prune --keep-last 1 p/fs@0", 2, "only filesystems and volumes"),
        ("prune --keep-last 1", 2, "required"),
        ("prune --keep-last 1 p/fs p/none", 1, "cannot open 'p/none'"),
        ("prune --keep-tag none p/fs", 1, "the policy keeps none of its snapshots"),
        ("--txg 5 prune --keep-last 1 p/fs", 2, "reading a pool only"),
    ] {
        let outcome = lab.run("p", line, b"");
        let text = String::from_utf8(outcome.stderr).unwrap();
        assert_eq!(outcome.code, code, "{line}: {text}");
        assert!(text.contains(expected), "{line}: {text}");
        assert_eq!(left(&lab, "p/fs"), ["0", "1"], "{line}");
    }
    // A dataset without snapshots is not an error.
    assert_eq!(json(&lab, "prune --keep-tag none --json p/other")["destroyed"], 0);
}
