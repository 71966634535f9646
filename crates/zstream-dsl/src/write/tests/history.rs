//! Long random histories.

use std::collections::BTreeMap;

use zstream_dmu::dnode::NewObject;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::zap::Value;
use zstream_format::object_type::ObjectType;

use super::check::check;
use super::pool::TestPool;
use super::{create, errno};
use crate::write::Setting;
use crate::write::livelist::Limits;

struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % end.max(1) as u64) as usize
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }
}

/// Returns the names that exist in the pool.
fn names(pool: &mut TestPool) -> (Vec<String>, Vec<String>, Vec<String>) {
    pool.tx(|tx| {
        let (mut heads, mut snapshots, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        let mut dirs = vec![("pool".to_owned(), tx.read().root_dir()?)];
        while let Some((name, dir)) = dirs.pop() {
            let phys = tx.read().dir(dir)?;
            for (child, object) in tx.read().entries(phys.children)? {
                if !child.starts_with('$') {
                    dirs.push((format!("{name}/{child}"), ObjectId(object.u64()?)));
                }
            }
            let Some(head) = phys.head else { continue };
            let entries = tx.read().entries(tx.read().dataset(head)?.snapshot_names)?;
            snapshots.extend(entries.into_iter().map(|(snapshot, _)| format!("{name}@{snapshot}")));
            marks.extend(tx.read().bookmarks(head, &name)?.into_iter().map(|mark| mark.name));
            heads.push(name);
        }
        heads.sort();
        Ok((heads, snapshots, marks))
    })
    .unwrap()
}

/// Changes the content of a head.
fn change_content(pool: &mut TestPool, rng: &mut Rng, name: &str) {
    let head = pool.tx(|tx| Ok(tx.dsl().head(name)?.object())).unwrap();
    let set = pool.set(head);
    let mut objects = Vec::new();
    let mut from = ObjectId(1);
    while let Some(object) = set.next_object(from).unwrap() {
        objects.push(object);
        from = ObjectId(object.0 + 1);
    }
    for _ in 0..1 + rng.below(4) {
        let offset = rng.below(40) as u64 * 1024;
        match (rng.below(6), rng.pick(&objects).copied()) {
            (0 | 1, _) | (_, None) if objects.len() < 12 => {
                let new = NewObject::new(ObjectType::PLAIN_FILE_CONTENTS, 1024 << rng.below(3));
                objects.push(set.allocate(&new).unwrap());
            }
            (2, Some(object)) => {
                set.free(object).unwrap();
                objects.retain(|other| *other != object);
            }
            (3, Some(object)) => set.free_range(object, offset, 8192).unwrap(),
            (_, Some(object)) => {
                let bytes: Vec<u8> = (0..1 + rng.below(9000)).map(|_| rng.below(256) as u8).collect();
                set.write(object, offset, &bytes).unwrap();
            }
            _ => {}
        }
    }
}

/// Returns all content of a head or snapshot.
fn content(pool: &mut TestPool, name: &str) -> Vec<(u64, Vec<u8>)> {
    let (object, root) = pool
        .tx(|tx| {
            let dataset = tx.dsl().dataset(name)?;
            Ok((dataset.object(), dataset.phys().root))
        })
        .unwrap();
    let set = zstream_dmu::objset::Objset::open(pool.reader.clone(), object.0, root).unwrap();
    let mut content = Vec::new();
    let mut from = ObjectId(1);
    while let Some(object) = set.next_object(from).unwrap() {
        let mut bytes = vec![0; set.info(object).unwrap().end() as usize];
        set.read(object, 0, &mut bytes).unwrap();
        content.push((object.0, bytes));
        from = ObjectId(object.0 + 1);
    }
    content
}

fn step(pool: &mut TestPool, rng: &mut Rng, count: usize) -> Result<(), crate::error::Error> {
    let (heads, snapshots, marks) = names(pool);
    let head = rng.pick(&heads).unwrap().clone();
    let snapshot = rng.pick(&snapshots).cloned();
    let new = format!("{}/d{count}", rng.pick(&heads).unwrap());
    let what = rng.below(16);
    match (what, snapshot) {
        (0, _) if heads.len() < 8 => create(pool, &new),
        (1..=4, _) if snapshots.len() < 20 => {
            pool.tx(|tx| tx.snapshot(&[format!("{head}@s{count}")]))?;
        }
        (5 | 6, Some(snapshot)) if heads.len() < 8 => {
            pool.tx(|tx| tx.clone_snapshot(&snapshot, &new))?;
        }
        (7..=9, Some(snapshot)) => {
            let defer = rng.below(4) == 0;
            pool.tx(|tx| tx.destroy_snapshots(&[snapshot], defer))?;
        }
        (10, _) => pool.tx(|tx| tx.destroy(&head))?,
        (11, _) => pool.tx(|tx| tx.promote(&head))?,
        (12, _) => pool.tx(|tx| tx.rollback(&head, None))?,
        (13, _) => {
            let to = format!("{}/r{count}", rng.pick(&heads).unwrap());
            pool.tx(|tx| tx.rename(&head, &to))?;
        }
        (14, Some(snapshot)) => match rng.below(3) {
            0 => {
                let of = snapshot.split('@').next().unwrap();
                pool.tx(|tx| tx.bookmark(&snapshot, &format!("{of}#b{count}")))?;
            }
            1 => {
                if let Some(mark) = rng.pick(&marks) {
                    pool.tx(|tx| tx.destroy_bookmark(mark))?;
                }
            }
            _ => pool.tx(|tx| {
                tx.hold("tag", std::slice::from_ref(&snapshot))?;
                tx.release("tag", &[snapshot])
            })?,
        },
        (15, _) => {
            let bytes = rng.below(4) as u64 * 200_000;
            let name = ["reservation", "refreservation"][rng.below(2)];
            pool.tx(|tx| {
                let head = tx.dsl().head(&head)?.object();
                tx.set_property(head, name, &Setting::Local(Value::word(bytes)))
            })?;
        }
        _ => {}
    }
    Ok(())
}

#[test]
fn everything_that_is_kept_follows_from_the_blocks_after_every_step() {
    // More seeds, and others: ZSTREAM_SEEDS=100..200
    let seeds = std::env::var("ZSTREAM_SEEDS").unwrap_or_else(|_| "1..3".to_owned());
    let (first, end) = seeds.split_once("..").unwrap();
    for seed in first.parse().unwrap()..end.parse::<u64>().unwrap() {
        let mut pool = TestPool::new(64 << 20, seed);
        // Livelists in short parts, which stay longer or shorter.
        pool.livelists = Limits { part_blocks_max: 5, shared_percent: [75, 0][seed as usize % 2] };
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut done: BTreeMap<String, usize> = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for count in 0..120 {
            for _ in 0..rng.below(3) {
                let (heads, ..) = names(&mut pool);
                let head = rng.pick(&heads).unwrap().clone();
                change_content(&mut pool, &mut rng, &head);
            }
            pool.commit();
            let outcome = step(&mut pool, &mut rng, count);
            *done
                .entry(outcome.as_ref().map_or_else(|error| errno(error).into(), |()| "done".into()))
                .or_default() += 1;
            assert_ne!(outcome.map_err(|error| errno(&error)), Err("other"), "seed {seed}, step {count}");
            pool.commit();
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut pool)));
            assert!(checked.is_ok(), "seed {seed}, step {count}");
            // Snapshots never change.
            let (_, snapshots, _) = names(&mut pool);
            let mut now = BTreeMap::new();
            for name in snapshots {
                let object = pool.tx(|tx| Ok(tx.dsl().snapshot(&name)?.object())).unwrap();
                now.insert(object, content(&mut pool, &name));
            }
            for (object, content) in &now {
                assert_eq!(kept.get(object).unwrap_or(content), content, "seed {seed}, step {count}");
            }
            kept = now;
        }
        assert!(done["done"] > 60, "{done:?}");
    }
}
