//! Livelists of clones.

use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;
use zstream_format::object_type::ObjectType;

use super::check::check;
use super::pool::TestPool;
use super::{create, snapshot, write_file};
use crate::deadlist::Deadlist;
use crate::write::Tx;
use crate::write::livelist::Limits;

/// Returns a pool with `pool/fs@s` of many blocks and the clone `pool/c`, whose livelist has parts of few blocks.
fn cloned() -> (TestPool, ObjectId) {
    let mut pool = TestPool::new(16 << 20, 7);
    pool.livelists = Limits { part_blocks_max: 10, ..Limits::default() };
    create(&mut pool, "pool/fs");
    write_file(&mut pool, "pool/fs", 400, 1);
    snapshot(&mut pool, "pool/fs@s");
    let clone = pool.tx(|tx| tx.clone_snapshot("pool/fs@s", "pool/c")).unwrap();
    pool.commit();
    check(&mut pool);
    (pool, clone)
}

fn list(pool: &mut TestPool, clone: ObjectId) -> Option<Deadlist> {
    pool.tx(|tx| {
        let read = tx.read();
        let list = read.entry_object(read.dataset(clone)?.dir, "com.delphix:livelist")?;
        list.map(|list| read.deadlist(list)).transpose()
    })
    .unwrap()
}

/// Changes and frees blocks of a clone in several transaction groups.
fn change(pool: &mut TestPool, clone: ObjectId) {
    for n in 0..5_u8 {
        let file = write_file(pool, "pool/c", 8, n);
        pool.commit();
        check(pool);
        pool.set(clone).free_range(file, 4096, 3 * 4096).unwrap();
        // Twice in one transaction group: the second time, places are used again.
        pool.sync_sets();
        pool.set(clone).write(file, 4096, &[n + 1; 4096]).unwrap();
        pool.sync_sets();
        pool.set(clone).write(file, 0, &[n + 2; 9000]).unwrap();
        pool.commit();
        check(pool);
    }
}

#[test]
fn a_clone_is_destroyed_by_its_livelist() {
    let (mut pool, clone) = cloned();
    let before = pool.space.in_use();
    assert_eq!(list(&mut pool, clone).unwrap().entries, []);
    change(&mut pool, clone);
    snapshot(&mut pool, "pool/c@own");
    change(&mut pool, clone);
    pool.tx(|tx| tx.destroy_snapshots(&["pool/c@own".to_owned()], false)).unwrap();
    pool.commit();
    check(&mut pool);
    assert!(list(&mut pool, clone).unwrap().entries.len() > 3);
    pool.tx(|tx| {
        // No block is reached from it any more, but the list has all of them.
        tx.change_dataset(clone, |dataset| dataset.root = BlockPointer::default())?;
        tx.destroy("pool/c")
    })
    .unwrap();
    pool.commit();
    check(&mut pool);
    assert!(pool.space.in_use().len() <= before.len());
}

#[test]
fn a_livelist_with_other_sums_is_not_used() {
    let (mut pool, clone) = cloned();
    change(&mut pool, clone);
    pool.tx(|tx| {
        let dir = tx.read().dataset(clone)?.dir;
        let list = tx.read().entry_object(dir, "com.delphix:livelist")?.unwrap();
        let mut bonus = tx.read().mos.info(list)?.bonus()?.to_vec();
        bonus[0] ^= 1;
        tx.mos_mut().set_bonus(list, ObjectType::DEADLIST_HDR, &bonus)?;
        tx.destroy("pool/c")
    })
    .unwrap();
    pool.commit();
    check(&mut pool);
}

#[test]
fn a_clone_that_shares_little_has_no_livelist() {
    let (mut pool, clone) = cloned();
    write_file(&mut pool, "pool/c", 100, 3);
    pool.commit();
    check(&mut pool);
    assert!(list(&mut pool, clone).is_some());
    write_file(&mut pool, "pool/c", 40, 4);
    pool.commit();
    check(&mut pool);
    assert!(list(&mut pool, clone).is_none());
    pool.tx(|tx| tx.destroy("pool/c")).unwrap();
    pool.commit();
    check(&mut pool);
}

