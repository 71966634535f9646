//! Random histories of two pools that `sync` keeps alike, in memory: both sides forget, the source is renamed and cloned, and
//! what is under way is interrupted. With a bookmark of its own, `sync` never loses the thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream::create::{NewDataset, NewPool};
use zstream::layers::dmu::device::Memory;
use zstream::sync::{SyncPlace, SyncRequest};
use zstream::{
    Cancel, Control, Error, Event, Keep, NoKeys, PoolPlace, PruneRequest, Put, PutOptions, SyncFault,
    SyncNote, Synced, clone_snapshot, destroy, rename_snapshot, snapshot,
};
use zstream_dsl::write::Reach;
use zstream_tests::rng::Rng;
use zstream_tests::state;

/// The snapshots of a pool: of each dataset name, guid and content, oldest first.
type Snapshots = BTreeMap<String, Vec<(String, u64, String)>>;

struct World {
    rng: Rng,
    source: PoolPlace,
    target: PoolPlace,
    datasets: Vec<String>,
    made: usize,
    /// Steps after which a receive was resumed, discarded, begun from a bookmark.
    seen: [usize; 3],
}

fn pool(name: &str) -> PoolPlace {
    let memory = Arc::new(Memory::new());
    let new = NewPool::new(name, &["disk"]).unwrap().with_file_size(128 << 20).unwrap();
    new.through(Arc::clone(&memory) as _).create("test", &NoKeys).unwrap();
    PoolPlace::new(["disk"]).through(memory)
}

fn snapshots(place: &PoolPlace) -> Snapshots {
    let open = place.open(None, &mut Control::new()).unwrap();
    let mut all = Snapshots::new();
    open.dsl
        .walk(&mut |dir| {
            let Some((_, name)) = dir.name().split_once('/') else { return Ok(()) };
            if name.contains('%') || dir.phys().head.is_none() {
                return Ok(());
            }
            let of = |snapshot: &zstream_dsl::dataset::Dataset| {
                let short = snapshot.snapshot_name().unwrap().to_owned();
                (short, snapshot.phys().guid.0, state::dataset_content(snapshot))
            };
            all.insert(name.to_owned(), dir.head()?.snapshots()?.iter().map(of).collect());
            Ok(())
        })
        .unwrap();
    all
}

/// True if a dataset has a bookmark of this snapshot, which is newer than a snapshot that is there.
fn marked(place: &PoolPlace, name: &str, guid: u64, snapshot: &str) -> bool {
    let open = place.open(None, &mut Control::new()).unwrap();
    let head = open.dsl.head(name).unwrap();
    let txg = head.snapshot(snapshot).unwrap().unwrap().phys().creation_txg;
    head.bookmarks().unwrap().iter().any(|mark| mark.guid.0 == guid && mark.creation_txg > txg)
}

impl World {
    fn new(seed: u64) -> Self {
        let (source, target) = (pool("a"), pool("b"));
        let mut world = Self { rng: Rng(seed), source, target, datasets: Vec::new(), made: 0, seen: [0; 3] };
        world.create("a/fs".to_owned());
        world
    }

    fn number(&mut self) -> usize {
        self.made += 1;
        self.made
    }

    fn create(&mut self, name: String) {
        let new = NewDataset::filesystem(&name);
        self.source.change("a", "test", |pool| new.create(pool, &NoKeys).map(drop)).unwrap();
        self.datasets.push(name);
    }

    fn day(&mut self) {
        let name = self.rng.pick(&self.datasets).unwrap();
        let (length, number) = (self.rng.below(400_000), self.number());
        let content = self.rng.bytes(length);
        let mut put = Put::open(&self.source, &name, &PutOptions::default(), &NoKeys).unwrap();
        let file = format!("f{}", self.rng.below(4));
        put.file(file.as_bytes(), &content, &mut Control::new()).unwrap();
        put.finish("test").unwrap();
        let mut names: Vec<_> = self.datasets.iter().map(|name| format!("{name}@s{number}")).collect();
        if self.rng.below(3) == 0 {
            names.retain(|_| self.rng.below(2) == 0);
        }
        self.source.change("a", "test", |pool| snapshot(pool, &names)).unwrap();
    }

    /// A snapshot of a pool, by its full name; without the newest of each dataset, if so requested.
    fn some(&mut self, of_target: bool) -> Option<String> {
        let place = if of_target { &self.target } else { &self.source };
        let mut all = Vec::new();
        for (name, mut list) in snapshots(place) {
            if of_target {
                list.pop();
            }
            let pool = if of_target { "b" } else { "a" };
            all.extend(list.into_iter().map(|(short, ..)| format!("{pool}/{name}@{short}")));
        }
        self.rng.pick(&all)
    }

    fn forget(&mut self, of_target: bool) {
        let Some(name) = self.some(of_target) else { return };
        let place = if of_target { &self.target } else { &self.source };
        // Origins of clones stay.
        drop(place.change(&name, "test", |pool| destroy(pool, &name, Reach::default(), false)));
    }

