//! `zstream sync` between pools that are not imported, stored streams, and a `zfs` that stands in for a running ZFS: a script
//! over images, in a PATH of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use zstream_tests::golden::Outcome;
use zstream_tests::lab::Lab;
use zstream_tests::{program, signals};

/// Stands in for `zfs`, over the images in $ZFS_DIR. It logs its words, cuts what is sent to $ZFS_CUT bytes, and stalls after
/// that if there is $ZFS_STALL.
const ZFS: &str = r#"#!/bin/sh
echo "zfs $*" >> "$ZFS_DIR/log"
verb=$1
shift
case $verb in
list)
  "$ZSTREAM" -d "$ZFS_DIR" list "$@" 2> "$ZFS_DIR/message" && exit
  for last; do :; done
  echo "cannot open '$last': dataset does not exist" >&2
  exit 1 ;;
send)
  case "$ZFS_CUT $*" in " "* | *" -n "*) exec "$ZSTREAM" -d "$ZFS_DIR" send "$@" ;; esac
  "$ZSTREAM" -d "$ZFS_DIR" send "$@" 2> "$ZFS_DIR/message" | head -c "$ZFS_CUT"
  test -z "$ZFS_STALL" || { touch "$ZFS_DIR/stalls"; exec sleep 600; }
  echo "warning: cannot send '$1': it was cut" >&2
  exit 1 ;;
receive)
  exec flock "$ZFS_DIR/lock" "$ZSTREAM" -d "$ZFS_DIR" recv "$@" ;;
*)
  exec "$ZSTREAM" -d "$ZFS_DIR" "$verb" "$@" ;;
esac
"#;

/// Stands in for `ssh`.
const SSH: &str = r#"#!/bin/sh
echo "ssh $1 $2 $3 $4" >> "$ZFS_DIR/log"
for last; do :; done
exec sh -c "$last"
"#;

/// Pools, and the programs of a host with ZFS that has them imported.
struct Host {
    lab: Lab,
    dir: tempfile::TempDir,
}

impl Host {
    fn new(pools: &[&str]) -> Self {
        let host = Self { lab: Lab::new(pools), dir: tempfile::tempdir().expect("a directory") };
        for (name, text) in [("zfs", ZFS), ("ssh", SSH)] {
            let path = host.dir.path().join(name);
            fs::write(&path, text).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        host
    }

    /// `zstream WORDS`; a word `IMAGE:a` is the file of the pool `a`.
    fn command(&self, line: &str, environment: &[(&str, &str)]) -> Command {
        let image = |pool: &str| self.lab.image(pool).display().to_string();
        let words = line.split_whitespace().map(|word| match word.strip_prefix("IMAGE:") {
            Some(pool) => image(pool),
            None => word.to_owned(),
        });
        let mut command = Command::new(program::path());
        let search = format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap_or_default());
        command.args(words).env("PATH", search).env("ZSTREAM", program::path());
        command.env("ZFS_DIR", self.lab.image("x").parent().expect("a directory"));
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        command
    }

    fn run_with(&self, line: &str, environment: &[(&str, &str)]) -> Outcome {
        let output = self.command(line, environment).output().expect("it runs");
        let code = output.status.code().expect("it ends by itself");
        Outcome { stdout: output.stdout, stderr: output.stderr, code }
    }

