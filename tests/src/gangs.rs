//! A pool of gang blocks: encrypted and plain datasets, received with ganging forced.

use zstream_dmu::zio::crypt::{KeyFormat, WrappingKey};
use zstream_dsl::write::Wrapping;
use zstream_format::algorithm::CryptSuite;
use zstream_format::object_type::ObjsetType;
use zstream_recv::Target;

use crate::golden;
use crate::pools::PASSPHRASE;
use crate::receiving::{self, Demo, target};

/// The encrypted filesystem above most of what is received.
pub const ROOT: &str = "demo/e";

/// Blocks that take more bytes become gang blocks: also object sets, blocks of dnodes, indirect blocks and directories.
const WHOLE_MAX: u64 = 1024;

/// What is received: a golden stream and the snapshot that it makes.
const STREAMS: [(&str, &str); 9] = [
    ("fs-full", "demo/e/fs@a"),
    ("fs-incr", "demo/e/fs@b"),
    ("dn", "demo/e/dn@s"),
    ("k-sha256", "demo/e/sum@s"),
    ("vol", "demo/e/vol@s"),
    ("fs-full", "demo/plain@a"),
    ("e-aes-256-gcm-raw", "demo/raw@s"),
    ("e-aes-256-gcm-raw-incr", "demo/raw@t"),
    ("e-aes-128-ccm-raw", "demo/ccm@s"),
];

/// Snapshots and the manifests of their files.
pub const FILES: [(&str, &str); 6] = [
    ("demo/e/fs@a", "tank_fs_a"),
    ("demo/e/fs@b", "tank_fs_b"),
    ("demo/e/dn@s", "tank_dn_s"),
    ("demo/plain@a", "tank_fs_a"),
    ("demo/raw@s", "tank_e-aes-256-gcm_s"),
    ("demo/raw@t", "tank_e-aes-256-gcm_t"),
];

/// Makes the pool, whose passphrase is that of all golden data.
///
/// # Panics
/// It cannot be made.
#[must_use]
pub fn make(ashift: u8) -> Demo {
    let demo = Demo::new("a", ashift, 256 << 20).ganging(WHOLE_MAX);
    demo.change(|pool| {
        let format = KeyFormat::Passphrase { salt: 0x5a17, rounds: 100_000 };
        let key = WrappingKey::new(format, PASSPHRASE).expect("a key");
        let head = pool.tx().create(ROOT, false).expect("a dataset");
        let wrapping = Wrapping { root: None, format, key };
        pool.encrypt(head, CryptSuite::AES_256_GCM, &wrapping, Some("prompt")).expect("encryption");
        let mut set = pool.create_set(head, ObjsetType::ZFS).expect("an object set");
        pool.sync(head, &mut set).expect("a new dataset");
    });
    for (stream, name) in STREAMS {
        let mut pool = demo.writable();
        let root = pool.dsl().dir(ROOT).expect("the encrypted one").object();
        pool.load_key(root, PASSPHRASE).expect("its key");
        let to: Target = target(name);
        receiving::receive(pool, &golden::stream(stream), &to, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    demo
}
