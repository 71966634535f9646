//! Encoding of a [`Node`] as bonus and spill block (`sa_build_layouts`).

use zstream_dmu::blkptr::BLOCK_POINTER_BYTES;
use zstream_dmu::block::StoredBlock;
use zstream_dmu::dnode::{DNODE_CORE_BYTES, DNODE_SLOT_BYTES};
use zstream_dmu::error::{Error as PoolError, Fault};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_store::ObjectStore;
use zstream_format::algorithm::CompressionType;
use zstream_format::object_type::ObjectType;
use zstream_format::order::ByteOrder;
use zstream_format::phys::SaHeader;

use crate::error::{Error, Result};
use crate::node::{AclEntries, Node, Time};
use crate::sa::{Attribute, HEADER_BYTES_MIN, LENGTHS_OFFSET, Registry};

/// The maximum size of a spill block in bytes (`SPA_OLD_MAXBLOCKSIZE`).
const SPILL_BYTES_MAX: usize = 128 << 10;
const SECTOR_BYTES: usize = 512;

/// An attribute to store.
struct Stored {
    number: u16,
    is_variable: bool,
    value: Vec<u8>,
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn time(time: Time) -> Vec<u8> {
    words(&[time.seconds.cast_unsigned(), time.nanoseconds])
}

/// Returns the attributes of a node in the order of OpenZFS: first those that every node has, so that owners are always at
/// the same offset, then the others.
fn values(node: &Node) -> Result<Vec<(Attribute, Vec<u8>)>> {
    let mut list = vec![
        (Attribute::Mode, words(&[node.mode])),
        (Attribute::Size, words(&[node.size])),
        (Attribute::Gen, words(&[node.generation])),
        (Attribute::Uid, words(&[node.uid.0])),
        (Attribute::Gid, words(&[node.gid.0])),
        (Attribute::Parent, words(&[node.parent.0])),
        (Attribute::Flags, words(&[node.flags])),
        (Attribute::Atime, time(node.atime)),
        (Attribute::Mtime, time(node.mtime)),
        (Attribute::Ctime, time(node.ctime)),
        (Attribute::Crtime, time(node.crtime)),
        (Attribute::Links, words(&[node.links])),
    ];
    list.extend(node.project.map(|project| (Attribute::Projid, words(&[project]))));
    list.extend(node.rdev.map(|rdev| (Attribute::Rdev, words(&[rdev]))));
    if let Some(acl) = &node.acl {
        let AclEntries::Inline(entries) = &acl.entries else {
            return Err(Error::unsupported("changing a file whose ACL is in a separate object"));
        };
        if acl.version == 0 {
            return Err(Error::unsupported("changing a file with an ACL of version 0"));
        }
        list.push((Attribute::DaclCount, words(&[acl.count])));
        list.push((Attribute::DaclAces, entries.clone()));
    }
    list.extend(node.inline_target.clone().map(|target| (Attribute::Symlink, target)));
    list.extend(node.xattr_directory.map(|object| (Attribute::Xattr, words(&[object.0]))));
    list.extend(node.packed_xattrs.clone().map(|packed| (Attribute::Dxattr, packed)));
    Ok(list)
}

/// Returns the sizes of the header and of all attributes after it.
fn sizes(list: &[Stored]) -> (usize, usize) {
    let variable = list.iter().filter(|stored| stored.is_variable).count();
    let header = (LENGTHS_OFFSET + 2 * variable).max(HEADER_BYTES_MIN).next_multiple_of(8);
    let last = list.len().saturating_sub(1);
    let body = list
        .iter()
        .enumerate()
        .map(
            |(n, stored)| if n == last { stored.value.len() } else { stored.value.len().next_multiple_of(8) },
        )
        .sum();
    (header, body)
}

fn encode(set: &mut dyn ObjectStore, registry: &mut Registry, list: &[Stored]) -> Result<Vec<u8>> {
    let numbers: Vec<u16> = list.iter().map(|stored| stored.number).collect();
    let layout = registry.layout(set, &numbers)?;
    let (header, body) = sizes(list);
    let mut out = vec![0; header];
    SaHeader::new(layout, header as u16).encode(&mut out, ByteOrder::Little);
    let lengths = list.iter().filter(|stored| stored.is_variable).map(|stored| stored.value.len() as u16);
    for (place, length) in out[LENGTHS_OFFSET..].chunks_exact_mut(2).zip(lengths) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    for stored in list {
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(&stored.value);
    }
    debug_assert_eq!(out.len(), header + body);
    Ok(out)
}

/// Stores all attributes of a node: as many as fit in the bonus, the others in the spill block.
///
/// # Errors
///
/// Fails if they do not fit in both, and if writing fails.
pub(super) fn store(set: &mut dyn ObjectStore, registry: &mut Registry, node: &Node) -> Result<()> {
    let mut list = Vec::new();
    for (attribute, value) in values(node)? {
        let number = registry.number(set, attribute)?;
        let fixed = registry.fixed_length(number);
        if value.len() > usize::from(u16::MAX) || fixed.is_some_and(|fixed| fixed != value.len()) {
            return Err(too_large(attribute.name(), value.len(), fixed.unwrap_or(u16::MAX.into())));
        }
        list.push(Stored { number, is_variable: fixed.is_none(), value });
    }
    let info = set.info(node.object)?;
    let room = usize::from(info.dn_slots.max(1)) * DNODE_SLOT_BYTES - DNODE_CORE_BYTES - BLOCK_POINTER_BYTES;
    let fits = |list: &[Stored], room: usize| {
        let (header, body) = sizes(list);
        header + body <= room
    };
    let in_bonus = if fits(&list, room) {
        list.len()
    } else {
        let room = room - BLOCK_POINTER_BYTES;
        (0..list.len()).rev().find(|count| fits(&list[..*count], room)).unwrap_or_default()
    };
    let (front, rest) = list.split_at(in_bonus);
    let bonus = encode(set, registry, front)?;
    if rest.is_empty() {
        if info.has_spill {
            set.set_spill(node.object, None)?;
        }
        return Ok(set.set_bonus(node.object, ObjectType::SA, &bonus)?);
    }
    let mut spill = encode(set, registry, rest)?;
    let bytes = spill.len().next_multiple_of(SECTOR_BYTES);
    if bytes > SPILL_BYTES_MAX {
        return Err(too_large("attributes of a file", spill.len(), SPILL_BYTES_MAX));
    }
    spill.resize(bytes, 0);
    set.set_bonus(node.object, ObjectType::SA, &bonus)?;
    let spill = StoredBlock {
        logical_bytes: bytes as u32,
        bytes: spill,
        compression: CompressionType::OFF,
        crypt: None,
        embedded: false,
    };
    Ok(set.set_spill(node.object, Some(spill))?)
}

fn too_large(what: &'static str, size: usize, limit: usize) -> Error {
    PoolError::from(Fault::TooLarge { what, size: size as u64, limit: limit as u64 }).into()
}

/// Changes attributes of fixed length in place, in the bonus.
///
/// # Errors
///
/// Fails if the bonus of the node does not have them.
pub(super) fn patch(
    set: &mut dyn ObjectStore,
    registry: &Registry,
    object: ObjectId,
    changes: &[(Attribute, Vec<u64>)],
) -> Result<()> {
    let info = set.info(object)?;
    let mut bonus = info.bonus()?.to_vec();
    if info.bonus_type != ObjectType::SA {
        return Err(Error::unsupported(format!(
            "changing object {object}, whose attributes are in the format before version 5,"
        )));
    }
    let mut places = Vec::new();
    registry.visit(info.bonus()?, |found| {
        if let Some((_, value)) = changes.iter().find(|(attribute, _)| *attribute == found.attribute) {
            places.push((found.range, found.order, value));
        }
        Ok(())
    })?;
    if places.len() != changes.len() {
        return Err(Error::corrupt(
            "file",
            format!("the bonus of object {object} does not have all attributes"),
        ));
    }
    for (range, order, value) in places {
        for (word, place) in value.iter().zip(bonus[range].chunks_exact_mut(8)) {
            order.put_u64(place, *word);
        }
    }
    Ok(set.set_bonus(object, ObjectType::SA, &bonus)?)
}
