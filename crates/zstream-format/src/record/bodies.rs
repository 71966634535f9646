//! The bodies of the eleven record types, as they are stored.

use crate::algorithm::{ChecksumType, CompressionType};
use crate::checksum::Checksum;
use crate::flags::{BeginFlags, ObjectFlags, RangeFlags, SpillFlags, VersionInfo, WriteFlags};
use crate::ids::{Guid, ObjectId};
use crate::object_type::ObjectType;
use crate::structure;

structure! {
    /// Starts a substream or a package (`struct drr_begin`).
    pub Begin[304] {
        /// [`BEGIN_MAGIC`](super::BEGIN_MAGIC); its byte order is that of the stream.
        magic: u64,
        /// The header type and the feature flags.
        version_info: VersionInfo,
        /// The creation time of the snapshot in seconds since 1970; 0 in the header of a package.
        creation_time: u64,
        /// The type of the object set (`dmu_objset_type_t`); 0 in the header of a package.
        objset_type: u32,
        /// The flags of the stream.
        flags: BeginFlags,
        /// The guid of the snapshot; 0 in the header of a package.
        to_guid: Guid,
        /// The guid of the incremental source; 0 for a full stream.
        from_guid: Guid,
        /// The full name of the snapshot, `pool/fs@snap`, padded with NUL.
        to_name: [u8; 256],
    }
}

structure! {
    /// Allocates or changes an object (`struct drr_object`). Payload: the bonus buffer.
    pub Object[56] {
        /// The object.
        object: ObjectId,
        /// The type of its data.
        object_type: ObjectType,
        /// The type of its bonus buffer.
        bonus_type: ObjectType,
        /// The size of its data blocks in bytes.
        block_size: u32,
        /// The size of its bonus buffer in bytes.
        bonus_len: u32,
        /// The checksum setting of the dnode.
        checksum_type: ChecksumType,
        /// The compression setting of the dnode.
        compression: CompressionType,
        /// The size of the dnode in units of 512 bytes; 0 means 1.
        dnode_slots: u8,
        /// The flags of the record.
        flags: ObjectFlags,
        /// The size of the whole bonus area in bytes, as stored; in raw streams.
        raw_bonus_len: u32,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// log2 of the size of an indirect block; in raw streams.
        indirect_block_shift: u8,
        /// The number of levels of the block tree; in raw streams.
        levels: u8,
        /// The number of block pointers in the dnode; in raw streams.
        block_pointers: u8,
        /// Zero.
        pad: [u8; 5],
        /// The highest block id; in raw streams.
        max_block_id: u64,
    }
}

structure! {
    /// Frees a range of objects (`struct drr_freeobjects`).
    pub FreeObjects[24] {
        /// The first object.
        first_object: ObjectId,
        /// The number of objects.
        object_count: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
    }
}

structure! {
    /// Writes a block (`struct drr_write`). Payload: the block.
    pub Write[132] {
        /// The object.
        object: ObjectId,
        /// The type of the data.
        object_type: ObjectType,
        /// Zero.
        pad: [u8; 4],
        /// The offset in the object, in bytes.
        offset: u64,
        /// The logical size of the block in bytes.
        logical_size: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The checksum function of [`key_checksum`](Self::key_checksum).
        checksum_type: ChecksumType,
        /// The flags of the record.
        flags: WriteFlags,
        /// The compression of the payload; 0 (inherit) if it is not compressed.
        compression: CompressionType,
        /// Zero.
        pad2: [u8; 5],
        /// The checksum of the block at the source (`ddk_cksum`).
        key_checksum: Checksum,
        /// The sizes and the compression of the block at the source (`ddk_prop`).
        key_prop: u64,
        /// The size of the payload in bytes if it is compressed, otherwise 0.
        compressed_size: u64,
        /// The salt of the block key; in raw streams.
        salt: [u8; 8],
        /// The initialization vector; in raw streams.
        iv: [u8; 12],
        /// The message authentication code; in raw streams.
        mac: [u8; 16],
    }
}

structure! {
    /// Frees a range of an object (`struct drr_free`).
    pub Free[32] {
        /// The object.
        object: ObjectId,
        /// The start of the range, in bytes.
        offset: u64,
        /// The length of the range in bytes, or [`TO_OBJECT_END`](super::TO_OBJECT_END).
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
    }
}

structure! {
    /// Ends a substream or a package (`struct drr_end`).
    pub End[40] {
        /// The fletcher-4 sum from BEGIN up to this record; zero at the end of a package.
        checksum: Checksum,
        /// The guid of the snapshot; zero for packages.
        to_guid: Guid,
    }
}

structure! {
    /// Writes a block that an earlier WRITE contains (`struct drr_write_byref`).
    pub WriteByref[104] {
        /// The object.
        object: ObjectId,
        /// The offset in the object, in bytes.
        offset: u64,
        /// The size of the block in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The guid of the snapshot whose substream contains the block.
        ref_guid: Guid,
        /// The object of the earlier WRITE.
        ref_object: ObjectId,
        /// The offset of the earlier WRITE.
        ref_offset: u64,
        /// The checksum function of [`key_checksum`](Self::key_checksum).
        checksum_type: ChecksumType,
        /// The flags of the record.
        flags: WriteFlags,
        /// Zero.
        pad: [u8; 6],
        /// The checksum of the block at the source (`ddk_cksum`).
        key_checksum: Checksum,
        /// The sizes and the compression of the block at the source (`ddk_prop`).
        key_prop: u64,
    }
}