#[test]
fn livelists_go_with_the_origin() {
    let (mut pool, clone) = cloned();
    change(&mut pool, clone);
    snapshot(&mut pool, "pool/c@own");
    let second = pool.tx(|tx| tx.clone_snapshot("pool/c@own", "pool/d")).unwrap();
    pool.commit();
    check(&mut pool);
    assert!(list(&mut pool, clone).is_some() && list(&mut pool, second).is_some());
    pool.tx(|tx| tx.promote("pool/d")).unwrap();
    pool.commit();
    check(&mut pool);
    assert!(list(&mut pool, clone).is_none() && list(&mut pool, second).is_none());
    let third = pool.tx(|tx| tx.clone_snapshot("pool/d@own", "pool/e")).unwrap();
    pool.commit();
    write_file(&mut pool, "pool/e", 5, 9);
    pool.commit();
    assert!(list(&mut pool, third).is_some());
    pool.tx(|tx| tx.rollback("pool/e", None)).unwrap();
    pool.commit();
    check(&mut pool);
    assert!(list(&mut pool, third).is_none());
}

/// The blocks of clones that OpenZFS destroyed are in the lists that it left, and in none of the datasets.
#[test]
fn lists_of_destroyed_clones_are_processed() {
    let (mut pool, clone) = cloned();
    pool.tx(|tx| tx.clone_snapshot("pool/fs@s", "pool/d")).unwrap();
    pool.commit();
    change(&mut pool, clone);
    write_file(&mut pool, "pool/d", 20, 9);
    pool.commit();
    for name in ["pool/c", "pool/d"] {
        pool.tx(|tx| tx.leave_deleted_clone(name)).unwrap();
    }
    pool.commit();
    let (freed, unread) = pool.tx(|tx| tx.free_deleted_clones()).unwrap();
    assert_eq!((freed, unread.len()), (2, 0));
    pool.commit();
    check(&mut pool);
    assert_eq!(pool.tx(|tx| Ok(tx.free_deleted_clones()?.0)).unwrap(), 0);
}

/// A list that cannot be right is kept, and reported; the others are processed.
#[test]
fn forged_lists_of_destroyed_clones_are_kept() {
    type Forge = fn(&mut Tx<'_>, ObjectId);
    let forged: [(Forge, &str); 3] = [
        // The first block seems to be freed.
        (|tx, part| tx.mos_mut().write(part, 88, &[1]).unwrap(), "livelist"),
        // More entries than the object has.
        (|tx, part| forge_header(tx, part, 0, u64::MAX), "bpobj"),
        // Another sum.
        (|tx, part| forge_header(tx, part, 2, 77), "livelist"),
    ];
    for (forge, expected) in forged {
        let (mut pool, clone) = cloned();
        pool.tx(|tx| tx.clone_snapshot("pool/fs@s", "pool/d")).unwrap();
        pool.commit();
        change(&mut pool, clone);
        write_file(&mut pool, "pool/d", 20, 9);
        pool.commit();
        let part = list(&mut pool, clone).unwrap().entries[1].blocks;
        pool.tx(|tx| {
            tx.leave_deleted_clone("pool/c")?;
            tx.leave_deleted_clone("pool/d")?;
            forge(tx, part);
            Ok(())
        })
        .unwrap();
        pool.commit();
        let (freed, unread) = pool.tx(|tx| tx.free_deleted_clones()).unwrap();
        assert_eq!((freed, unread.len()), (1, 1));
        assert!(unread[0].to_string().contains(expected), "{}", unread[0]);
        pool.commit();
        // Nothing of it was freed, and it is still there.
        assert_eq!(pool.tx(|tx| Ok(tx.free_deleted_clones()?.1.len())).unwrap(), 1);
    }
}

/// Sets a word of the header of a part.
fn forge_header(tx: &mut Tx<'_>, part: ObjectId, word: usize, value: u64) {
    let mut bonus = tx.read().mos.info(part).unwrap().bonus().unwrap().to_vec();
    bonus[8 * word..8 * word + 8].copy_from_slice(&value.to_le_bytes());
    tx.mos_mut().set_bonus(part, ObjectType::BPOBJ_HDR, &bonus).unwrap();
}
