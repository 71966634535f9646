//! Quotas of users, groups and projects: they are set, shown, and kept where files are put.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::pool::WriteOptions;
use zstream_dmu::zap::{Value, ZapMut};
use zstream_dsl::write::WritablePool;
use zstream_tests::lab::Lab;
use zstream_tests::openzfs;
use zstream_zpl::quota::KINDS;

/// Archives of one file of this owner.
fn archive(name: &str, uid: u64, gid: u64, bytes: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes as u64);
    header.set_mode(0o644);
    header.set_uid(uid);
    header.set_gid(gid);
    builder.append_data(&mut header, name, &vec![7; bytes][..]).expect("memory");
    builder.into_inner().expect("memory")
}

fn lab() -> Lab {
    let lab = Lab::new(&["a"]);
    lab.does("a", &["create -o compression=off a/fs"]);
    lab
}

fn get(lab: &Lab, property: &str) -> String {
    lab.get("a", property, "a/fs").split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn quotas_are_set_and_removed() {
    let lab = lab();
    for whose in ["user", "group", "project"] {
        for (what, value, shown) in [("quota", "1.5M", "1572864"), ("objquota", "12", "12")] {
            let one = format!("{whose}{what}@1000");
            assert_eq!(get(&lab, &one), "0", "{one}");
            lab.does("a", &[&format!("set {one}={value} a/fs")]);
            assert_eq!(get(&lab, &one), shown, "{one}");
            assert_eq!(get(&lab, &format!("{whose}{what}@1001")), "0");
            lab.does("a", &[&format!("set {one}=none a/fs")]);
            assert_eq!(get(&lab, &one), "0", "{one}");
            let default = format!("default{whose}{what}");
            assert_eq!(get(&lab, &default), "0", "{default}");
            lab.does("a", &[&format!("set {default}={value} {one}=77 a/fs")]);
            assert_eq!((get(&lab, &default), get(&lab, &one)), (shown.to_owned(), "77".to_owned()));
            lab.does("a", &[&format!("set {default}=none {one}=none a/fs")]);
            assert_eq!(get(&lab, &default), "0", "{default}");
        }
    }
    lab.check("a");
}

#[test]
fn what_can_have_no_quota_is_refused() {
    let lab = lab();
    lab.does("a", &["create -V 8M a/vol", "snapshot a/fs@1"]);
    for (line, code, part) in [
        ("set userquota@1000=1M a/vol", 1, "expected a filesystem"),
        ("set defaultuserquota=1M a/vol", 1, "expected a filesystem"),
        ("set userquota@1000=1M a/fs@1", 1, "snapshot"),
        ("set userquota@1000=1M a/none", 1, "not found"),
        ("set projectquota@4294967295=1M a/fs", 1, "not the number of a project"),
        ("set userquota@bin=1M a/fs", 2, "by their numbers"),
        ("set userquota@1000=much a/fs", 2, "expected a number"),
        ("set userused@1000=1M a/fs", 2, "userused"),
        ("create -o userquota@1000=1M a/new", 2, "userquota@1000"),
        ("create -o defaultuserquota=1M a/new", 2, "defaultuserquota"),
    ] {
        let before = std::fs::read(lab.image("a")).unwrap();
        let outcome = lab.run("a", line, b"");
        let message = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.code, code, "{line}: {message}");
        assert!(message.contains(part), "{line}: {message}");
        assert!(std::fs::read(lab.image("a")).unwrap() == before, "{line} changed something");
    }
}

/// Whoever exceeds a quota by what is put is refused, whoever is below it or does not grow is not.
#[test]
fn quotas_limit_what_is_put() {
    let lab = lab();
    lab.does("a", &["set userquota@1000=1M groupobjquota@50=2 defaultuserobjquota=3 a/fs"]);
    let mut number = 0;
    let mut put = |uid, gid, bytes| {
        number += 1;
        let outcome = lab.run("a", "put --tar - a/fs:/", &archive(&format!("f{number}"), uid, gid, bytes));
        let message = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(
            outcome.code != 0,
            message.contains("is exceeded") && message.contains("quota of"),
            "{message}"
        );
        message
    };
    assert_eq!(put(1000, 1, 600 << 10), "");
    let message = put(1000, 1, 600 << 10);
    assert!(message.contains("user 1000") && message.contains("the limit is 1048576"), "{message}");
    assert_eq!(put(1001, 1, 2 << 20), "", "another user");
    assert_eq!(put(1002, 50, 1), "");
    assert_eq!(put(1003, 50, 1), "");
    let message = put(1004, 50, 1);
    assert!(message.contains("group 50") && message.contains("3 objects, the limit is 2"), "{message}");
    for n in 0..3 {
        assert_eq!(put(2000, 1, 1), "", "{n}");
    }
    let message = put(2000, 1, 1);
    assert!(message.contains("user 2000") && message.contains("4 objects, the limit is 3"), "{message}");
    // Those who are above a limit that came later keep what they have, and others are not held up by them.
    lab.does("a", &["set userquota@1001=1K a/fs"]);
    assert_eq!(put(3000, 1, 1000), "");
    assert!(put(1001, 1, 1000).contains("user 1001"));
    lab.check("a");
}

/// The tables are those of OpenZFS.
#[test]
#[ignore = "needs OpenZFS's zdb: cargo xtask interop"]
fn interop_quotas() {
    let lab = lab();
    lab.does("a", &["set userquota@1000=1M groupobjquota@50=2 a/fs"]);
    let dir = lab.image("a").parent().unwrap().to_owned();
    let place = dir.to_str().expect("UTF-8");
    let master = openzfs::run("zdb", &["-e", "-p", place, "-dddd", "a/fs", "1"], None);
    let master = String::from_utf8_lossy(&master.stdout).into_owned();
    assert!(master.contains("userquota@ = ") && master.contains("groupobjquota@ = "), "{master}");
    openzfs::assert_no_leaks(&dir, "a");
}

/// OpenZFS 2.4 stores defaults of 0 in the filesystems that it mounts, which limit nothing.
#[test]
fn a_default_of_zero_is_no_limit() {
    let lab = lab();
    let mut pool =
        WritablePool::open(&[lab.image("a")], &WriteOptions::default()).expect("the pool of the lab");
    let head = pool.dsl().head("a/fs").expect("the filesystem").object();
    let mut set = pool.open_head(head).expect("its set");
    for kind in &KINDS {
        ZapMut::open(&mut set, ObjectId(1))
            .and_then(|mut node| node.add(kind.default, &Value::word(0)))
            .expect("room");
    }
    pool.sync(head, &mut set).expect("a sync");
    drop(set);
    pool.export().expect("an export");
    assert_eq!(get(&lab, "defaultuserquota"), "0");
    let outcome = lab.run("a", "put --tar - a/fs:/", &archive("f", 0, 0, 600 << 10));
    assert_eq!((outcome.code, String::from_utf8_lossy(&outcome.stderr).as_ref()), (0, ""));
    lab.check("a");
}