    /// Runs a line that succeeds; gives what it prints.
    fn does(&self, line: &str) -> String {
        let outcome = self.run_with(line, &[]);
        assert_eq!(outcome.code, 0, "{line}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8(outcome.stdout).expect("text")
    }

    /// Runs a line that fails with this code; gives what it prints and reports.
    fn fails(&self, line: &str, code: i32) -> String {
        let outcome = self.run_with(line, &[]);
        let text = [outcome.stdout, outcome.stderr].concat();
        let text = String::from_utf8(text).expect("text");
        assert_eq!(outcome.code, code, "{line}: {text}");
        text
    }

    /// The commands of `zfs` and `ssh` since the last call.
    fn log(&self) -> Vec<String> {
        let path = self.lab.image("x").with_file_name("log");
        let text = fs::read_to_string(&path).unwrap_or_default();
        fs::write(path, "").expect("a file");
        text.lines().map(str::to_owned).collect()
    }

    /// A day in a tree: a file changes, and everything gets a snapshot.
    fn day(&self, top: &str, name: &str) {
        let pool = top.split('/').next().expect("a pool");
        // Not compressible.
        let word = |n: u32| n.wrapping_mul(2_654_435_761).rotate_left(n >> 4) ^ n.wrapping_mul(n);
        let content: Vec<u8> = (1..300_000).flat_map(|n| word(n).to_le_bytes()).collect();
        self.lab.put(pool, top, &format!("of-{name}"), &content);
        self.lab.put(pool, top, "file", name.as_bytes());
        self.lab.does(pool, &[&format!("snapshot -r {top}@{name}")]);
    }

    /// The target has the newest snapshot of the source, and what both have is the same.
    fn assert_synced(&self, source: &str, target: &str) {
        let (from, to) = (pool_of(source), pool_of(target));
        // Without the holds.
        let plain = |text: &str| {
            let (before, rest) = text.split_once(" [").expect("holds");
            format!("{before} {}", rest.rsplit_once(']').expect("holds").1)
        };
        let of_source = self.lab.tree(source);
        let mut shared = 0;
        for (name, found) in self.lab.tree(target).iter().filter(|(name, _)| name.contains('@')) {
            if let Some(expected) = of_source.get(name) {
                assert_eq!(plain(found), plain(expected), "{target}{name}");
                shared += 1;
            }
        }
        assert!(shared > 0);
        let newest = |pool: &str, name: &str| snapshots(&self.lab, pool, name).pop();
        assert_eq!(newest(from, source), newest(to, target), "{source} {target}");
        self.lab.check(to);
    }
}

fn pool_of(name: &str) -> &str {
    name.split('/').next().expect("a pool")
}

/// The short names of snapshots, oldest first.
fn snapshots(lab: &Lab, pool: &str, dataset: &str) -> Vec<String> {
    let line = format!("list -H -r -d 1 -t snapshot -o name -s createtxg {dataset}");
    let outcome = lab.run(pool, &line, b"");
    let text = String::from_utf8(outcome.stdout).expect("text");
    text.lines().filter_map(|line| line.strip_prefix(&format!("{dataset}@"))).map(str::to_owned).collect()
}

/// A tree `a/fs` with two children and two days.
fn host() -> Host {
    let host = Host::new(&["a", "b"]);
    host.lab.does("a", &["create a/fs", "create a/fs/x", "create a/fs/x/y"]);
    host.day("a/fs", "mon");
    host.day("a/fs", "tue");
    host
}

const SYNC: &str = "-d IMAGE:a sync -r a/fs --to IMAGE:b b/fs";

#[test]
fn a_pool_is_brought_to_another_one_and_kept_there() {
    let host = host();
    let image = fs::read(host.lab.image("b")).unwrap();
    let planned = host.fails(&format!("{SYNC} -n"), 3);
    assert!(planned.contains("would send a/fs@tue to b/fs: 1 snapshot from @mon, about "), "{planned}");
    assert!(fs::read(host.lab.image("b")).unwrap() == image, "a dry run changes nothing");
    let done = host.does(SYNC);
    assert!(done.contains("sent a/fs@mon to b/fs: 1 snapshot, in full, "), "{done}");
    host.assert_synced("a/fs", "b/fs");
    assert!(host.does(&format!("{SYNC} --dry-run")).contains("b/fs/x/y is up to date with a/fs/x/y@tue"));

    // Both sides forget in their own way; a new dataset appears.
    host.lab.does("a", &["create a/fs/new"]);
    host.day("a/fs", "wed");
    host.day("a/fs", "thu");
    host.lab.does("a", &["destroy -r a/fs@mon"]);
    host.lab.does("b", &["destroy b/fs/x@mon"]);
    let events: Vec<Value> = host
        .does(&format!("{SYNC} --json"))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    host.assert_synced("a/fs", "b/fs");
    assert_eq!(snapshots(&host.lab, "b", "b/fs"), ["mon", "tue", "wed", "thu"]);
    assert_eq!(snapshots(&host.lab, "b", "b/fs/x"), ["tue", "wed", "thu"]);
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["behind"], &last["failed"]), (&"done".into(), &4.into(), &0.into()));
    let sent = events.iter().find(|event| event["event"] == "sent").unwrap();
    assert_eq!((&sent["from"], &sent["to"], &sent["snapshots"]), (&"@tue".into(), &"thu".into(), &2.into()));
    // Nothing is left to do, and the pool is not written.
    let image = fs::read(host.lab.image("b")).unwrap();
    host.does(SYNC);
    assert!(fs::read(host.lab.image("b")).unwrap() == image);
}

