//! The blocks of a small pool's MOS with every byte changed in turn: as they lie on the device, and behind their checksums.
//!
//! Every byte, always: where blocks are read, with a copy that is good and with none. A sample always, and all with
//! `ZSTREAM_THOROUGH=1000`: the pool opened anew with a byte of all copies flipped. That was run to its end for the MOS of
//! `mirror-2.img`: 100 864 bytes, in two and a half minutes of one core; for 64 512 of them the pool showed the files that it
//! has, for the others it was an error. What is behind checksums was run as a sample only: every byte would take hours.

use std::sync::{Arc, Mutex, OnceLock};

use rayon::prelude::*;
use zstream_dmu::blkptr::BlockPointer;
use zstream_dmu::block::ReadBlock;
use zstream_dmu::device::{Device, MemoryDevice};
use zstream_dmu::ids::Bookmark;
use zstream_dmu::objset::Objset;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::vdev::LEAF_DATA_START;
use zstream_dsl::Dsl;
use zstream_tests::devices::{Patch, Patched};
use zstream_tests::errors::Error;
use zstream_tests::forged::{Original, look_at_datasets, look_at_files};
use zstream_tests::{blocks, every, golden, manifest};

/// One member of the mirror, in memory.
fn image() -> Arc<dyn Device> {
    static IMAGE: OnceLock<Arc<dyn Device>> = OnceLock::new();
    let read = || -> Arc<dyn Device> {
        let bytes = std::fs::read(golden::image("mirror-2.img")).expect("a golden image");
        Arc::new(MemoryDevice::from(bytes))
    };
    Arc::clone(IMAGE.get_or_init(read))
}

/// Opens it with patches.
fn open(patches: Vec<Patch>) -> zstream_dmu::error::Result<Pool> {
    let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::default() };
    Pool::open_devices(vec![("image".to_owned(), Arc::new(Patched::over(image(), patches)))], &options)
}

/// A byte of these copies of a block, flipped.
fn flip(pointer: &BlockPointer, byte: u64, copies: usize) -> Vec<Patch> {
    let at = |offset: u64| LEAF_DATA_START + offset + byte;
    pointer.dvas().take(copies).map(|dva| Patch::Xor(at(dva.offset())..at(dva.offset()) + 1, 0x10)).collect()
}

/// The blocks of the MOS, with their stored bytes.
fn mos(pool: &Pool) -> Vec<(BlockPointer, Bookmark)> {
    blocks::blocks(pool).into_iter().filter(|(_, at)| at.objset == 0).collect()
}

/// A device whose patches can be changed while a pool is open on it.
#[derive(Debug)]
struct Changing {
    image: Arc<dyn Device>,
    patches: Mutex<Vec<Patch>>,
}

impl Device for Changing {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let patches = self.patches.lock().expect("no test panics here").clone();
        Patched::over(Arc::clone(&self.image), patches).read_at(offset, out)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.image.len()
    }
}

/// Every byte, one after the other: the right block from another copy, and where all copies have the flip an error.
#[test]
fn a_flipped_byte_is_an_error_or_answered_by_another_copy() {
    let device = Arc::new(Changing { image: image(), patches: Mutex::default() });
    let members: Vec<(String, Arc<dyn Device>)> = vec![("image".to_owned(), Arc::clone(&device) as _)];
    let pool = Pool::open_devices(members, &OpenOptions::default()).expect("the golden pool");
    let set = |patches| *device.patches.lock().expect("no test panics here") = patches;
    let mut flips = 0;
    for (pointer, at) in mos(&pool) {
        let copies = pointer.dvas().count();
        assert!(copies > 1, "{at}");
        set(Vec::new());
        let whole = pool.reader().read_stored(&pointer, at).expect("a good block");
        for byte in 0..pointer.psize() {
            set(flip(&pointer, byte, copies - 1));
            let found = pool.reader().read_stored(&pointer, at).expect("the last copy");
            assert!(found == whole, "{at} byte {byte}");
            set(flip(&pointer, byte, copies));
            assert!(pool.reader().read_stored(&pointer, at).is_err(), "{at} byte {byte}");
            flips += 1;
        }
    }
    assert!(flips > 10_000, "{flips}");
}

/// The root of the files of the only snapshot.
fn root_of_files(pool: &Pool) -> zstream_dsl::error::Result<Arc<Objset>> {
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default())?;
    dsl.dataset("pmirror@s")?.objset()
}

/// The same with the pool opened anew, of one byte in 157 unless more are asked for: its files are those that they are, or there is an error. As no block of theirs is
/// touched, they are the same where their root is; of some flips they are read all the same.
#[test]
fn a_pool_with_a_flipped_byte_shows_no_other_files() {
    const READ_EACH: usize = 3001;
    let whole = open(Vec::new()).expect("the golden pool");
    let files = *root_of_files(&whole).expect("the snapshot").root();
    let expected = golden::manifest("pmirror_s");
    let places: Vec<(BlockPointer, u64)> = mos(&whole)
        .into_iter()
        .flat_map(|(pointer, _)| (0..pointer.psize()).map(move |byte| (pointer, byte)))
        .collect();
    let step = every::step(157);
    let outcomes: Vec<bool> = places
        .par_iter()
        .enumerate()
        .filter(|(n, _)| n % step == 0)
        .map(|(n, (pointer, byte))| {
            let Ok(pool) = open(flip(pointer, *byte, 3)) else { return false };
            let Ok(set) = root_of_files(&pool) else { return false };
            // An older uberblock may be chosen, in which the snapshot is the same.
            assert_eq!(*set.root(), files, "{pointer} byte {byte}");
            if n % READ_EACH < step {
                expected.assert_same(&manifest::of(&*set), &format!("{pointer} byte {byte}"));
            }
            true
        })
        .collect();
    let right = outcomes.iter().filter(|right| **right).count();
    assert!(right > 10 && right < outcomes.len(), "{right} of {}", outcomes.len());
}

/// Bytes of the MOS and of a file system's metadata, changed where no checksum tells: nothing panics, nothing is endless.
#[test]
fn forged_blocks_are_judged() {
    let pool = open(Vec::new()).expect("the golden pool");
    let original = Original::read(&pool, 0, pool.uberblock().root);
    let dsl = Dsl::open(pool.name(), pool.mos().clone(), Arc::default()).expect("datasets");
    let snapshot = dsl.dataset("pmirror@s").expect("a snapshot");
    let files = Original::read(&pool, snapshot.object().0, snapshot.phys().root);
    let places = |original: &Original, step: usize| -> Vec<(usize, usize)> {
        let blocks = original.blocks.iter().enumerate();
        blocks
            .flat_map(|(n, (_, block))| (n % step..block.len()).step_by(step).map(move |at| (n, at)))
            .collect()
    };
    let forge = |original: &Original, (n, at): (usize, usize)| {
        let mut block = original.blocks[n].1.to_vec();
        block[at] ^= 1 << (at % 8);
        original.forge([(n, block)])
    };
    let seen = |outcome: Result<usize, Error>| usize::from(outcome.is_ok_and(|count| count > 0));
    let step = every::step(1009);
    let datasets: usize = places(&original, step)
        .into_par_iter()
        .map(|place| {
            seen(
                forge(&original, place).map_err(Error::from).and_then(|mos| look_at_datasets("pmirror", mos)),
            )
        })
        .sum();
    let trees: usize = places(&files, step)
        .into_par_iter()
        .map(|place| seen(forge(&files, place).map_err(Error::from).and_then(|set| look_at_files(&*set))))
        .sum();
    assert!(datasets > 50 && trees > 50, "{datasets} {trees}");
}
