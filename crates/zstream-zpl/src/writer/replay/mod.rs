//! Replay of the records of an intent log (`zfs_replay_vector`).
//!
//! Each record is a system call, which is repeated as OpenZFS does at mount: with the numbers of objects, owners and times
//! of creation in the record, and with the current time as the time of the change. Records that OpenZFS for Linux cannot
//! write are refused by name: ACLs of NFSv4, and owners in domains.

mod content;
mod nodes;

use zstream_dmu::block::ReadBlock;
use zstream_dmu::error::Fault as PoolFault;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::intent_log::{Change, OptionalAttributes, Record, SetAttributes};
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::CloneStore;
use zstream_format::nvlist::{NvList, NvString, NvValue};

use super::nodes::{ACL_AUTO_INHERIT, ACL_TRIVIAL, HAS_PROJECT, NO_EXECS_DENIED, directory_flags};
use super::xattrs::{PACKED_BYTES_MAX, PACKED_VALUE_BYTES_MAX, pack};
use super::{Writer, acl, attributes};
use crate::directory::CaseSensitivity;
use crate::error::{Error, Result};
use crate::fuid::Fuid;
use crate::node::{Acl, AclEntries, Node, Time};
use crate::sa::Attribute;

/// The optional attributes that are flags: the bit in a record, and the flag of the node.
const FLAGS: [(u32, u64); 15] = [
    (0x2, 1 << 35),
    (0x4, 1 << 34),
    (0x8, 1 << 32),
    (0x10, 1 << 33),
    (0x20, 1 << 37),
    (0x40, 1 << 36),
    (0x80, 1 << 38),
    (0x100, 1 << 39),
    (0x200, 1 << 40),
    (0x400, 1 << 41),
    (0x800, 1 << 42),
    (0x2000, 1 << 43),
    (0x8000, 1 << 44),
    (0x1_0000, 1 << 45),
    (0x2_0000, 1 << 46),
];
/// The optional attributes that are not flags: the time of creation, the stamp of a virus scanner, the project.
const CREATE_TIME: u32 = 0x1;
const SCAN_STAMP: u32 = 0x1000;
const PROJECT: u32 = 0x4_0000;

fn time([seconds, nanoseconds]: [u64; 2]) -> Time {
    Time { seconds: seconds.cast_signed(), nanoseconds }
}

fn words(time: Time) -> Vec<u64> {
    vec![time.seconds.cast_unsigned(), time.nanoseconds]
}

/// Returns an owner of a record. Owners in domains have numbers that are valid only in the log.
fn owner(id: u64) -> Result<Fuid> {
    if id > u64::from(u32::MAX) {
        return Err(Error::unsupported("an owner in a domain in the intent log"));
    }
    Ok(Fuid(id))
}

/// Sets optional attributes of a node (`zfs_xvattr_set`).
fn set_optional(node: &mut Node, optional: &OptionalAttributes) -> Result<()> {
    if optional.mask & SCAN_STAMP != 0 {
        return Err(Error::unsupported("the stamp of a virus scanner in the intent log"));
    }
    for (bit, flag) in FLAGS {
        if optional.mask & bit != 0 {
            node.flags =
                if optional.values & u64::from(bit) != 0 { node.flags | flag } else { node.flags & !flag };
        }
    }
    if optional.mask & CREATE_TIME != 0 {
        node.crtime = time(optional.crtime);
    }
    if optional.mask & PROJECT != 0 {
        node.project = Some(optional.project);
        node.flags |= HAS_PROJECT;
    }
    Ok(())
}

impl Writer {
    /// Replays a record. `reader` reads the blocks that were written for the log.
    ///
    /// # Errors
    /// Fails if the record does not match the filesystem, if it is of a kind that is not supported, and if the filesystem
    /// cannot be read or written. The changes of this transaction group must be dropped then.
    pub fn replay(
        &mut self,
        set: &mut dyn CloneStore,
        reader: &dyn ReadBlock,
        record: &Record,
    ) -> Result<()> {
        if record.ignores_case && self.rules.case == CaseSensitivity::Mixed {
            return Err(Error::unsupported(
                "a name without case in the intent log of a filesystem with mixed case",
            ));
        }
        if let Some(object) = record.object_if_out_of_order()
            && !exists(set, object)?
        {
            return Ok(());
        }
        match &record.change {
            Change::Create(created) => self.replay_create(set, created),
            Change::Remove { directory, name } => self.remove(set, *directory, name),
            Change::Link { directory, object, name } => self.link(set, *directory, name, *object),
            Change::Rename { .. } => self.replay_rename(set, record),
            Change::Write { object, offset, len, content } => {
                self.replay_write(set, reader, *object, (*offset, *len), content)
            }
            Change::Extend { object, offset, len } => self.replay_extend(set, *object, offset + len),
            Change::Truncate { object, offset, len } => self.replay_truncate(set, *object, *offset, *len),
            Change::SetAttributes(attributes) => self.replay_attributes(set, attributes),
            Change::SetXattr { object, name, value } => {
                self.replay_xattr(set, *object, name, value.as_deref())
            }
            Change::SetAcl { .. } => Err(Error::unsupported("an ACL in the intent log")),
            Change::Clone { object, offset, len, block_bytes, pointers } => {
                self.replay_clone(set, *object, (*offset, *len), *block_bytes, pointers)
            }
        }
    }