#[test]
fn a_running_zfs_is_a_source_and_a_target() {
    let host = host();
    for (line, words) in [
        ("-d IMAGE:b sync -r zfs:a/fs b/fs", "zfs send -L -e -c a/fs@mon"),
        (
            "-d IMAGE:a sync -r --jobs 3 -x mountpoint -o readonly=on a/fs zfs:b/other",
            "zfs receive -s -u -o readonly=on -x mountpoint b/other/x/y",
        ),
        ("-d IMAGE:b sync -r ssh://me@nas:22/a/fs b/far", "ssh -p 22 -- me@nas"),
        ("sync -r zfs:a/fs ssh://nas/b/further", "zfs send -L -e -c -i @mon a/fs/x@tue"),
    ] {
        host.log();
        host.does(line);
        let log = host.log();
        assert!(log.iter().any(|command| command == words), "{line}: {log:#?}");
        host.assert_synced(
            "a/fs",
            line.rsplit_once("b/").map(|(_, name)| format!("b/{name}")).as_deref().unwrap(),
        );
        assert!(host.does(&line.replace("sync", "sync -n")).contains("is up to date"), "{line}");
    }
    assert_eq!(host.lab.get("b", "readonly", "b/other/x"), "on local");
    let text = host.fails("-d IMAGE:b sync zfs:a/none b/none", 1);
    assert_eq!(text, "zstream: a/none does not exist\n");
}

#[test]
fn an_interrupted_receive_is_resumed() {
    let host = host();
    let line = "-d IMAGE:b sync -r zfs:a/fs b/fs";
    let outcome = host.run_with(line, &[("ZFS_CUT", "700000")]);
    let text = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.code, 1);
    assert!(
        text.contains("a/fs to b/fs: `zfs send` failed: warning: cannot send '-L': it was cut"),
        "{text}"
    );
    assert!(host.lab.get("b", "receive_resume_token", "b/fs").starts_with("1-"));
    let planned = host.fails(&format!("{line} -n"), 3);
    assert!(planned.contains("would send a/fs@mon to b/fs: the rest of an interrupted receive"), "{planned}");
    assert!(planned.contains("would send a/fs@tue to b/fs: 1 snapshot from @mon"), "{planned}");
    let done = host.does(line);
    assert!(done.contains("sent a/fs@mon to b/fs: the rest of an interrupted receive, "), "{done}");
    host.assert_synced("a/fs", "b/fs");

    // An increment that is cut, and whose snapshot is gone then.
    host.day("a/fs", "wed");
    assert_eq!(host.run_with(line, &[("ZFS_CUT", "700000")]).code, 1);
    host.lab.does("a", &["destroy -r a/fs@wed"]);
    host.day("a/fs", "thu");
    let text = host.fails(line, 1);
    assert!(
        text.contains("interrupted receive of a snapshot that a/fs does not have: -F discards it"),
        "{text}"
    );
    assert!(host.does(&format!("{line} -F")).contains("discards the interrupted receive of b/fs"));
    host.assert_synced("a/fs", "b/fs");
    // The same from a running ZFS to another.
    let outcome = host.run_with("sync zfs:a/fs zfs:b/two", &[("ZFS_CUT", "700000")]);
    assert_eq!(outcome.code, 1);
    assert!(host.does("sync zfs:a/fs zfs:b/two").contains("the rest of an interrupted receive"));
    host.assert_synced("a/fs", "b/two");
}

