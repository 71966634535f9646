//! A pool with encrypted datasets as early versions of ZFS left them: keys of the first format, and a snapshot without an IV set.

use std::sync::Arc;

use zstream_dmu::Random;
use zstream_dmu::ids::{Guid, ObjectId};
use zstream_dmu::objset::ObjsetWriter;
use zstream_dmu::zio::crypt::{DatasetKey, KeyFormat, WrappingKey};
use zstream_dsl::testing::remove_entry;
use zstream_dsl::write::{Wrapping, WritablePool};
use zstream_format::algorithm::CryptSuite;
use zstream_zpl::Filesystem;
use zstream_zpl::node::Time;
use zstream_zpl::writer::{NewNode, NodeKind, Settings, Writer};

use crate::created::{NOW, new_files as new_filesystem};
use crate::errors::Result;
use crate::pools::PASSPHRASE;
use crate::receiving::Demo;

/// The dataset with keys of version 0: erratum 3.
pub const FIRST: &str = "demo/first";
/// The dataset whose snapshot `@a` has no IV set: erratum 4. Its other snapshot is `@b`.
pub const SECOND: &str = "demo/second";

const FORMAT: KeyFormat = KeyFormat::Passphrase { salt: 0x5a17, rounds: 100_000 };

/// The content of the file of this name.
#[must_use]
pub fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(300_000).enumerate().map(|(n, byte)| byte ^ (n / 1000) as u8).collect()
}

/// Makes the pool, whose passphrase is that of all golden data.
///
/// # Panics
/// It cannot be made.
#[must_use]
pub fn make() -> Demo {
    let demo = Demo::new("a", 12, 64 << 20);
    demo.change(|pool| fill(pool).expect("two datasets"));
    demo.change(|pool| {
        pool.tx().snapshot(&[format!("{FIRST}@a"), format!("{SECOND}@a")]).expect("snapshots")
    });
    demo.change(|pool| {
        let second = pool.dsl().dir(SECOND).expect("it").object();
        pool.load_key(second, PASSPHRASE).expect("its key");
        let head = pool.dsl().head(SECOND).expect("a dataset").object();
        let mut set = pool.open_head(head).expect("its objects");
        add_file(pool, &mut set, "more").expect("a file");
        pool.sync(head, &mut set).expect("room");
    });
    demo.change(|pool| {
        pool.tx().snapshot(&[format!("{FIRST}@b"), format!("{SECOND}@b")]).expect("snapshots")
    });
    demo.change(|pool| {
        let mut tx = pool.tx();
        let first = tx.dsl().snapshot(&format!("{SECOND}@a")).expect("the first one").object();
        assert!(remove_entry(&mut tx, first, "com.datto:ivset_guid").expect("entries"), "it had one");
    });
    demo
}

fn fill(pool: &mut WritablePool) -> Result<()> {
    let head = pool.tx().create(FIRST, false)?;
    let key = DatasetKey::generate(CryptSuite::AES_256_GCM, Guid(0x00f1_0057))?.with_version(0);
    let wrapped = key.wrap(&WrappingKey::new(FORMAT, PASSPHRASE)?)?;
    pool.tx().receive_keys(head, FORMAT, &wrapped)?;
    pool.add_key(head, &Arc::new(key));
    new_files(pool, head)?;

    let head = pool.tx().create(SECOND, false)?;
    let wrapping = Wrapping { root: None, format: FORMAT, key: WrappingKey::new(FORMAT, PASSPHRASE)? };
    pool.encrypt(head, CryptSuite::AES_256_GCM, &wrapping, Some("prompt"))?;
    new_files(pool, head)
}

fn new_files(pool: &mut WritablePool, head: ObjectId) -> Result<()> {
    let mut set = new_filesystem(pool, head)?;
    for name in ["file", "other"] {
        add_file(pool, &mut set, name)?;
    }
    Ok(pool.sync(head, &mut set).map(drop)?)
}

fn add_file(pool: &mut WritablePool, set: &mut ObjsetWriter, name: &str) -> Result<()> {
    let now = Time { seconds: NOW as i64, nanoseconds: 0 };
    let settings = Settings { record_bytes: 16 << 10, dn_slots: 1, xattrs_inline: true, now };
    let mut writer = Writer::open(&*set, settings, Random::from_seed(pool.tx().random()?))?;
    let kind = NodeKind::File(writer.record_bytes());
    let xattrs = vec![(b"user.note".to_vec(), b"value".to_vec())];
    let new = NewNode { kind, permissions: 0o640, uid: 1, gid: 2, atime: now, mtime: now, xattrs };
    let root = Filesystem::open(&*set)?.root();
    let object = writer.create(set, root, name.as_bytes(), &new)?;
    let content = content(name);
    writer.write(set, object, 0, &content)?;
    writer.finish(set, object, content.len() as u64)?;
    Ok(writer.flush(set)?)
}