    fn replay_attributes(&mut self, set: &mut dyn CloneStore, change: &SetAttributes) -> Result<()> {
        let has = |bit| change.mask & bit != 0;
        if has(SetAttributes::SIZE) {
            self.free_space(set, change.object, change.size, 0)?;
        }
        let mut node = self.node(set, change.object)?;
        if has(SetAttributes::UID) {
            node.uid = owner(change.uid)?;
        }
        if has(SetAttributes::GID) {
            node.gid = owner(change.gid)?;
        }
        if has(SetAttributes::MODE) {
            if node.flags & ACL_TRIVIAL == 0 {
                return Err(Error::unsupported(
                    "a change of the mode of a file with an ACL in the intent log",
                ));
            }
            let file_type = super::nodes::file_type(&node)?;
            node.mode = file_type.number() << 12 | change.mode & 0o7777;
            node.flags &= !(NO_EXECS_DENIED | ACL_AUTO_INHERIT);
            node.flags |= directory_flags(file_type, node.permissions());
            let (count, entries) = acl::trivial(node.permissions());
            node.acl = Some(Acl { version: 1, count, entries: AclEntries::Inline(entries) });
        }
        if has(SetAttributes::ATIME) {
            node.atime = time(change.atime);
        }
        if has(SetAttributes::MTIME) || has(SetAttributes::SIZE) {
            node.mtime = time(change.mtime);
        }
        node.ctime = self.settings.now;
        if let Some(optional) = &change.optional {
            set_optional(&mut node, optional)?;
        }
        attributes::store(set, &mut self.registry, &node)?;
        let Some(directory) = node.xattr_directory.filter(|_| has(SetAttributes::UID | SetAttributes::GID))
        else {
            return Ok(());
        };
        let owners = [(Attribute::Uid, vec![node.uid.0]), (Attribute::Gid, vec![node.gid.0])];
        attributes::patch(set, &self.registry, directory, &owners)
    }

    fn replay_xattr(
        &mut self,
        set: &mut dyn CloneStore,
        object: ObjectId,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let mut node = self.node(set, object)?;
        let mut list = match node.packed_xattrs.as_deref().filter(|packed| !packed.is_empty()) {
            Some(packed) => {
                NvList::decode(packed)
                    .map_err(|error| {
                        Error::corrupt("extended attributes", format!("{error} (object {object})"))
                    })?
                    .list
            }
            None => NvList::new(),
        };
        let has = list.iter().any(|pair| pair.name.as_bytes() == name);
        if value.is_none() && !has {
            return Err(Error::not_found("extended attribute", String::from_utf8_lossy(name)));
        }
        // A value that is set moves to the end, as in OpenZFS.
        let mut changed = NvList::new();
        for pair in list.iter_mut().filter(|pair| pair.name.as_bytes() != name) {
            changed.push(pair.name.clone(), pair.value.clone());
        }
        if let Some(value) = value {
            if value.len() > PACKED_VALUE_BYTES_MAX || pack(&list)?.len() > PACKED_BYTES_MAX {
                return Err(Error::bad_request(format!(
                    "extended attribute of object {object} in the intent log is {} bytes, too many",
                    value.len()
                )));
            }
            changed.push(NvString::from(name), NvValue::ByteArray(value.to_vec()));
        }
        node.packed_xattrs = Some(pack(&changed)?);
        node.ctime = self.settings.now;
        attributes::store(set, &mut self.registry, &node)
    }
}

/// Returns `true` if an object exists in the current state.
fn exists(set: &dyn ObjectSet, object: ObjectId) -> Result<bool> {
    match set.info(object) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.fault(), PoolFault::NoObject(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