#[test]
fn a_signal_ends_it_while_the_sender_stalls() {
    let host = host();
    for (target, seen) in [("b/fs", "-d IMAGE:b sync zfs:a/fs b/fs"), ("b/two", "sync zfs:a/fs zfs:b/two")] {
        let stalls = host.lab.image("x").with_file_name("stalls");
        let mut command = host.command(seen, &[("ZFS_CUT", "700000"), ("ZFS_STALL", "1")]);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let output = signals::interrupt_when(&mut command, Signal::TERM, || stalls.exists());
        assert!(started.elapsed() < Duration::from_secs(60));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("interrupted by SIGTERM: what was received until then is kept"), "{text}");
        fs::remove_file(&stalls).unwrap();
        assert!(host.lab.get("b", "receive_resume_token", target).starts_with("1-"), "{target}");
        host.does(seen);
        host.assert_synced("a/fs", target);
    }
}

#[test]
fn a_target_that_differs_is_rolled_back_only_on_request() {
    let host = host();
    host.does(SYNC);
    host.lab.does("b", &["snapshot b/fs@own"]);
    // While there is nothing to bring it does not matter.
    host.does(SYNC);
    host.day("a/fs", "wed");
    let text = host.fails(SYNC, 1);
    assert!(
        text.contains("b/fs has snapshots that a/fs lacks: @own; -F rolls it back to @tue and destroys them"),
        "{text}"
    );
    assert_eq!(snapshots(&host.lab, "b", "b/fs"), ["mon", "tue", "own"]);
    // What is below has its snapshots nevertheless.
    assert_eq!(snapshots(&host.lab, "b", "b/fs/x"), ["mon", "tue", "wed"]);
    host.does(&format!("{SYNC} -F"));
    assert_eq!(snapshots(&host.lab, "b", "b/fs"), ["mon", "tue", "wed"]);
    // Content of its own.
    host.lab.put("b", "b/fs", "own", b"text");
    host.day("a/fs", "thu");
    assert!(host.fails(SYNC, 1).contains("ETXTBSY"));
    host.does(&format!("{SYNC} -F"));
    host.assert_synced("a/fs", "b/fs");
    // A snapshot of the same name, as two hosts make that snapshot by themselves.
    host.lab.does("b", &["snapshot b/fs@fri"]);
    host.day("a/fs", "fri");
    assert!(host.fails(SYNC, 1).contains("@fri; -F rolls it back to @thu"));
    assert!(host.fails(&format!("{SYNC} -F --dry-run"), 3).contains("@fri"));
    assert!(host.does(&format!("{SYNC} -F")).contains("rolls b/fs back to @thu"));
    host.assert_synced("a/fs", "b/fs");
    host.lab.does("b", &["create b/empty", "create b/alien", "snapshot b/alien@1"]);
    let to = |name: &str| format!("-d IMAGE:a sync a/fs --to IMAGE:b {name}");
    assert!(host.fails(&to("b/empty"), 1).contains("-F replaces it"));
    host.does(&format!("{} -F", to("b/empty")));
    assert!(host.fails(&format!("{} -F", to("b/alien")), 1).contains("has no snapshot in common with a/fs"));
    // Children of a dataset that cannot be received are not tried.
    let text = host.fails("-d IMAGE:a sync -r a/fs --to IMAGE:b b/none/fs", 1);
    assert!(text.contains("b/none/fs/x is skipped, because b/none/fs was not received"), "{text}");
}

