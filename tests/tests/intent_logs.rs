//! Intent logs in the golden pools: which have records.

use zstream_dmu::blkptr::{BlockPointer, Dva, NormalBlock};
use zstream_dmu::ids::Txg;
use zstream_dmu::objset::Objset;
use zstream_dmu::objset::intent_log::has_records;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_tests::blocks::roots;
use zstream_tests::golden;

/// The volume of tank has a log whose first block was never written: the pool was exported, so everything was synced. Block
/// 1 of the same log, which was freed, still lies where it was written (`zdb -iiiiii` shows block 3, and its numbers).
#[test]
fn a_log_whose_first_block_was_not_written_is_empty() {
    let pool = Pool::open(&golden::pool("tank"), &OpenOptions::default()).expect("a golden pool");
    let logs: Vec<BlockPointer> = roots(&pool)
        .into_iter()
        .filter(|(id, root)| *id != 0 && !root.is_hole())
        .map(|(id, root)| {
            Objset::open_locked(pool.reader().clone(), id, root).expect("a dataset").phys().zil.log
        })
        .filter(|log| !log.is_hole())
        .collect();
    // Snapshots have the header as it was when they were made.
    let log = logs.iter().max_by_key(|log| log.checksum()[3]).expect("a log");
    assert_eq!(log.checksum(), [0x4788_200f_2f7b_2e9a, 0x6261_1267_a00d_6c01, 0x179, 3]);
    assert!(!has_records(pool.reader(), log).expect("a device that can be read"));

    let block = |number: u64, offset| {
        let [first, second, set, _] = log.checksum();
        BlockPointer::normal(&NormalBlock {
            dvas: [Dva::new(0, offset, 4096, false), Dva::default(), Dva::default()],
            lsize: 4096,
            psize: 4096,
            compression: log.compression(),
            checksum_type: log.checksum_type(),
            object_type: log.object_type(),
            level: 0,
            dedup: false,
            uses_crypt: false,
            byte_order: log.byte_order(),
            logical_birth: Txg(91),
            physical_birth: Txg(0),
            fill: 0,
            checksum: [first, second, set, number],
        })
    };
    let is_written = |number, offset| has_records(pool.reader(), &block(number, offset)).expect("a device");
    assert!(is_written(1, 0x39_7c00));
    assert!(!is_written(2, 0x39_7c00) && !is_written(1, 0x39_7e00));
    assert!(!has_records(pool.reader(), &BlockPointer::EMPTY).expect("no log"));
}
