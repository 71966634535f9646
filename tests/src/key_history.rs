//! Random histories of two pools with several encryption roots: keys are changed at both sides, datasets are cloned, promoted,
//! renamed and destroyed, and raw streams go from one to the other, alone and as packages, whole and cut short.
//!
//! After every step, in both pools, the key of every encryption root opens all that names it, and every snapshot holds what it
//! held when it was made. What was refused has changed nothing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_dmu::Random;
use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::pool::PoolWriter;
use zstream_dmu::pool::scan::examine;
use zstream_dmu::vdev::Member;
use zstream_dmu::zio::crypt::{KeyFormat, WrappingKey};
use zstream_dsl::CryptoKey;
use zstream_dsl::write::{NewKey, Wrapping, WritablePool};
use zstream_format::algorithm::CryptSuite;
use zstream_recv::{Host, Input, Naming, Note, Receiving, Request};
use zstream_send::Progress;
use zstream_send::plan::{Options, StreamForm};
use zstream_send::request::Request as SendRequest;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};

use crate::created::{MEMBER_BYTES, NOW, new_files, new_pool, open, write_options};
use crate::errors::{Error, Result};
use crate::keys;
use crate::rng::Rng;
use crate::sending::Sending;
use crate::state;

/// Where OpenZFS looks at what is left, the pool `b`.
pub const RECEIVER: &str = "b";
/// So many datasets a small pool has at most.
const HEADS_MAX: usize = 12;

/// A pool in memory.
struct Side {
    name: &'static str,
    device: Arc<dyn Device>,
    /// How often it was opened for writing, so that no guid is there twice.
    opened: Cell<u64>,
}

impl Side {
    fn new(name: &'static str) -> Self {
        let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(MEMBER_BYTES as usize));
        let new = new_pool(name, "a", 12, &mut |word| (word.to_owned(), Arc::clone(&device)));
        let (mut pool, first) = WritablePool::create(new, Some(7)).expect("a pool");
        fill_new(&mut pool, first.root).expect("a filesystem");
        pool.export().expect("an export");
        Self { name, device, opened: Cell::new(u64::from(name.as_bytes()[0]) << 32) }
    }

    fn devices(&self) -> [Arc<dyn Device>; 1] {
        [Arc::clone(&self.device)]
    }

    fn reading(&self) -> Sending {
        Sending::of(open(&self.devices()).expect("our own pool"))
    }

    fn writing(&self) -> WritablePool {
        self.opened.set(self.opened.get() + 1);
        let member = Member { name: "a".to_owned(), device: Arc::clone(&self.device) };
        let candidates = vec![examine(member).expect("a member")];
        let pool = PoolWriter::open_candidates(candidates, &write_options()).expect("our own pool");
        WritablePool::over(pool, Some(self.opened.get())).expect("our own pool")
    }

    /// Changes something; what is refused is dropped.
    fn change(&self, act: impl FnOnce(&mut WritablePool) -> Result<()>) -> Result<()> {
        let mut pool = self.writing();
        act(&mut pool)?;
        Ok(pool.export().map(drop)?)
    }

    /// Names of heads and of snapshots with their guids.
    fn names(&self) -> (Vec<String>, Vec<(String, Guid)>) {
        let (mut heads, mut snapshots) = (Vec::new(), Vec::new());
        let reading = self.reading();
        reading
            .dsl
            .walk(&mut |dir| {
                heads.push(dir.name().to_owned());
                let found = dir.head()?.snapshots()?.into_iter();
                snapshots.extend(found.map(|found| (found.name().to_owned(), found.phys().guid)));
                Ok(())
            })
            .expect("names");
        (heads, snapshots)
    }

    /// Names of heads that are encrypted.
    fn encrypted(&self) -> Vec<String> {
        let mut names = Vec::new();
        let reading = self.reading();
        reading
            .dsl
            .walk(&mut |dir| {
                names.extend(CryptoKey::of(dir)?.map(|_| dir.name().to_owned()));
                Ok(())
            })
            .expect("names");
        names
    }

    /// All that a refusal leaves as it was.
    fn whole(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let reading = self.reading();
        reading
            .dsl
            .walk(&mut |dir| {
                let head = dir.head()?;
                let keys = CryptoKey::of(dir)?;
                let snapshots: Vec<_> =
                    head.snapshots()?.iter().map(|found| found.name().to_owned()).collect();
                found.insert(dir.name().to_owned(), format!("{} {keys:?} {snapshots:?}", head.phys().guid));
                Ok(())
            })
            .expect("datasets");
        found
    }
}

