//! Packages received: the tree that arrives is the tree that was sent, after the first package and after every increment of
//! it, whatever was renamed, promoted or destroyed in between, and wherever a package was cut short.

use std::collections::BTreeMap;

use zstream_format::record::Body;
use zstream_format::stream::{Role, StreamReader};
use zstream_tests::golden;
use zstream_tests::lab::{Lab, contents};
use zstream_tests::sending::Sending;
use zstream_tests::state::{difference, tree};

/// A text that compresses, different for each seed.
fn text(seed: u64, lines: u64) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("line {} of {seed}\n", n * seed % 977).into_bytes()).collect()
}

/// The pool `a` with a tree at `a/top`, which has a snapshot `@1` everywhere and a clone since, and an empty pool `b`.
fn tree_of_everything() -> Lab {
    let lab = Lab::new(&["a", "b"]);
    lab.does(
        "a",
        &[
            "create -o org.example:note=top -o atime=off a/top",
            "create -o recordsize=16K -o org.example:child=yes a/top/child",
            "create -o compression=gzip-9 a/top/child/grand",
            "create a/top/zeta",
            "create a/top/mid",
            "create -o quota=64M a/top/swap1",
            "create a/top/swap2",
            "create -V 1M -b 8K a/top/vol",
        ],
    );
    for (n, name) in
        ["top", "top/child", "top/child/grand", "top/zeta", "top/mid", "top/swap1"].iter().enumerate()
    {
        lab.put("a", &format!("a/{name}"), "first", &text(n as u64 + 3, 9000));
        lab.put("a", &format!("a/{name}"), "small", name.as_bytes());
    }
    lab.does("a", &["snapshot -r a/top@1", "hold keep a/top@1", "hold -r more a/top/child@1"]);
    lab.does(
        "a",
        &["set org.example:snap=one a/top@1", "clone -o org.example:clone=yes a/top/zeta@1 a/top/aclone"],
    );
    lab
}

/// Changes the files of datasets.
fn change(lab: &Lab, datasets: &[&str], seed: u64) {
    for (n, name) in datasets.iter().enumerate() {
        lab.put("a", name, "first", &text(seed + n as u64, 5000));
        lab.put("a", name, &format!("file{seed}"), &text(seed * 7 + n as u64, 100));
    }
}

/// Compares `a/top` with what `b/copy` is.
fn same(lab: &Lab, what: &str) {
    let wrong = difference(&lab.tree("b/copy"), &lab.tree("a/top"));
    assert_eq!(wrong, "", "{what}");
    lab.check("b");
}

#[test]
fn a_tree_arrives_with_clones_holds_and_properties() {
    let lab = tree_of_everything();
    change(&lab, &["a/top", "a/top/child", "a/top/aclone", "a/top/zeta"], 11);
    lab.does("a", &["snapshot -r a/top@2"]);
    lab.recv("b", "b/copy", &lab.send("a", "-R -h a/top@2"));
    same(&lab, "the whole tree");
    for (property, dataset, expected) in [
        ("org.example:note", "b/copy", "top received"),
        ("atime", "b/copy/child", "off inherited from b/copy"),
        ("recordsize", "b/copy/child", "16384 received"),
        ("compression", "b/copy/child/grand", "gzip-9 received"),
        ("quota", "b/copy/swap1", "67108864 received"),
        ("org.example:clone", "b/copy/aclone", "yes received"),
        ("org.example:snap", "b/copy@1", "one received"),
        ("org.example:child", "b/copy/zeta", "- -"),
    ] {
        assert_eq!(lab.get("b", property, dataset), expected, "{property} of {dataset}");
    }
    // Without holds, and with all snapshots between.
    lab.recv("b", "-h b/other", &lab.send("a", "-R -h a/top@2"));
    assert!(lab.tree("b/other").values().all(|what| !what.contains("keep") && !what.contains("more")));
    change(&lab, &["a/top", "a/top/swap2", "a/top/aclone"], 12);
    lab.does("a", &["create a/top/late", "snapshot -r a/top@3", "inherit org.example:note a/top"]);
    change(&lab, &["a/top/late"], 13);
    lab.does("a", &["snapshot -r a/top@4", "clone a/top/late@4 a/top/early", "snapshot -r a/top@5"]);
    lab.does("a", &["set org.example:snap=more a/top@1"]);
    lab.recv("b", "b/copy", &lab.send("a", "-R -h -I @2 a/top@5"));
    // What has become of a snapshot that is there already comes too.
    assert_eq!(lab.get("b", "org.example:snap", "b/copy@1"), "more received");
    let (found, expected) = (lab.tree("b/copy"), lab.tree("a/top"));
    assert_eq!(difference(&found, &expected), "", "an increment with late datasets");
    assert_eq!(lab.get("b", "org.example:note", "b/copy"), "- -");
}