#[test]
fn bookmarks_and_holds_keep_the_source_of_the_next_increment() {
    let host = host();
    let line = "sync -r --bookmark nas --hold nas";
    for (kind, words) in [
        ("pool", format!("-d IMAGE:a {line} a/fs --to IMAGE:b b/fs")),
        ("running", format!("-d IMAGE:b {line} zfs:a/fs b/fs")),
    ] {
        let day = |name: &str| format!("{name}-{kind}");
        host.day("a/fs", &day("one"));
        let done = host.does(&words);
        assert!(done.contains(&format!("keeps a/fs/x#nas_one-{kind}")), "{done}");
        assert!(host.lab.run("a", &format!("destroy a/fs@{}", day("one")), b"").code == 1, "it is held");
        // The hold goes, and so does the snapshot; the bookmark is enough.
        host.lab.does(
            "a",
            &[&format!("release -r nas a/fs@{}", day("one")), &format!("destroy -r a/fs@{}", day("one"))],
        );
        host.day("a/fs", &day("two"));
        let done = host.does(&words);
        assert!(done.contains(&format!("1 snapshot from #nas_one-{kind}")), "{done}");
        host.assert_synced("a/fs", "b/fs");
        let marks = host.lab.run("a", "list -H -t bookmark -o name -r a/fs/x/y", b"");
        let expected = format!("a/fs/x/y#nas_two-{kind}\n");
        assert_eq!(String::from_utf8(marks.stdout).unwrap(), expected, "the older one is destroyed");
        let holds = host.lab.run("a", &format!("holds -H -r a/fs@{}", day("two")), b"");
        assert_eq!(String::from_utf8(holds.stdout).unwrap().lines().count(), 3);
    }
    // Only the last one of the pool is left held; the pool of a source that is for reading only is refused before anything.
    assert!(
        host.fails(&format!("-d IMAGE:a --checkpoint {line} a/fs --to IMAGE:b b/fs"), 2)
            .contains("read-only")
    );
    host.lab.check("a");
}

#[test]
fn encrypted_datasets_need_no_key_and_clones_stay_clones() {
    let host = Host::new(&["a", "b"]);
    host.lab.does("a", &["create a/fs", "KEY create -o encryption=on -o keyformat=passphrase a/fs/secret"]);
    host.lab.does("a", &["create a/fs/plain", "snapshot -r a/fs@1"]);
    host.lab.put("a", "a/fs/plain", "file", &vec![7; 500_000]);
    host.lab.does("a", &["snapshot -r a/fs@2", "clone a/fs/plain@2 a/fs/a-clone", "snapshot -r a/fs@3"]);
    host.does("-d IMAGE:a sync -r -p a/fs --to IMAGE:b b/fs");
    host.does("sync -r zfs:a/fs zfs:b/two");
    for target in ["b/fs", "b/two"] {
        host.assert_synced("a/fs", target);
        assert_eq!(host.lab.get("b", "origin", &format!("{target}/a-clone")), format!("{target}/plain@2 -"));
        assert_eq!(host.lab.get("b", "encryption", &format!("{target}/secret")), "aes-256-gcm -");
        host.lab.does("b", &[&format!("KEY load-key -n {target}/secret")]);
    }
    assert!(host.log().iter().any(|line| line.starts_with("zfs send -w") && line.contains("a/fs/secret@1")));
}

