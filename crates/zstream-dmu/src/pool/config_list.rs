//! The pool's config for writing: the nvlist in the MOS, from which labels are also created.

use zstream_format::nvlist::{NvList, NvPair, NvValue, Packed};
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;

use super::open::CONFIG_BLOCK_BYTES;
use crate::dnode::NewObject;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::ids::{ObjectId, Txg};
use crate::object_store::ObjectStore;
use crate::vdev::config::PoolState;

/// The members that follow the host name, in this order. In a config without a host, the host is inserted before the
/// first of them.
const AFTER_HOST: [&str; 5] =
    ["com.delphix:has_per_vdev_zaps", "splitcfg", "hole_array", "vdev_children", "vdev_tree"];

/// Returns the config with a new state, host and transaction group. The order of the members is that of OpenZFS.
pub(super) fn updated(config: &NvList, state: PoolState, txg: Txg, host: &Host) -> NvList {
    let mut out = NvList::new();
    let mut is_host_due = true;
    for NvPair { name, value } in config {
        let key = name.to_str().unwrap_or_default();
        if is_host_due && (key == "hostname" || AFTER_HOST.contains(&key)) {
            if host.id != 0 {
                out.add_u64("hostid", u64::from(host.id));
            }
            out.add_string("hostname", host.name.as_str());
            is_host_due = false;
        }
        match key {
            "hostid" | "hostname" => {}
            "state" => {
                out.add_u64(key, u64::from(state));
            }
            "txg" => {
                out.add_u64(key, txg.0);
            }
            _ => {
                out.push(name.clone(), value.clone());
            }
        }
    }
    out
}

/// Allocates an object for a packed nvlist.
pub(super) fn create_packed(mos: &mut dyn ObjectStore) -> Result<ObjectId> {
    mos.allocate(
        &NewObject::new(ObjectType::PACKED_NVLIST, CONFIG_BLOCK_BYTES)
            .with_bonus(ObjectType::PACKED_NVLIST_SIZE, 8),
    )
}

/// Writes a packed nvlist, padded to whole blocks (`spa_sync_nvlist`).
pub(super) fn write_packed(mos: &mut dyn ObjectStore, object: ObjectId, list: &NvList) -> Result<()> {
    let mut bytes = list
        .encode(Packed::xdr(ByteOrder::Little))
        .map_err(|error| Error::internal(format!("cannot pack the config: {error}")))?;
    let len = bytes.len() as u64;
    bytes.resize(bytes.len().next_multiple_of(CONFIG_BLOCK_BYTES as usize), 0);
    mos.write(object, 0, &bytes)?;
    mos.set_bonus(object, ObjectType::PACKED_NVLIST_SIZE, &len.to_le_bytes())
}

/// Returns a number of a list, or 0 if it is missing.
pub(super) fn number(list: &NvList, name: &str) -> u64 {
    match list.get(name) {
        Some(NvValue::Uint64(number)) => *number,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_host_and_txg_change_in_their_places() {
        let mut list = NvList::new();
        list.add_u64("version", 5000).add_u64("state", 0).add_u64("txg", 4).add_u64("hostid", 7);
        list.add_string("hostname", "old").add_u64("vdev_children", 1);
        let names = |list: &NvList| list.iter().map(|pair| pair.name.to_string()).collect::<Vec<_>>();
        let host = |id| Host { id, name: "new".to_owned() };

        let exported = updated(&list, PoolState::Exported, Txg(9), &host(0));
        assert_eq!(names(&exported), ["version", "state", "txg", "hostname", "vdev_children"]);
        assert_eq!((number(&exported, "state"), number(&exported, "txg")), (1, 9));
        assert_eq!(exported.get_str("hostname"), Some("new"));

        let active = updated(&exported, PoolState::Active, Txg(10), &host(0xffff_ffff));
        assert_eq!(names(&active), names(&list));
        assert_eq!((number(&active, "state"), number(&active, "hostid")), (0, 0xffff_ffff));

        let mut bare = list.clone();
        bare.remove("hostid");
        bare.remove("hostname");
        assert_eq!(names(&updated(&bare, PoolState::Active, Txg(1), &host(1))), names(&list));
    }
}