/// Everything that can change in a tree without content, one after the other and all at once.
#[test]
fn renames_promotes_and_destroys_arrive() {
    let changes: [&[&str]; 9] = [
        &["rename a/top/child a/top/kid"],
        &["rename a/top/child/grand a/top/grand"],
        &["destroy -r a/top/mid"],
        &["promote a/top/aclone"],
        &["rename a/top/swap1 a/top/t", "rename a/top/swap2 a/top/swap1", "rename a/top/t a/top/swap2"],
        &["rename a/top/swap1@1 @other", "destroy a/top/vol@1"],
        &["rename a/top/zeta a/top/child/grand/zeta", "rename a/top/child a/top/vol2"],
        &["destroy -r a/top/aclone", "rename a/top/mid a/top/aclone", "rename a/top/child/grand a/top/mid"],
        &["create a/top/above", "rename a/top/child a/top/above/child", "rename a/top/vol a/top/above/vol"],
    ];
    let both = |lab: &Lab, what: &str| {
        change(lab, &["a/top"], 5);
        lab.does("a", &["snapshot -r a/top@3"]);
        let stream = lab.send("a", "-R -I @2 a/top@3");
        lab.recv("b", "-F b/copy", &stream);
        same(lab, what);
    };
    for list in changes {
        let lab = tree_of_everything();
        lab.does("a", &["snapshot -r a/top@2"]);
        lab.recv("b", "b/copy", &lab.send("a", "-R -h a/top@2"));
        lab.does("b", &["release -r keep b/copy@1", "release -r more b/copy/child@1"]);
        lab.does("a", &["release -r keep a/top@1", "release -r more a/top/child@1"]);
        lab.does("a", list);
        both(&lab, &list.join(", "));
    }
    let lab = tree_of_everything();
    lab.does("a", &["release -r keep a/top@1", "release -r more a/top/child@1", "snapshot -r a/top@2"]);
    lab.recv("b", "b/copy", &lab.send("a", "-R a/top@2"));
    for list in [changes[3], changes[4], changes[6], changes[2]] {
        lab.does("a", list);
    }
    both(&lab, "all at once");
}

/// A clone that was promoted and took the name of its origin, which took another one: nothing is left under an old or temporary name,
/// whatever the order of the names. `zfs receive -dF` leaves the same.
#[test]
fn a_clone_and_its_origin_exchange_names() {
    for (origin, clone) in [("a", "c"), ("c", "a")] {
        for last in [clone, "old"] {
            let lab = Lab::new(&["a", "b"]);
            let (origin, clone, last) =
                (&*format!("a/top/{origin}"), &*format!("a/top/{clone}"), &*format!("a/top/{last}"));
            let make = [
                "create a/top",
                &format!("create {origin}"),
                "snapshot -r a/top@1",
                &format!("clone {origin}@1 {clone}"),
            ];
            lab.does("a", &make);
            lab.does(
                "a",
                &[&format!("snapshot {clone}@c"), &format!("clone {clone}@c a/top/d"), "snapshot -r a/top@2"],
            );
            lab.recv("b", "-d -F b", &lab.send("a", "-R a/top@2"));
            let exchange = [
                &format!("promote {clone}"),
                &*format!("rename {origin} a/top/t"),
                &format!("rename {clone} {origin}"),
                &format!("rename a/top/t {last}"),
                "snapshot -r a/top@3",
            ];
            lab.does("a", &exchange);
            let said = lab.recv("b", "-v -d -F b", &lab.send("a", "-R -I @2 a/top@3"));
            let wrong = difference(&lab.tree("b/top"), &lab.tree("a/top"));
            assert_eq!(wrong, "", "{origin} and {clone}: {said}");
            assert!(!lab.names("b").iter().any(|name| name.contains("recv-")), "{said}");
            lab.check("b");
        }
    }
}