structure! {
    /// Writes the spill block of an object (`struct drr_spill`). Payload: the block.
    pub Spill[80] {
        /// The object.
        object: ObjectId,
        /// The logical size of the block in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The flags of the record.
        flags: SpillFlags,
        /// The compression of the payload; in raw streams.
        compression: CompressionType,
        /// Zero.
        pad: [u8; 6],
        /// The size of the payload in bytes; in raw streams.
        compressed_size: u64,
        /// The salt of the block key; in raw streams.
        salt: [u8; 8],
        /// The initialization vector; in raw streams.
        iv: [u8; 12],
        /// The message authentication code; in raw streams.
        mac: [u8; 16],
        /// The type of the data; senders leave it 0.
        object_type: ObjectType,
    }
}

structure! {
    /// Writes a block that is embedded in its block pointer (`struct drr_write_embedded`).
    /// Payload: the block as embedded, padded to 8 bytes.
    pub WriteEmbedded[48] {
        /// The object.
        object: ObjectId,
        /// The offset in the object, in bytes.
        offset: u64,
        /// The size of the block in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The compression of the payload.
        compression: CompressionType,
        /// The kind of embedded content (`BP_EMBEDDED_TYPE_*`); 0 is data.
        embedded_type: u8,
        /// Zero.
        pad: [u8; 6],
        /// The logical size of the payload in bytes.
        logical_size: u32,
        /// The size of the payload as embedded, in bytes.
        physical_size: u32,
    }
}

structure! {
    /// Announces a dnode block of a raw stream (`struct drr_object_range`).
    pub ObjectRange[64] {
        /// The first object of the block, a multiple of 32.
        first_object: ObjectId,
        /// The number of slots in the block: 32.
        slot_count: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
        /// The salt of the block key.
        salt: [u8; 8],
        /// The initialization vector.
        iv: [u8; 12],
        /// The message authentication code.
        mac: [u8; 16],
        /// The flags of the record.
        flags: RangeFlags,
        /// Zero.
        pad: [u8; 3],
    }
}

structure! {
    /// Marks a range of an object as redacted (`struct drr_redact`).
    pub Redact[32] {
        /// The object.
        object: ObjectId,
        /// The start of the range, in bytes.
        offset: u64,
        /// The length of the range in bytes.
        length: u64,
        /// The guid of the snapshot.
        to_guid: Guid,
    }
}

impl Begin {
    /// The name up to the first NUL, or all 256 bytes if there is none.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        let end = self.to_name.iter().position(|&b| b == 0).unwrap_or(self.to_name.len());
        &self.to_name[..end]
    }

    /// Returns the field for a name, or `None` if it does not fit with its NUL.
    #[must_use]
    pub fn name_field(name: &[u8]) -> Option<[u8; 256]> {
        let mut field = [0; 256];
        if name.len() >= field.len() {
            return None;
        }
        field[..name.len()].copy_from_slice(name);
        Some(field)
    }
}

impl Object {
    /// The size of the payload in bytes: the whole bonus area in raw streams, otherwise the size of the bonus
    /// rounded up to 8. It saturates for sizes that are not valid in a dnode.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        if self.raw_bonus_len != 0 {
            self.raw_bonus_len
        } else {
            self.bonus_len.checked_next_multiple_of(8).unwrap_or(u32::MAX)
        }
    }

    /// The number of slots of 512 bytes in the dnode. Old senders wrote 0, which means 1.
    #[must_use]
    pub fn slots(&self) -> u8 {
        self.dnode_slots.max(1)
    }
}

impl Write {
    /// Creates a WRITE of a block that is neither compressed nor encrypted, without a key for deduplication.
    #[must_use]
    pub fn plain(object: ObjectId, object_type: ObjectType, offset: u64, bytes: u64, to_guid: Guid) -> Self {
        Self {
            object,
            object_type,
            pad: [0; 4],
            offset,
            logical_size: bytes,
            to_guid,
            checksum_type: ChecksumType::OFF,
            flags: WriteFlags::empty(),
            compression: CompressionType::INHERIT,
            pad2: [0; 5],
            key_checksum: Checksum::ZERO,
            key_prop: 0,
            compressed_size: 0,
            salt: [0; 8],
            iv: [0; 12],
            mac: [0; 16],
        }
    }

    /// Returns `true` if the payload is compressed, or is an uncompressed block of a raw stream.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.compression != CompressionType::INHERIT
    }

    /// The size of the payload in bytes.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        if self.is_compressed() { self.compressed_size } else { self.logical_size }
    }
}

impl Spill {
    /// The size of the payload in bytes. Unlike in WRITE, the size field decides, not the algorithm.
    #[must_use]
    pub fn payload_len(&self) -> u64 {
        if self.compressed_size != 0 { self.compressed_size } else { self.length }
    }
}

impl WriteEmbedded {
    /// The size of the payload in bytes: the physical size rounded up to 8, saturating.
    #[must_use]
    pub fn payload_len(&self) -> u32 {
        self.physical_size.checked_next_multiple_of(8).unwrap_or(u32::MAX)
    }
}
