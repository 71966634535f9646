//! System attributes: bonus buffers of files.

use std::sync::OnceLock;

use crate::golden;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::zap::Zap;
use zstream_dsl::Dsl;
use zstream_format::object_type::ObjectType;
use zstream_zpl::testing::sa::{Attribute, Registry};

/// The master node of a file system.
const MASTER_NODE: ObjectId = ObjectId(1);

struct Files {
    registry: Registry,
    bonuses: Vec<Vec<u8>>,
}

fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let pool = Pool::open(&golden::pool("tank"), &OpenOptions::default()).expect("the golden pool");
        let dsl = Dsl::open(pool.name(), pool.mos().clone(), Default::default()).expect("datasets");
        let set = dsl.dataset("tank/fs@a").expect("a snapshot").objset().expect("its objects");
        let attributes = Zap::open(&*set, MASTER_NODE).and_then(|zap| zap.lookup_u64("SA_ATTRS"));
        let attributes = attributes.expect("a master node").expect("attributes");
        let registry = Registry::open(&*set, ObjectId(attributes)).expect("a registry");
        let (mut bonuses, mut next) = (Vec::new(), ObjectId(1));
        while let Some(object) = set.next_object(next).expect("an object") {
            next = ObjectId(object.0 + 1);
            let info = set.info(object).expect("an object");
            if info.bonus_type == ObjectType::SA {
                bonuses.push(info.bonus().expect("a bonus").to_vec());
                bonuses.extend(set.spill(object).expect("a spill block").map(|spill| spill.to_vec()));
            }
        }
        bonuses.sort_by_key(|bonus| (bonus.len(), bonus.clone()));
        bonuses.dedup_by_key(|bonus| (bonus.len(), bonus[..8.min(bonus.len())].to_vec()));
        Files { registry, bonuses }
    })
}

pub(super) fn corpus() -> Vec<Vec<u8>> {
    files().bonuses.clone()
}

fn attributes(bytes: &[u8]) -> Option<Vec<(Attribute, Vec<u8>)>> {
    let mut found = Vec::new();
    let each = files().registry.each(bytes, |attribute, value| {
        found.push((attribute, value.to_vec()));
        Ok(())
    });
    each.ok().map(|()| found)
}

/// Values lie in the buffer; what comes behind it changes none of them.
pub(super) fn run(input: &[u8]) {
    let Some(found) = attributes(input) else { return };
    let bytes: usize = found.iter().map(|(_, value)| value.len()).sum();
    assert!(bytes <= input.len());
    let longer = [input, &[0xa5; 64]].concat();
    assert!(attributes(&longer).as_ref() == Some(&found), "with more behind it");
}