/// Datasets of a tree that were changed or made at the target: they stay without `-F`, and go with it.
#[test]
fn what_was_changed_here_stays_unless_forced() {
    let lab = tree_of_everything();
    lab.recv("b", "b/copy", &lab.send("a", "-R -h a/top@1"));
    lab.does("b", &["create b/copy/mine", "snapshot b/copy/mine@x", "snapshot b/copy/zeta@mine"]);
    lab.put("b", "b/copy/child", "changed", b"here");
    change(&lab, &["a/top/child", "a/top/zeta"], 21);
    lab.does("a", &["snapshot -r a/top@2"]);
    let stream = lab.send("a", "-R -h -i @1 a/top@2");
    let before = lab.tree("b/copy");
    let message = lab.recv_fails("b", "b/copy", &stream);
    assert!(message.contains("b/copy/child") && message.contains("ETXTBSY"), "{message}");
    let after = lab.tree("b/copy");
    assert!(before.keys().all(|name| after.contains_key(name)), "{after:?}");
    lab.recv("b", "-F b/copy", &stream);
    same(&lab, "forced");
}

/// A package whose first stream is refused or missing destroys, renames and promotes nothing, with `-F` either.
#[test]
fn a_refused_package_destroys_nothing() {
    let lab = tree_of_everything();
    lab.does("a", &["release -r keep a/top@1", "release -r more a/top/child@1", "snapshot -r a/top@2"]);
    lab.recv("b", "b/copy", &lab.send("a", "-R a/top@2"));
    lab.does("a", &["destroy -r a/top/mid", "promote a/top/aclone", "rename a/top/zeta a/top/eta"]);
    lab.does("a", &["snapshot -r a/top@3"]);
    let stream = lab.send("a", "-R -i @2 a/top@3");
    let first = records(&stream)[2].0;
    // What the package would do, if its first stream were taken.
    let foretold = lab.recv("b", "-n -v -F b/copy", &stream);
    for line in ["would destroy b/copy/mid", "would promote b/copy/aclone", "would rename b/copy/zeta"] {
        assert!(foretold.contains(line), "{line}: {foretold}");
    }
    let unchanged = |what: &str, stream: &[u8]| {
        let before = std::fs::read(lab.image("b")).unwrap();
        let outcome = lab.run("b", "recv -v -F b/copy", stream);
        assert_eq!((outcome.code, outcome.stdout), (1, Vec::new()), "{what}");
        assert!(std::fs::read(lab.image("b")).unwrap() == before, "{what}: something was changed");
    };
    unchanged("cut before the first stream", &stream[..first]);
    unchanged("cut in the first record", &stream[..first + 100]);
    lab.does("b", &["destroy b/copy@2"]);
    unchanged("the source is missing", &stream);
}

/// Where the records of a stream begin, and what they are for.
fn records(stream: &[u8]) -> Vec<(usize, Role, Option<u64>)> {
    let mut reader = StreamReader::new(stream);
    let mut places = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        let guid = match record.header.body() {
            Some(Body::Begin(begin)) => Some(begin.to_guid.0),
            _ => None,
        };
        places.push((record.place.offset as usize, record.role, guid));
    }
    places
}