/// Two pools with a history.
pub struct History {
    sides: [Side; 2],
    rng: Rng,
    /// What users know.
    keys: Vec<Vec<u8>>,
    steps: usize,
    /// How many snapshots were taken to be sent.
    taken: usize,
    /// What each snapshot holds.
    contents: BTreeMap<Guid, String>,
    /// The snapshot of all of the sender that was sent as a package last.
    mirrored: Option<String>,
    /// What was done.
    pub log: Vec<String>,
    /// How often what was done or refused.
    pub done: BTreeMap<String, usize>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "History({} steps)", self.steps)
    }
}

impl History {
    /// New pools `a` and `b`.
    ///
    /// # Panics
    /// They cannot be made.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let texts = ["correct horse", "another horse", "battery staple"];
        let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        keys.extend([vec![7; 32], vec![0xfe; 32], vec![b'a'; 64], vec![b'7'; 64]]);
        let sides = ["a", "b"].map(Side::new);
        for side in &sides {
            let make = |pool: &mut WritablePool| {
                let key = WrappingKey::new(KeyFormat::Raw, &keys[3])?;
                create(pool, &format!("{}/e", side.name), Some((KeyFormat::Raw, key)))?;
                create(pool, &format!("{}/e/c", side.name), None)?;
                create(pool, &format!("{}/e/c/d", side.name), None)
            };
            side.change(make).expect("datasets");
        }
        Self {
            sides,
            rng: Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            keys,
            steps: 0,
            taken: 0,
            contents: BTreeMap::new(),
            mirrored: None,
            log: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    /// Copies the member of a pool to a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn copy_to(&self, pool: &str, path: &std::path::Path) -> std::io::Result<()> {
        let side = self.sides.iter().find(|side| side.name == pool).expect("a pool");
        crate::history::copy_to(&*side.device, path)
    }

