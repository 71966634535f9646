//! Tests that change the datasets of a pool in memory, and compare all counts with their blocks.

mod check;
mod history;
mod livelist;
mod pool;

use zstream_dmu::dnode::NewObject;
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::zap::Value;
use zstream_format::object_type::ObjectType;

use self::check::check;
use self::pool::TestPool;
use super::{Filling, ReceivedSnapshot, Setting, Tx};

/// Writes a file with blocks of 4 KiB whose content follows from a number.
fn write_file(pool: &mut TestPool, name: &str, blocks: u64, seed: u8) -> ObjectId {
    let head = pool.tx(|tx| Ok(tx.dsl().head(name)?.object())).unwrap();
    let set = pool.set(head);
    let object = set.allocate(&NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, 4096)).unwrap();
    for block in 0..blocks {
        let bytes: Vec<u8> = (0..4096_u32).map(|n| (n * 31 + u32::from(seed) + block as u32) as u8).collect();
        set.write(object, block * 4096, &bytes).unwrap();
    }
    object
}

fn create(pool: &mut TestPool, name: &str) {
    let head = pool.tx(|tx| tx.create(name, false)).unwrap();
    pool.make_set(head);
    pool.commit();
}

fn snapshot(pool: &mut TestPool, name: &str) {
    pool.sync_sets();
    pool.tx(|tx| tx.snapshot(&[name.to_owned()])).unwrap();
    pool.commit();
}

fn errno(error: &crate::error::Error) -> &'static str {
    if error.is_refusal() { error.errno().name() } else { "other" }
}

#[test]
fn a_new_pool_has_its_first_datasets() {
    let mut pool = TestPool::new(16 << 20, 1);
    check(&mut pool);
    let names = pool.tx(|tx| tx.read().entries(tx.read().dir(tx.read().root_dir()?)?.children)).unwrap();
    assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["$FREE", "$MOS", "$ORIGIN"]);
}

#[test]
fn snapshots_can_be_destroyed_in_any_order() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut pool = TestPool::new(16 << 20, 2);
        create(&mut pool, "pool/fs");
        let mut file = ObjectId(0);
        for n in 0..3_u8 {
            file = write_file(&mut pool, "pool/fs", 20, n);
            snapshot(&mut pool, &format!("pool/fs@{n}"));
            check(&mut pool);
            let head = pool.tx(|tx| Ok(tx.dsl().head("pool/fs")?.object())).unwrap();
            pool.set(head).free_range(file, u64::from(n) * 4096, 9 * 4096).unwrap();
        }
        pool.commit();
        check(&mut pool);
        for n in order {
            pool.tx(|tx| tx.destroy_snapshots(&[format!("pool/fs@{n}")], false)).unwrap();
            pool.commit();
            check(&mut pool);
        }
        let head = pool.tx(|tx| Ok(tx.dsl().head("pool/fs")?.object())).unwrap();
        pool.set(head).free(file).unwrap();
        pool.commit();
        pool.tx(|tx| tx.destroy("pool/fs")).unwrap();
        pool.commit();
        check(&mut pool);
    }
}

#[test]
fn a_promoted_clone_takes_over_and_its_origin_can_go() {
    let mut pool = TestPool::new(16 << 20, 3);
    create(&mut pool, "pool/a");
    for n in 0..3_u8 {
        write_file(&mut pool, "pool/a", 7, n);
        snapshot(&mut pool, &format!("pool/a@{n}"));
    }
    pool.tx(|tx| tx.bookmark("pool/a@0", "pool/a#zero")).unwrap();
    pool.tx(|tx| tx.clone_snapshot("pool/a@1", "pool/b")).unwrap();
    pool.commit();
    write_file(&mut pool, "pool/b", 5, 9);
    write_file(&mut pool, "pool/a", 5, 19);
    snapshot(&mut pool, "pool/b@own");
    check(&mut pool);
    let refused = pool.tx(|tx| tx.destroy_snapshots(&["pool/a@1".into()], false)).unwrap_err();
    assert_eq!(errno(&refused), "EEXIST");
    assert_eq!(refused.to_string(), "snapshot pool/a@1 has dependent clones");
    pool.tx(|tx| tx.promote("pool/b")).unwrap();
    pool.commit();
    check(&mut pool);
    assert!(pool.tx(|tx| tx.dsl().snapshot("pool/b@0").map(drop)).is_ok());
    assert!(pool.tx(|tx| tx.dsl().bookmark("pool/b#zero").map(drop)).is_ok());
    assert_eq!(errno(&pool.tx(|tx| tx.promote("pool/b")).unwrap_err()), "EINVAL");
    pool.tx(|tx| tx.destroy_snapshots(&["pool/a@2".into()], false)).unwrap();
    pool.tx(|tx| tx.destroy("pool/a")).unwrap();
    pool.commit();
    check(&mut pool);
}