/// A package that ends early leaves the snapshots that were whole; sent again it brings the others.
#[test]
fn a_package_that_was_cut_short_continues() {
    let lab = tree_of_everything();
    change(&lab, &["a/top", "a/top/child", "a/top/aclone"], 31);
    lab.does("a", &["snapshot -r a/top@2"]);
    let stream = lab.send("a", "-R -h a/top@2");
    let records = records(&stream);
    let begins: Vec<usize> = (0..records.len()).filter(|n| records[*n].1 == Role::SubstreamBegin).collect();
    let mut sent = 0;
    for (n, begin) in begins.iter().enumerate() {
        for cut in [records[*begin].0, records[begin + 1].0 + 7] {
            lab.recv_fails("b", "b/copy", &stream[..cut]);
            let found =
                if n == 0 { 0 } else { lab.tree("b/copy").keys().filter(|name| name.contains('@')).count() };
            assert_eq!(found, n, "cut at {cut}");
        }
        sent = n;
    }
    assert!(sent > 12);
    let said = lab.recv("b", "-v b/copy", &stream);
    assert_eq!(said.matches("already exists; ignoring").count(), sent, "{said}");
    assert_eq!(said.matches("receiving ").count(), 1, "{said}");
    same(&lab, "continued");
    // With -s, what was begun goes on by its token, and then the package.
    let cut = records[begins[0] + (begins[1] - begins[0]) / 2].0 + 5;
    lab.recv_fails("b", "-s b/again", &stream[..cut]);
    let token = lab.get("b", "receive_resume_token", "b/again");
    let rest = lab.send("a", &format!("-t {}", token.split(' ').next().unwrap()));
    assert!(rest.len() < records[begins[1]].0, "{}", rest.len());
    // Until then nothing else is taken.
    let message = lab.recv_fails("b", "b/again", &stream);
    assert!(message.contains("EBUSY"), "{message}");
    lab.recv("b", "-s b/again", &rest);
    lab.recv("b", "b/again", &stream);
    let wrong = difference(&lab.tree("b/again"), &lab.tree("a/top"));
    // What was resumed came without its holds, as with zfs.
    assert!(wrong.starts_with("\"@1\": ") && wrong.lines().count() == 1, "{wrong}");
    lab.check("b");
}

/// What `-n -v` prints is what happens then, and it changes not a byte.
#[test]
fn a_dry_run_tells_the_truth() {
    let lab = tree_of_everything();
    change(&lab, &["a/top", "a/top/aclone"], 41);
    lab.does("a", &["snapshot -r a/top@2"]);
    let full = lab.send("a", "-R -h a/top@2");
    lab.does("a", &["release -r keep a/top@1", "release -r more a/top/child@1"]);
    lab.does(
        "a",
        &[
            "rename a/top/child a/top/kid",
            "destroy -r a/top/mid",
            "promote a/top/aclone",
            "rename a/top/swap1@2 @two",
        ],
    );
    lab.does("a", &["create a/top/late", "snapshot -r a/top@3", "snapshot -r a/top@4"]);
    let increment = lab.send("a", "-R -I @2 a/top@4");
    let one = lab.send("a", "-i @3 a/top@4");
    for (line, stream) in [
        ("b/copy", &full),
        ("-d -F b", &full),
        ("-e b", &full),
        ("-F b/copy", &increment),
        ("b/copy", &increment),
    ] {
        let before = std::fs::read(lab.image("b")).unwrap();
        let foretold = lab.recv("b", &format!("-n -v {line}"), stream);
        assert!(std::fs::read(lab.image("b")).unwrap() == before, "{line}: a dry run wrote");
        let told = lab.recv("b", &format!("-v {line}"), stream);
        let kept = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with("received "));
            let plain = |line: &str| match line.split_once("recv-") {
                // Names that are given for a while have the number of the process.
                Some((start, rest)) => {
                    let end = rest.find(|c: char| c != '-' && !c.is_ascii_digit()).unwrap_or(rest.len());
                    format!("{start}recv-N{}", &rest[end..])
                }
                None => [
                    ("would receive ", "receiving "),
                    ("would promote ", "promoted "),
                    ("would rename ", "renamed "),
                    ("would destroy ", "destroyed "),
                ]
                .iter()
                .fold(line.to_owned(), |line, (foretold, told)| line.replace(foretold, told)),
            };
            lines.map(plain).collect()
        };
        assert_eq!(kept(&foretold), kept(&told), "{line}");
        lab.does(
            "b",
            if line == "b/copy" && foretold.contains("full") {
                &["release -r keep b/copy@1", "release -r more b/copy/child@1"]
            } else {
                &[]
            },
        );
    }
    // What will be refused is refused.
    for (line, stream) in [("b/none", &one), ("b/copy", &full), ("b/x/y/z", &full)] {
        let foretold = lab.run("b", &format!("recv -n -v {line}"), stream);
        let told = lab.run("b", &format!("recv -v {line}"), stream);
        assert_eq!((foretold.code, foretold.stderr), (told.code, told.stderr), "{line}");
    }
}