    /// Goes on for so many steps, and looks at both pools after each.
    ///
    /// # Panics
    /// A key opens nothing, content is lost, or what was refused has changed something.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.steps += 1;
            match self.rng.below(10) {
                0..=3 => self.change(),
                4..=5 => self.send_one(),
                6 => self.send_package(),
                7 => self.mirror(),
                8 => self.send_after_inherit(),
                _ => self.mirror_around_another_key(),
            }
            self.judge(false);
        }
        self.judge(true);
    }

    /// Looks at all keys, and at the newest snapshot of every dataset or at all of them.
    fn judge(&mut self, all: bool) {
        for side in &self.sides {
            let reading = side.reading();
            let opened = keys::open_all(&reading.dsl, &self.keys);
            if let Err(why) = opened {
                panic!("step {}: {why}\n{}", self.steps, self.log.join("\n"));
            }
            let contents = &mut self.contents;
            let mut wrong = None;
            reading
                .dsl
                .walk(&mut |dir| {
                    let snapshots = dir.head()?.snapshots()?;
                    let first = if all { 0 } else { snapshots.len().saturating_sub(1) };
                    for snapshot in snapshots.into_iter().skip(first) {
                        let found = state::dataset_content(&snapshot);
                        let expected = contents.entry(snapshot.phys().guid).or_insert_with(|| found.clone());
                        if found != *expected {
                            wrong = Some(snapshot.name().to_owned());
                        }
                    }
                    Ok(())
                })
                .expect("snapshots");
            assert_eq!(wrong, None, "step {}: other content\n{}", self.steps, self.log.join("\n"));
        }
    }

    fn note(&mut self, what: &str, line: String, result: std::result::Result<(), String>) {
        let (word, line) = match result {
            Ok(()) => (format!("{what}: done"), line),
            Err(why) => {
                let errno = why.rsplit('[').next().unwrap_or_default().trim_end_matches(']').to_owned();
                (format!("{what}: {errno}"), format!("{line}: {why}"))
            }
        };
        *self.done.entry(word).or_default() += 1;
        self.log.push(line);
    }

    /// Which key it is, and its form.
    fn fresh_key(&mut self) -> (Vec<u8>, KeyFormat) {
        let n = self.rng.below(self.keys.len());
        let format = match n {
            0..=2 => KeyFormat::Passphrase { salt: self.rng.below(usize::MAX) as u64 | 1, rounds: 1 },
            3 | 4 => KeyFormat::Raw,
            _ => KeyFormat::Hex,
        };
        (self.keys[n].clone(), format)
    }

    /// Changes datasets or keys of a side.
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each kind of change")]
    fn change(&mut self) {
        let at = usize::from(self.rng.below(3) == 0);
        let (heads, snapshots) = self.sides[at].names();
        let count = self.steps;
        let name = self.rng.pick(&heads).expect("the root");
        let secret = self.pick_secret(at);
        let other = self.pick_secret(at);
        let snapshot = self.rng.pick(&snapshots).map(|(name, _)| name);
        let (key, format) = self.fresh_key();
        let wrapping = WrappingKey::new(format, &key).expect("a key");
        let what = if heads.len() > HEADS_MAX { 9 } else { self.rng.below(16) };
        let has_own = self.rng.below(3) == 0;
        let known = self.keys.clone();
        let seed = self.rng.below(usize::MAX) as u64;
        let side = &self.sides[at];
        let is_child = name.contains('/');
        let new = format!("{other}/d{count}");
        let (word, line, result) = match (what, snapshot) {
            (0..=2, _) => {
                let line = format!("create {new}{}", if has_own { " with a key of its own" } else { "" });
                let made = side.change(|pool| {
                    unlock(pool, &known)?;
                    create(pool, &new, has_own.then_some((format, wrapping)))
                });
                ("create", line, made)
            }
            (3, _) => (
                "snapshot",
                format!("snapshot {name}@s{count}"),
                side.change(|pool| Ok(pool.tx().snapshot(&[format!("{name}@s{count}")]).map(drop)?)),
            ),
            (14, Some(snapshot)) if count.is_multiple_of(2) => (
                "destroy snapshot",
                format!("destroy {snapshot}"),
                side.change(|pool| Ok(pool.tx().destroy_snapshots(&[snapshot], false)?)),
            ),
            (4, Some(snapshot)) => (
                "clone",
                format!("clone {snapshot} {new}"),
                side.change(|pool| Ok(pool.clone_snapshot(&snapshot, &new).map(drop)?)),
            ),
            (5, _) => {
                ("promote", format!("promote {name}"), side.change(|pool| Ok(pool.tx().promote(&name)?)))
            }
            (6 | 7, _) if is_child => {
                let to = format!("{other}/r{count}");
                (
                    "rename",
                    format!("rename {name} {to}"),
                    side.change(|pool| Ok(pool.tx().rename(&name, &to)?)),
                )
            }
            (8 | 9, _) if is_child && (what == 9 || count.is_multiple_of(2)) => {
                let line = format!("destroy {name}");
                (
                    "destroy",
                    line,
                    side.change(|pool| {
                        let reach = zstream_dsl::write::Reach { recursive: true, clones: false };
                        let doomed = pool.dsl().plan_destroy(&name, reach)?;
                        Ok(pool.tx().destroy_all(&doomed, false)?)
                    }),
                )
            }
            (10..=12, _) => {
                let name = secret;
                let line = format!("change-key {name} to {format:?}");
                let location = Some("prompt".to_owned());
                (
                    "change-key",
                    line,
                    side.change(|pool| {
                        let root = pool.dsl().changeable_key(&name)?.0.object();
                        let old = key_of(pool, root, &known)?;
                        Ok(pool.change_key(&name, &old, &NewKey { format, key: wrapping, location })?)
                    }),
                )
            }
            (13, _) => (
                "change-key -i",
                format!("change-key -i {secret}"),
                side.change(|pool| inherit_key(pool, &secret, &known)),
            ),
            _ => (
                "write",
                format!("write {name}"),
                side.change(|pool| {
                    unlock(pool, &known)?;
                    write(pool, &name, count, seed)
                }),
            ),
        };
        let result = result.map_err(|error| format!("{error} [{}]", errno(&error)));
        let side = ["a", "b"][at];
        self.note(word, format!("{side}: {line}"), result);
    }

    /// A snapshot of the sender that the receiver has, and the dataset that has it there.
    fn common(&mut self) -> Option<(String, String)> {
        let (sent, there) = (self.sides[0].names().1, self.sides[1].names().1);
        let mut sources: Vec<(String, String)> = Vec::new();
        for (from, guid) in &sent {
            let targets = there.iter().filter(|(_, found)| found == guid).map(|(name, _)| head_of(name));
            sources.extend(targets.map(|target| (from.clone(), target)));
        }
        // The last that both have is more often what an increment fits onto.
        self.rng.pick(&sources).map(|(from, target)| {
            let head = head_of(&from);
            let last = sources.iter().rfind(|(name, other)| *other == target && head_of(name) == head);
            (last.map_or(from, |(name, _)| name.clone()), target)
        })
    }

    /// One snapshot, as a whole or as an increment.
    fn send_one(&mut self) {
        let (top, from, target) = match self.common() {
            Some((from, target)) if self.rng.below(4) > 0 => (head_of(&from), Some(from), target),
            _ if self.sides[1].names().0.len() > HEADS_MAX => return,
            _ => {
                let top = self.pick_secret(0);
                (top, None, format!("{}/w{}", self.pick_secret(1), self.steps))
            }
        };
        let Some(name) = self.snapshot_of(&top, false) else { return };
        let properties = self.rng.below(3) == 0;
        let request = SendRequest { from, properties, ..raw(&format!("{top}@{name}")) };
        self.transfer("recv", &request, &target, Naming::Below);
    }

    /// An increment onto what has a key that is not the sender's: it inherits that of the dataset above it.
    fn send_after_inherit(&mut self) {
        let Some((from, target)) = self.common() else { return };
        let known = self.keys.clone();
        let result = self.sides[1].change(|pool| inherit_key(pool, &target, &known));
        let result = result.map_err(|error| format!("{error} [{}]", errno(&error)));
        self.note("change-key -i", format!("b: change-key -i {target}"), result);
        let top = head_of(&from);
        let Some(name) = self.snapshot_of(&top, false) else { return };
        let request = SendRequest { from: Some(from), ..raw(&format!("{top}@{name}")) };
        self.transfer("recv after change-key -i", &request, &target, Naming::Below);
    }

    /// A package that goes where a part of it is already, below an encryption root that the sender does not know.
    fn mirror_around_another_key(&mut self) {
        let (heads, _) = self.sides[1].names();
        let places: Vec<String> = heads.into_iter().filter(|name| name.starts_with("b/mirror")).collect();
        let Some(place) = self.rng.pick(&places) else { return self.mirror() };
        let ((key, format), known) = (self.fresh_key(), self.keys.clone());
        let new = format!("{place}/k{}", self.steps);
        let made = self.sides[1].change(|pool| {
            unlock(pool, &known)?;
            create(pool, &new, Some((format, WrappingKey::new(format, &key).expect("a key"))))
        });
        let made = made.map_err(|error| format!("{error} [{}]", errno(&error)));
        self.note("create", format!("b: create {new} with a key of its own"), made);
        let top = self.pick_secret(0);
        let Some(name) = self.snapshot_of(&top, false) else { return };
        self.transfer("recv", &raw(&format!("{top}@{name}")), &format!("{new}/w"), Naming::Below);
        self.mirror();
    }

    /// A dataset of a side, more often one that is encrypted.
    fn pick_secret(&mut self, side: usize) -> String {
        let names = match self.rng.below(4) {
            0 => self.sides[side].names().0,
            _ => self.sides[side].encrypted(),
        };
        self.rng.pick(&names).unwrap_or_else(|| self.sides[side].name.to_owned())
    }

    /// A part of the sender's tree with all of its snapshots, to a new place.
    fn send_package(&mut self) {
        if self.sides[1].names().0.len() > HEADS_MAX {
            return;
        }
        let (top, target) = (self.pick_secret(0), self.pick_secret(1));
        let Some(name) = self.snapshot_of(&top, true) else { return };
        let (target, naming) = match self.rng.below(3) {
            0 if top.contains('/') => (target, Naming::Tail),
            _ => (format!("{target}/p{}", self.steps), Naming::Below),
        };
        let request = SendRequest { replicate: true, ..raw(&format!("{top}@{name}")) };
        self.transfer("recv -R", &request, &target, naming);
    }

    /// All of the sender, since the last time, into the same place.
    fn mirror(&mut self) {
        let Some(name) = self.snapshot_of("a", true) else { return };
        let from = self.mirrored.clone().filter(|_| self.rng.below(6) > 0);
        let from =
            from.filter(|from| self.sides[0].names().1.iter().any(|(name, _)| name == &format!("a@{from}")));
        let request = SendRequest {
            replicate: true,
            intermediates: from.is_some(),
            from: from.map(|from| format!("@{from}")),
            ..raw(&format!("a@{name}"))
        };
        if self.transfer("mirror", &request, "b/mirror", Naming::Below) {
            self.mirrored = Some(name);
        }
    }

    /// Takes a snapshot of a dataset of the sender, or also of all below; gives its short name.
    fn snapshot_of(&mut self, top: &str, recursive: bool) -> Option<String> {
        self.taken += 1;
        let short = format!("all{}", self.taken);
        let (heads, _) = self.sides[0].names();
        let below = |name: &&String| {
            name.strip_prefix(top).is_some_and(|rest| rest.is_empty() || (recursive && rest.starts_with('/')))
        };
        let names: Vec<String> = heads.iter().filter(below).map(|name| format!("{name}@{short}")).collect();
        let result = self.sides[0].change(|pool| Ok(pool.tx().snapshot(&names).map(drop)?));
        let result = result.map_err(|error| error.to_string());
        let is_done = result.is_ok();
        self.note("snapshot -r", format!("a: snapshot -r {top}@{short}"), result);
        is_done.then_some(short)
    }

    /// Sends and receives. Whether all of it was received.
    fn transfer(&mut self, what: &str, request: &SendRequest, target: &str, naming: Naming) -> bool {
        let line = format!("send {:?} {} | recv {target} {naming:?}", request.from, request.target);
        let mut stream = Vec::new();
        let reading = self.sides[0].reading();
        let sent = request.resolve(&reading.dsl, &mut |_| ()).and_then(|job| {
            job.send(&mut stream, reading.source(), Options::default(), &Progress::default(), &mut |_| ())
        });
        drop(reading);
        if let Err(refusal) = sent {
            // What is not encrypted is sent raw too, with what is: everything else is a snapshot that is missing.
            self.note("send", line, Err(format!("{refusal} [{:?}]", refusal.errno())));
            return false;
        }
        let is_cut = self.rng.below(6) == 0;
        if is_cut {
            stream.truncate(self.rng.below(stream.len()));
        }
        let (force, resumable) = (self.rng.below(2) == 0, self.rng.below(3) == 0);
        let wanted = Request { to: target.to_owned(), naming, force, resumable, ..Request::default() };
        let b = &self.sides[1];
        let before = b.whole();
        let mut pool = b.writing();
        pool.destroy_unresumable().expect("datasets");
        let mut receiving = Receiving::new(&mut pool);
        let result = receiving.receive_all(&mut Input::new(&stream[..]), &wanted, &mut Silent);
        assert!(!receiving.is_broken(), "step {}: {line}: {result:?}\n{}", self.steps, self.log.join("\n"));
        if resumable && result.is_err() {
            // What is kept is in nobody's way.
            let dataset = target.split('@').next().unwrap_or_default();
            receiving.discard(dataset).expect("our own pool");
        }
        pool.export().expect("an export");
        // With properties it is a package, whose end may be missing after the snapshot has come.
        let is_one = !request.replicate && !request.properties;
        if result.is_err() && is_one {
            let after = b.whole();
            assert!(before == after, "step {}: {line}: {result:?}\n{before:#?}\n{after:#?}", self.steps);
        }
        let is_done = result.is_ok();
        let result = result.map(drop).map_err(|error| format!("{error} [{:?}]", error.errno()));
        let line = format!("{line}{}{}", if force { " -F" } else { "" }, if is_cut { ", cut" } else { "" });
        self.note(what, line, result);
        is_done
    }
}