#[test]
fn what_waits_for_its_last_hold_or_clone_goes_with_it() {
    let mut pool = TestPool::new(16 << 20, 4);
    create(&mut pool, "pool/a");
    write_file(&mut pool, "pool/a", 7, 1);
    snapshot(&mut pool, "pool/a@s");
    let names = ["pool/a@s".to_owned()];
    pool.tx(|tx| tx.hold("tag", &names)).unwrap();
    assert_eq!(errno(&pool.tx(|tx| tx.hold("tag", &names)).unwrap_err()), "EEXIST");
    assert_eq!(errno(&pool.tx(|tx| tx.destroy_snapshots(&names, false)).unwrap_err()), "EBUSY");
    pool.tx(|tx| tx.clone_snapshot("pool/a@s", "pool/c")).unwrap();
    pool.tx(|tx| tx.destroy_snapshots(&names, true)).unwrap();
    pool.commit();
    check(&mut pool);
    pool.tx(|tx| tx.release("tag", &names)).unwrap();
    assert!(pool.tx(|tx| tx.dsl().snapshot(&names[0]).map(drop)).is_ok());
    pool.tx(|tx| tx.destroy("pool/c")).unwrap();
    assert_eq!(errno(&pool.tx(|tx| tx.dsl().snapshot(&names[0]).map(drop)).unwrap_err()), "ENOENT");
    pool.commit();
    check(&mut pool);
}

#[test]
fn reservations_count_up_the_tree() {
    let mut pool = TestPool::new(16 << 20, 5);
    create(&mut pool, "pool/a");
    create(&mut pool, "pool/a/b");
    let set = |pool: &mut TestPool, name: &str, property: &str, bytes: u64| {
        pool.tx(|tx| {
            let head = tx.dsl().head(name)?.object();
            tx.set_property(head, property, &Setting::Local(Value::word(bytes)))
        })
    };
    set(&mut pool, "pool/a", "reservation", 3 << 20).unwrap();
    set(&mut pool, "pool/a/b", "reservation", 1 << 20).unwrap();
    set(&mut pool, "pool/a/b", "refreservation", 2 << 20).unwrap();
    pool.commit();
    check(&mut pool);
    write_file(&mut pool, "pool/a/b", 100, 1);
    snapshot(&mut pool, "pool/a/b@s");
    check(&mut pool);
    assert_eq!(errno(&set(&mut pool, "pool/a/b", "quota", 1).unwrap_err()), "ENOSPC");
    pool.tx(|tx| tx.rename("pool/a/b", "pool/c")).unwrap();
    pool.commit();
    check(&mut pool);
    pool.tx(|tx| tx.destroy_snapshots(&["pool/c@s".into()], false)).unwrap();
    pool.tx(|tx| tx.destroy("pool/c")).unwrap();
    set(&mut pool, "pool/a", "reservation", 0).unwrap();
    pool.commit();
    check(&mut pool);
}