#[test]
fn names_are_put_below_the_target() {
    let lab = tree_of_everything();
    let stream = lab.send("a", "-R a/top/child@1");
    lab.does("b", &["create b/x"]);
    for (line, top) in [("-d b/x", "b/x/top/child"), ("-e b/x", "b/x/child"), ("b/x/y", "b/x/y")] {
        lab.recv("b", line, &stream);
        let wrong = difference(&lab.tree(top), &lab.tree("a/top/child"));
        // Holds were not sent.
        assert!(wrong.lines().all(|line| line.contains("more")), "{line}: {wrong}");
    }
    let message = lab.recv_fails("b", "b/x/q@1", &stream);
    assert!(message.contains("package"), "{message}");
    let one = lab.send("a", "a/top/child@1");
    assert!(lab.recv_fails("b", "-d b/q@1", &one).contains("-d or -e"));
    assert!(lab.recv_fails("b", "b/no/where", &stream).contains("ENOENT"));
    // -d makes what is missing between.
    lab.recv("b", "-d b", &lab.send("a", "a/top/child/grand@1"));
    assert!(lab.names("b").contains(&"b/top/child/grand@1".to_owned()));
}

#[test]
fn properties_are_set_and_left_out() {
    let lab = tree_of_everything();
    let stream = lab.send("a", "-R a/top@1");
    lab.recv(
        "b",
        "-o compression=zstd -o org.example:mine=1 -x org.example:note -x quota -x recordsize b/copy",
        &stream,
    );
    for (property, dataset, expected) in [
        ("compression", "b/copy", "zstd local"),
        ("compression", "b/copy/child/grand", "zstd inherited from b/copy"),
        ("org.example:mine", "b/copy", "1 local"),
        ("org.example:mine", "b/copy/child", "1 inherited from b/copy"),
        ("org.example:note", "b/copy", "- -"),
        ("org.example:child", "b/copy/child", "yes received"),
        ("quota", "b/copy/swap1", "0 default"),
        ("recordsize", "b/copy/child", "131072 default"),
    ] {
        assert_eq!(lab.get("b", property, dataset), expected, "{property} of {dataset}");
    }
    // A volume's size cannot be left out of what makes it.
    assert_eq!(lab.get("b", "volsize", "b/copy/vol").split(' ').next(), Some("1048576"));
    // What was set here stays set when an increment comes, and what came before and comes no more goes.
    lab.does("b", &["set org.example:child=no b/copy/child"]);
    change(&lab, &["a/top"], 51);
    lab.does(
        "a",
        &["inherit org.example:child a/top/child", "set readonly=on a/top/zeta", "snapshot -r a/top@2"],
    );
    lab.recv("b", "-o readonly=off b/copy", &lab.send("a", "-R -i @1 a/top@2"));
    for (property, dataset, expected) in [
        ("org.example:child", "b/copy/child", "no local"),
        ("readonly", "b/copy", "off local"),
        ("readonly", "b/copy/zeta", "off inherited from b/copy"),
    ] {
        assert_eq!(lab.get("b", property, dataset), expected, "{property} of {dataset}");
    }
}