fn raw(target: &str) -> SendRequest {
    let form = StreamForm { large_blocks: true, embedded: true, compressed: true, raw: true };
    SendRequest { form, ..SendRequest::new(target) }
}

struct Silent;

impl Host for Silent {
    fn create_filesystem(&mut self, _: &mut WritablePool, name: &str) -> zstream_recv::error::Result<()> {
        panic!("{name}: nothing is received with -d here")
    }

    fn note(&mut self, _: Note) {}

    fn progress(&mut self, _: u64) {}
}

fn head_of(name: &str) -> String {
    name.split('@').next().unwrap_or_default().to_owned()
}

/// Lets a dataset inherit the key of the dataset above it.
fn inherit_key(pool: &mut WritablePool, name: &str, known: &[Vec<u8>]) -> Result<()> {
    let above = pool.dsl().inheritable_key(name)?.object();
    let own = pool.dsl().dir(name)?.object();
    let (own, above) = (key_of(pool, own, known)?, key_of(pool, above, known)?);
    Ok(pool.inherit_key(name, &own, &above)?)
}

/// The key of an encryption root, of those that are known.
fn key_of(pool: &mut WritablePool, root: ObjectId, known: &[Vec<u8>]) -> Result<Vec<u8>> {
    let found = known.iter().find(|key| pool.load_key(root, key).is_ok());
    Ok(found.expect("one of the keys").clone())
}