/// What is freed below the directory that both places share counts as available; what is above it does not change.
#[test]
fn moves_that_do_not_fit_change_nothing() {
    let mut pool = TestPool::new(16 << 20, 7);
    for name in ["pool/a", "pool/b", "pool/a/c"] {
        create(&mut pool, name);
    }
    write_file(&mut pool, "pool/a/c", 40, 1);
    snapshot(&mut pool, "pool/a/c@s");
    pool.tx(|tx| tx.clone_snapshot("pool/a/c@s", "pool/b/clone")).unwrap();
    let quota = |pool: &mut TestPool, name: &str, bytes: u64| {
        pool.tx(|tx| {
            let head = tx.dsl().head(name)?.object();
            tx.set_property(head, "quota", &Setting::Local(Value::word(bytes)))
        })
        .unwrap();
    };
    let used = |pool: &mut TestPool, name: &str| {
        pool.tx(|tx| tx.read().dir(tx.read().dir_named(name)?.expect("a directory"))).unwrap().used_bytes
    };
    let (moved, of_b) = (used(&mut pool, "pool/a/c"), used(&mut pool, "pool/b"));
    quota(&mut pool, "pool/b", of_b + moved - 1);
    let rename = |pool: &mut TestPool| pool.tx(|tx| tx.rename("pool/a/c", "pool/b/c"));
    assert_eq!(errno(&rename(&mut pool).unwrap_err()), "ENOSPC");
    let promote = |pool: &mut TestPool| pool.tx(|tx| tx.promote("pool/b/clone"));
    quota(&mut pool, "pool/b", of_b + 1);
    assert_eq!(errno(&promote(&mut pool).unwrap_err()), "ENOSPC");
    pool.commit();
    check(&mut pool);
    // The whole pool is full up to its quota, which does not hinder a move within it.
    quota(&mut pool, "pool/b", of_b + moved);
    let all = used(&mut pool, "pool");
    quota(&mut pool, "pool", all);
    rename(&mut pool).unwrap();
    pool.tx(|tx| tx.rename("pool/b/c", "pool/a/c")).unwrap();
    promote(&mut pool).unwrap();
    pool.commit();
    check(&mut pool);
}

/// The checks at the start of a receive are repeated at its end, since the target may have changed meanwhile.
#[test]
fn a_receive_ends_only_where_it_fits() {
    let mut pool = TestPool::new(16 << 20, 6);
    create(&mut pool, "pool/a");
    write_file(&mut pool, "pool/a", 20, 1);
    snapshot(&mut pool, "pool/a@1");
    let head = pool.tx(|tx| Ok(tx.dsl().head("pool/a")?.object())).unwrap();
    let filled = pool.tx(|tx| {
        let base = tx.dsl().snapshot("pool/a@1")?.object();
        let filled = tx.create_receive_child(head, Some(base), false)?;
        tx.begin_receive(filled, &Filling::default())?;
        Ok(filled)
    });
    let filled = filled.unwrap();
    pool.commit();
    let end = |pool: &mut TestPool, force: bool, name: &str| {
        let name = name.to_owned();
        let received = ReceivedSnapshot { name, guid: Guid(7), creation_time: 5, ivset: None };
        pool.tx(|tx| tx.end_receive(filled, Some(head), force, &received))
    };
    let refused = |pool: &mut TestPool, force: bool, name: &str| errno(&end(pool, force, name).unwrap_err());
    assert_eq!(refused(&mut pool, false, "1"), "EEXIST");
    // A refquota may be exceeded by the writes that can be in progress at once, and by nothing more.
    pool.tx(|tx| tx.set_property(head, "refquota", &Setting::Local(Value::word(1 << 20)))).unwrap();
    let slack = super::limits::REFQUOTA_SLACK_BYTES + (1 << 20);
    let before = pool.tx(|tx| tx.read().dataset(filled)).unwrap().referenced_bytes;
    let referenced = |pool: &mut TestPool, bytes: u64| {
        pool.tx(|tx| tx.change_dataset(filled, |dataset| dataset.referenced_bytes = bytes)).unwrap();
    };
    referenced(&mut pool, slack + 1);
    assert_eq!(refused(&mut pool, false, "2"), "EDQUOT");
    referenced(&mut pool, slack);
    assert_eq!(refused(&mut pool, false, "1"), "EEXIST");
    referenced(&mut pool, before);
    // The target was written to, and got a snapshot.
    write_file(&mut pool, "pool/a", 1, 2);
    pool.sync_sets();
    assert_eq!(refused(&mut pool, false, "2"), "ETXTBSY");
    snapshot(&mut pool, "pool/a@new");
    assert_eq!(refused(&mut pool, false, "2"), "ETXTBSY");
    // The snapshot is destroyed by force, unless it has holds or clones.
    pool.tx(|tx| tx.hold("tag", &["pool/a@new".to_owned()])).unwrap();
    assert_eq!(refused(&mut pool, true, "2"), "EBUSY");
    pool.tx(|tx| tx.release("tag", &["pool/a@new".to_owned()])).unwrap();
    pool.commit();
    end(&mut pool, true, "2").unwrap();
    pool.commit();
    let snapshots = |tx: &mut Tx<'_>| {
        let snapshots = tx.dsl().dataset_by_object(head)?.snapshots()?;
        Ok(snapshots.iter().map(|snapshot| snapshot.name().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(pool.tx(snapshots).unwrap(), ["pool/a@1", "pool/a@2"]);
    check(&mut pool);
}