    fn step(&mut self) {
        match self.rng.below(16) {
            0..=4 => self.day(),
            5 => {
                let (above, number) = (self.rng.pick(&self.datasets).unwrap(), self.number());
                self.create(format!("{above}/d{number}"));
            }
            6 | 7 => self.forget(false),
            8 => self.forget(true),
            9 => {
                let Some(name) = self.some(false) else { return };
                let new = format!("r{}", self.number());
                self.source.change("a", "test", |pool| rename_snapshot(pool, &name, &new, false)).unwrap();
            }
            10 => {
                let Some(name) = self.some(false) else { return };
                let clone = format!("a/fs/c{}", self.number());
                self.source
                    .change("a", "test", |pool| clone_snapshot(pool, &name, &clone, &[], None))
                    .unwrap();
                self.datasets.push(clone);
            }
            11 => {
                let mut prune = PruneRequest::default();
                prune.policy.last = Keep::Count(self.rng.below(3) as u64 + 1);
                prune.recursive = true;
                let (place, name) =
                    if self.rng.below(2) == 0 { (&self.source, "a/fs") } else { (&self.target, "b/fs") };
                prune.names = vec![name.to_owned()];
                // The target may not exist yet.
                drop(prune.run(place, "test", &mut Control::new()));
            }
            12..=14 => {
                self.day();
                let limit = self.rng.below(250_000) as u64;
                drop(self.sync(Some(limit), false));
                // What was under way is often gone then.
                (0..self.rng.below(4)).for_each(|_| self.forget(false));
            }
            _ => self.sync_all(),
        }
    }

    /// Synchronizes, until so many bytes were received.
    fn sync(&mut self, limit: Option<u64>, force: bool) -> (zstream::Result<Synced>, Vec<Error>) {
        let mut request = SyncRequest::default();
        (request.recursive, request.force, request.bookmark) = (true, force, Some("m".to_owned()));
        let source = SyncPlace::Pool { place: self.source.clone(), dataset: "a/fs".to_owned() };
        let target = SyncPlace::Pool { place: self.target.clone(), dataset: "b/fs".to_owned() };
        let (cancel, mut bytes, mut errors) = (Cancel::new(), 0, Vec::new());
        let seen = &mut self.seen;
        let mut control = Control::new().cancelled_by(&cancel).watched_by(|event| match event {
            Event::Bytes(more) => {
                bytes += more;
                if limit.is_some_and(|limit| bytes > limit) {
                    cancel.cancel();
                }
            }
            Event::Sync(SyncNote::Failed { error, .. }) => errors.push(error),
            Event::Sync(SyncNote::Discards { .. }) => seen[1] += 1,
            Event::Sync(SyncNote::Sends(stream)) => {
                seen[0] += usize::from(stream.resumed);
                seen[2] += usize::from(stream.from.is_some_and(|from| from.starts_with('#')));
            }
            _ => {}
        });
        let synced = request.run(&source, &target, "test", &NoKeys, &mut control);
        drop(control);
        (synced, errors)
    }

    /// Synchronizes, and compares both sides.
    fn sync_all(&mut self) {
        let (synced, errors) = self.sync(None, false);
        let is_discarded = |error: &Error| matches!(error, Error::Sync(fault) if matches!(**fault, SyncFault::OtherReceive { .. } | SyncFault::NoParent { .. }));
        assert!(errors.iter().all(is_discarded), "{errors:?}");
        if synced.unwrap().failed > 0 {
            // The snapshot of an interrupted receive was destroyed.
            let (synced, errors) = self.sync(None, true);
            assert_eq!(synced.unwrap().failed, 0, "{errors:?}");
        }
        let (source, target) = (snapshots(&self.source), snapshots(&self.target));
        for (name, of_source) in &source {
            let Some((short, guid, content)) = of_source.last() else { continue };
            let newest = target.get(name).and_then(|list| list.last());
            let newest = newest.unwrap_or_else(|| panic!("{name} is missing"));
            if newest.1 == *guid {
                assert_eq!(newest.2, *content, "{name}@{short}");
            } else {
                // The source destroyed its newest one; it has a bookmark of it.
                assert!(marked(&self.source, &format!("a/{name}"), newest.1, short), "{name}@{short}");
            }
            for (short, guid, content) in of_source {
                let same = target[name].iter().find(|(_, other, _)| other == guid);
                assert!(same.is_none_or(|(_, _, other)| other == content), "{name}@{short}");
            }
        }
        let (again, errors) = self.sync(None, false);
        let again = again.unwrap();
        assert_eq!((again.behind, again.failed), (0, 0), "{errors:?}");
    }
}

#[test]
fn two_pools_stay_alike_through_random_histories() {
    let seed = std::env::var("ZSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seen = [0; 3];
    for seed in seed.map_or(1..7_u64, |seed| seed..seed + 1) {
        println!("ZSTREAM_SEED={seed}");
        let mut world = World::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..50).for_each(|_| world.step());
        world.sync_all();
        seen.iter_mut().zip(world.seen).for_each(|(all, seen)| *all += seen);
    }
    println!("resumed, discarded, from bookmarks: {seen:?}");
    // When a cancelled receive notices it is a matter of time, so few are enough.
    if std::env::var_os("ZSTREAM_SEED").is_none() {
        assert!(seen[0] > 0 && seen[2] > 0, "{seen:?}");
    }
}