/// Loads the keys of all encryption roots.
fn unlock(pool: &mut WritablePool, known: &[Vec<u8>]) -> Result<()> {
    let mut roots = Vec::new();
    pool.dsl().walk(&mut |dir| {
        roots.extend(CryptoKey::of(dir)?.map(|keys| keys.root).filter(|root| *root == dir.object()));
        Ok(())
    })?;
    roots.into_iter().try_for_each(|root| key_of(pool, root, known).map(drop))
}

/// Makes a filesystem, with a key of its own, or with that of the one above.
fn create(pool: &mut WritablePool, name: &str, own: Option<(KeyFormat, WrappingKey)>) -> Result<()> {
    let head = pool.tx().create(name, false)?;
    let (above, _) = name.rsplit_once('/').expect("a dataset above");
    let above = CryptoKey::of(&*pool.dsl().dir(above)?)?;
    let suite = above.as_ref().map_or(CryptSuite::AES_256_GCM, |above| above.wrapped.suite);
    let wrapping = match (own, above) {
        (Some((format, key)), _) => Some(Wrapping { root: None, format, key }),
        (None, Some(above)) => Some(pool.wrapping(above.root)?.expect("a key that was loaded")),
        (None, None) => None,
    };
    if let Some(wrapping) = wrapping {
        let location = wrapping.root.is_none().then_some("prompt");
        pool.encrypt(head, suite, &wrapping, location)?;
    }
    fill_new(pool, head)
}

