//! Small pools that are created here, in files of a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::pool::history::Event;
use zstream_dmu::pool::scan::examine;
use zstream_dmu::pool::{
    FeatureSet, NewMember, NewPool, OpenOptions, Pool, PoolWriter, WriteOptions, parse_vdevs,
};
use zstream_dmu::vdev::Member;
use zstream_dmu::{Host, Random};
use zstream_dsl::write::WritablePool;
use zstream_format::object_type::ObjsetType;
use zstream_zpl::create::{NewFilesystem, create_filesystem};

use crate::errors::Result;

/// Size of each member.
pub const MEMBER_BYTES: u64 = 64 << 20;

/// The moment at which everything happens in these pools.
pub const NOW: u64 = 1_800_000_000;

/// The host that has them.
#[must_use]
pub fn host() -> Host {
    Host { id: 0, name: "test".to_owned() }
}

/// Makes the object set of an empty filesystem in a new head.
///
/// # Errors
/// The pool cannot be changed.
pub fn new_files(pool: &mut WritablePool, head: ObjectId) -> Result<ObjsetWriter> {
    let mut set = pool.create_set(head, ObjsetType::ZFS)?;
    let new = NewFilesystem { time: (NOW, 0), ..NewFilesystem::default() };
    create_filesystem(&mut set, &new, &mut || pool.tx().random())?;
    Ok(set)
}

/// Makes a member of a pool by its word: its path and what it lies on.
pub type OpenMember<'a> = &'a mut dyn FnMut(&str) -> (String, Arc<dyn Device>);

/// Describes a pool called `name` with the vdevs `words`, whose members `open` makes by their name.
///
/// # Panics
/// The words make no vdevs.
pub fn new_pool(name: &str, words: &str, ashift: u8, open: OpenMember<'_>) -> NewPool {
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut member = |word: String| {
        let (path, device) = open(&word);
        Ok(NewMember { path, is_disk: false, device })
    };
    let tops = parse_vdevs(&words).expect("vdevs").into_iter();
    NewPool {
        name: name.to_owned(),
        tops: tops.map(|top| top.try_map(&mut member)).collect::<Result<_, _>>().expect("members"),
        ashift,
        features: FeatureSet::default(),
        properties: Vec::new(),
        comment: None,
        compatibility: None,
        host: host(),
        now: Some(NOW),
        random: Random::from_seed(7),
    }
}

/// The same with members in files of `dir`.
///
/// # Panics
/// There is no room.
pub fn new_pool_in(dir: &Path, name: &str, words: &str, ashift: u8) -> NewPool {
    new_pool(name, words, ashift, &mut |word| {
        let path = dir.join(word);
        let device = FileDevice::create(&path, MEMBER_BYTES, true).expect("room");
        (path.display().to_string(), Arc::new(device))
    })
}

/// Creates a pool whose root dataset is an empty filesystem, and leaves it.
///
/// # Errors
/// As for the parts.
pub fn create(new: NewPool) -> Result<()> {
    let command = format!("zstream pool create {}", new.name);
    let (mut pool, first) = WritablePool::create(new, Some(7))?;
    let mut set = pool.create_set(first.root, ObjsetType::ZFS)?;
    pool.sync(first.root, &mut set)?;
    pool.log(Event::Command(&command))?;
    Ok(pool.export().map(drop)?)
}

/// How these pools are opened for writing.
#[must_use]
pub fn write_options() -> WriteOptions {
    WriteOptions { host: host(), now: Some(NOW), ..WriteOptions::default() }
}

/// Opens the pool on these devices.
///
/// # Errors
/// As [`Pool::open_devices`].
pub fn open(devices: &[Arc<dyn Device>]) -> Result<Pool> {
    let devices = devices.iter().enumerate().map(|(n, device)| (n.to_string(), Arc::clone(device)));
    Ok(Pool::open_devices(devices.collect(), &OpenOptions::default())?)
}

/// Opens the pool on these devices for writing.
///
/// # Errors
/// As [`PoolWriter::open_candidates`].
pub fn open_writable(devices: &[Arc<dyn Device>], options: &WriteOptions) -> Result<WritablePool> {
    let examine = |(n, device): (usize, &Arc<dyn Device>)| {
        examine(Member { name: n.to_string(), device: Arc::clone(device) })
    };
    let candidates = devices.iter().enumerate().map(examine).collect::<Result<_, _>>()?;
    Ok(WritablePool::over(PoolWriter::open_candidates(candidates, options)?, Some(1))?)
}

/// All files of a directory, by name.
///
/// # Panics
/// There is no such directory.
#[must_use]
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut list: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    list.sort();
    list
}