/// Pools of which one has what a recorded package needs: by what was received into them before.
const BASES: [&[&str]; 8] = [
    &[],
    &["pack/top@1"],
    &["pack/top@1", "-i @1 pack/top@2"],
    &["pack/top@1", "pack/top/vol@1"],
    &["-R pack/top@3"],
    &["-R pack/p/clone@c"],
    &["-R pack/top@3", "-i pack/top/child@2 pack/outside@x"],
    &["-R -w pack/enc@2"],
];

/// All packages that OpenZFS was recorded to send, each into a pool that has what it needs: each snapshot that arrives is
/// the sender's.
#[test]
fn packages_of_openzfs_arrive() {
    let file =
        |name: &str| golden::package_file(name).map(|path| std::fs::read(path).unwrap()).unwrap_or_default();
    let pack = Sending::open(&[golden::package_file("pack.img").unwrap()]);
    for dataset in ["pack/enc", "pack/enc/own", "pack/edata"] {
        pack.unlock(dataset);
    }
    let expected = contents(&pack);
    let commands = String::from_utf8(file("COMMANDS")).unwrap();
    let commands: Vec<(&str, &str)> =
        commands.lines().map(|line| line.split_once(": zfs send ").unwrap_or((line, ""))).collect();
    let sent = |words: &str| {
        let (number, _) = commands.iter().find(|(_, found)| *found == words).expect("a recorded command");
        file(&format!("sends/{number}.zfs"))
    };
    let bases = BASES.map(|base| {
        let lab = Lab::new(&["b"]);
        base.iter().for_each(|words| drop(lab.recv("b", "-d b", &sent(words))));
        lab
    });
    let mut arrived = BTreeMap::new();
    let mut refused = Vec::new();
    for (number, words) in &commands {
        let stream = file(&format!("sends/{number}.zfs"));
        let failed = !file(&format!("sends/{number}.rc")).is_empty();
        if failed || !(words.contains("-R ") || words.contains("-I ")) {
            continue;
        }
        // A dry run chooses the pool, a copy of which receives.
        let base = bases.iter().find(|base| base.run("b", "recv -n -F -d b", &stream).code == 0);
        let Some(base) = base else {
            refused.push((*words).to_owned());
            continue;
        };
        let lab = base.copy("b");
        lab.recv("b", "-F -d b", &stream);
        let reading = lab.reading("b");
        for key in ["b/enc", "b/enc/own"] {
            if reading.dsl.dataset(key).is_ok_and(|found| found.crypto_key().unwrap().is_some()) {
                reading.unlock(key);
            }
        }
        for (guid, (name, content)) in contents(&reading) {
            let (sent, expected) = &expected[&guid];
            assert_eq!(&content, expected, "{number} {words}: {name} is not {sent}");
            arrived.insert(guid, sent.clone());
        }
        lab.check("b");
    }
    assert_eq!(refused, Vec::<String>::new());
    assert!(arrived.len() > 40, "{arrived:?}");
}

#[test]
fn golden_packages_arrive() {
    let lab = Lab::new(&["b"]);
    let tank = Sending::open(&golden::pool("tank"));
    lab.recv("b", "b/tree", &golden::stream("tree-R"));
    lab.recv("b", "-h b/bare", &golden::stream("tree-R-h"));
    lab.recv("b", "b/held", &golden::stream("tree-R-h"));
    let (bare, held) = (lab.tree("b/bare"), lab.tree("b/held"));
    assert!(bare.values().all(|what| what.contains(" [] ") || what.starts_with("of")), "{bare:?}");
    assert_ne!(bare, held);
    let expected = tree(&tank, "tank/tree");
    let wrong = difference(&held, &expected);
    println!("{wrong}");
    assert!(held.iter().all(|(name, what)| !name.contains('@') || expected[name] == *what), "{wrong}");
    lab.recv("b", "-F b/fs", &golden::stream("fs-full"));
    lab.recv("b", "b/fs", &golden::stream("fs-package-I"));
    let (found, expected) = (lab.tree("b/fs"), tree(&tank, "tank/fs"));
    for name in ["@a", "@b", "@c"] {
        assert_eq!(found.get(name), expected.get(name), "{name}");
    }
    lab.check("b");
}