#[test]
fn stored_streams_are_a_source() {
    let host = host();
    host.day("a/fs", "wed");
    let dir = tempfile::tempdir().unwrap();
    let mut files = String::new();
    for (name, words) in [("full", "a/fs@mon"), ("package", "-I @mon a/fs@wed"), ("tree", "-R a/fs/x@tue")] {
        let path = dir.path().join(name);
        fs::write(&path, host.lab.send("a", words)).unwrap();
        files += &format!("-f {} ", path.display());
    }
    let line = format!("{files} sync a/fs --to IMAGE:b b/fs");
    assert!(host.fails(&format!("{line} -n"), 3).contains("a/fs@wed to b/fs: 1 snapshot from @tue"));
    host.does(&line);
    host.assert_synced("a/fs", "b/fs");
    assert!(host.does(&line).contains("b/fs is up to date with a/fs@wed"));
    host.does(&format!("{files} sync -r a/fs/x zfs:b/x"));
    assert_eq!(snapshots(&host.lab, "b", "b/x/y"), ["mon", "tue"]);
    let only = format!("-f {} sync a/fs --to IMAGE:b b/new", dir.path().join("package").display());
    assert!(host.fails(&only, 1).contains("b/new lacks a/fs@tue, and no stream that is given continues"));
    assert!(host.fails(&format!("{line} --bookmark x"), 1).contains("cannot have bookmarks"));
}

#[test]
fn what_has_no_snapshots_or_is_not_selected_is_created_on_the_way() {
    let host = Host::new(&["a", "b"]);
    host.lab.does("a", &["create a/fs", "create a/fs/x", "create a/fs/x/y", "snapshot a/fs@1 a/fs/x/y@1"]);
    for (line, target) in [
        ("-d IMAGE:a sync -r a/fs --to IMAGE:b", "b/one"),
        ("-d IMAGE:a sync -r a/fs", "zfs:b/two"),
        ("sync -r --jobs 2 --include a/fs/x/y zfs:a/fs", "zfs:b/three"),
        ("-d IMAGE:a sync -r --include a/fs/x/y a/fs --to IMAGE:b", "b/four"),
    ] {
        host.does(&format!("{line} {target}"));
        let name = format!("{}/x/y", target.trim_start_matches("zfs:"));
        assert_eq!(snapshots(&host.lab, "b", &name), ["1"], "{line}");
    }
    // Not above the target: that may be a slip.
    let text = host.fails("-d IMAGE:a sync a/fs --to IMAGE:b b/slip/fs", 1);
    assert!(text.contains("b/slip does not exist"), "{text}");
    host.lab.check("b");
}

#[test]
fn filters_rates_and_usage() {
    let host = host();
    host.does(&format!("{SYNC} --exclude **/y --exclude @tue"));
    assert_eq!(host.lab.names("b"), ["b", "b/fs", "b/fs@mon", "b/fs/x", "b/fs/x@mon"]);
    host.does("-d IMAGE:a sync a/fs --to IMAGE:b b/last --latest --plain");
    assert_eq!(snapshots(&host.lab, "b", "b/last"), ["tue"]);
    let started = Instant::now();
    host.does("-d IMAGE:a sync a/fs --to IMAGE:b b/slow --latest --plain --rate 2M");
    assert!(
        started.elapsed() > Duration::from_millis(1_000),
        "2.4 MB at 2 MiB a second: {:?}",
        started.elapsed()
    );
    for (line, code, expected) in [
        ("-d IMAGE:a sync a/fs b/fs", 2, "with --to"),
        ("-d IMAGE:a sync a/fs zfs:b/fs --to IMAGE:b", 2, "--to names"),
        ("-d IMAGE:a sync a/fs@mon --to IMAGE:b b/fs", 2, "not a snapshot"),
        ("-d IMAGE:a sync a/fs --to IMAGE:b b/fs --exclude [", 2, "["),
        ("-d IMAGE:a sync a/fs --to IMAGE:b b/fs --rate 0", 2, "expected a number of bytes"),
        ("-d IMAGE:a sync a/fs --to IMAGE:b b/fs -o nothing=1", 2, "nothing"),
        ("-d IMAGE:a sync a/fs --to IMAGE:a a/two", 2, "the same pool"),
        ("-d IMAGE:a sync ssh://nas b/fs", 2, "expected ssh://HOST/POOL"),
        ("-f none sync a/fs --to IMAGE:b b/fs", 1, "No such file"),
        ("-d IMAGE:a sync a/none --to IMAGE:b b/fs", 1, "a/none does not exist"),
    ] {
        assert!(host.fails(line, code).contains(expected), "{line}");
    }
}