fn fill_new(pool: &mut WritablePool, head: ObjectId) -> Result<()> {
    let mut set = new_files(pool, head)?;
    Ok(pool.sync(head, &mut set).map(drop)?)
}

/// Writes a file into a filesystem.
fn write(pool: &mut WritablePool, name: &str, count: usize, seed: u64) -> Result<()> {
    let head = pool.dsl().head(name)?.object();
    let mut set = pool.open_head(head)?;
    let now = Time { seconds: NOW as i64, nanoseconds: count as u64 };
    let settings = Settings { record_bytes: 4096, dn_slots: 1, xattrs_inline: true, now };
    let mut writer = Writer::open(&set, settings, Random::from_seed(seed))?;
    let new = NewNode {
        kind: NodeKind::File(4096),
        permissions: 0o644,
        uid: 0,
        gid: 0,
        atime: now,
        mtime: now,
        xattrs: Vec::new(),
    };
    let root = writer.root();
    let object = writer.create(&mut set, root, format!("f{count}").as_bytes(), &new)?;
    let content: Vec<u8> = (0..9000).map(|n| (seed >> (n % 57)) as u8).collect();
    writer.write(&mut set, object, 0, &content)?;
    writer.finish(&mut set, object, content.len() as u64)?;
    writer.flush(&mut set)?;
    Ok(pool.sync(head, &mut set).map(drop)?)
}

fn errno(error: &Error) -> &'static str {
    error.refusal().unwrap_or_else(|| panic!("{error}")).name()
}
