//! Structures inside of blocks and bonus buffers, as far as byteswapping has to know them: dnodes, object sets, ZAPs, and what
//! a bonus says of a file.
//!
//! The layers above read and write pools by the same declarations. [`byteswap`](crate::byteswap) follows what a structure
//! does not say alone: how many block pointers a dnode has, of which type its bonus is.

use crate::algorithm::{ChecksumType, CompressionType};
use crate::ids::BlockId;
use crate::order::ByteOrder;
use crate::structure;

structure! {
    /// What a dnode begins with (`dnode_phys_t`); block pointers, bonus and spill pointer follow.
    pub DnodeCore[64] {
        /// Type of the object's data; 0 for a free slot.
        object_type: u8,
        /// Logarithm of the size of an indirect block.
        indirect_shift: u8,
        /// Levels of the tree: 1 when the block pointers point at data.
        levels: u8,
        /// Block pointers.
        pointer_count: u8,
        /// Type of the bonus.
        bonus_type: u8,
        /// Checksum function of new blocks.
        checksum_type: ChecksumType,
        /// Compression function of new blocks.
        compression: CompressionType,
        /// Flags (`DNODE_FLAG_*`).
        flags: u8,
        /// Size of a data block in sectors.
        block_sectors: u16,
        /// Length of the used part of the bonus, in bytes.
        bonus_len: u16,
        /// Slots that the dnode takes after its first.
        extra_slots: u8,
        /// Zero.
        pad: [u8; 3],
        /// Highest block.
        max_block: BlockId,
        /// Space that the object's blocks take: bytes or sectors by a flag.
        used: u64,
        /// Zero.
        pad2: [u8; 32],
    }

    /// What an object set begins with (`objset_phys_t`): all of its first version but padding.
    pub ObjsetHead[784] {
        /// The dnode whose data is all other dnodes.
        meta_dnode: [u8; 512],
        /// Header of the intent log.
        intent_log: [u64; 24],
        /// What the set is for (`dmu_objset_type_t`).
        objset_type: u64,
        /// Flags (`OBJSET_FLAG_*`).
        flags: u64,
        /// MAC over what a raw send carries.
        portable_mac: [u8; 32],
        /// MAC over what stays in the pool.
        local_mac: [u8; 32],
    }

    /// An object set (`objset_phys_t`). Blocks of the first version end after `pad`, those of the second after `group_used`.
    pub ObjsetBlock[4096] {
        /// What all versions have.
        head: ObjsetHead,
        /// Zero.
        pad: [u8; 240],
        /// Dnode of the space used by each user.
        user_used: [u8; 512],
        /// Dnode of the space used by each group.
        group_used: [u8; 512],
        /// Dnode of the space used by each project.
        project_used: [u8; 512],
        /// Zero.
        pad2: [u8; 1536],
    }

    /// What a micro ZAP begins with (`mzap_phys_t`).
    pub MicroZapHeader[64] {
        /// [`MicroZapHeader::BLOCK_TYPE`].
        block_type: u64,
        /// Salt of the hash.
        salt: u64,
        /// How names are normalized.
        norm_flags: u64,
        /// Zero.
        pad: [u64; 5],
    }

    /// An entry of a micro ZAP (`mzap_ent_phys_t`).
    pub MicroZapEntry[64] {
        /// The value.
        value: u64,
        /// Tells apart entries of the same hash (`mze_cd`).
        differentiator: u32,
        /// Zero.
        pad: [u8; 2],
        /// The name, padded with NUL; empty in a free entry.
        name: [u8; 50],
    }

    /// What a fat ZAP begins with (`zap_phys_t`).
    pub FatZapHeader[104] {
        /// [`FatZapHeader::BLOCK_TYPE`].
        block_type: u64,
        /// [`FatZapHeader::MAGIC`].
        magic: u64,
        /// First block of the pointer table; 0 while it is in the header's block.
        table_block: u64,
        /// Number of its blocks; 0 while it is in the header's block.
        table_blocks: u64,
        /// Logarithm of the number of its entries.
        table_shift: u64,
        /// First block of the table that a growing one becomes.
        next_table_block: u64,
        /// Blocks of the table that were copied there.
        copied_blocks: u64,
        /// The next block to be allocated.
        free_block: u64,
        /// Number of leaves.
        leaves: u64,
        /// Number of entries.
        entries: u64,
        /// Salt of the hash.
        salt: u64,
        /// How names are normalized.
        norm_flags: u64,
        /// Flags (`zap_flags_t`).
        flags: u64,
    }

    /// What a leaf of a fat ZAP begins with (`zap_leaf_header`); a hash table of `u16` and the chunks follow.
    pub ZapLeafHeader[48] {
        /// [`ZapLeafHeader::BLOCK_TYPE`].
        block_type: u64,
        /// Zero.
        pad: [u8; 8],
        /// First bits of the hashes of its entries.
        prefix: u64,
        /// [`ZapLeafHeader::MAGIC`].
        magic: u32,
        /// Number of free chunks.
        free_chunks: u16,
        /// Number of entries.
        entries: u16,
        /// Number of bits of the prefix.
        prefix_len: u16,
        /// First free chunk.
        free_list: u16,
        /// Flags (`ZLF_*`).
        flags: u8,
        /// Zero.
        pad2: [u8; 11],
    }

    /// A chunk of a leaf that is an entry (`zap_leaf_entry`).
    pub ZapEntryChunk[24] {
        /// [`ZapEntryChunk::KIND`].
        kind: u8,
        /// Bytes of an integer of the value.
        integer_bytes: u8,
        /// The next entry of its chain.
        next: u16,
        /// First chunk of the name.
        name_chunk: u16,
        /// Integers of the name, with its NUL.
        name_len: u16,
        /// First chunk of the value.
        value_chunk: u16,
        /// Integers of the value.
        value_len: u16,
        /// Tells apart entries of the same hash (`le_cd`).
        differentiator: u32,
        /// Hash of the name.
        hash: u64,
    }

    /// A chunk of a leaf that is a part of a name or value (`zap_leaf_array`). A free chunk (`zap_leaf_free`) has the same
    /// shape, with zeros in place of bytes.
    pub ZapArrayChunk[24] {
        /// [`ZapArrayChunk::KIND`], or [`ZapArrayChunk::KIND_FREE`].
        kind: u8,
        /// Big-endian integers.
        bytes: [u8; 21],
        /// The next chunk.
        next: u16,
    }

    /// What a bonus of system attributes begins with (`sa_hdr_phys_t`); lengths of attributes of variable length follow.
    pub SaHeader[6] {
        /// [`SaHeader::MAGIC`].
        magic: u32,
        /// Number of the layout, and size of the header.
        info: u16,
    }

    /// The system attributes of a file that no layout moves: they follow the header in this order (`SA_MODE_OFFSET` and others).
    pub SaFixed[136] {
        /// Type and permissions.
        mode: u64,
        /// Size.
        size: u64,
        /// Transaction group of creation.
        generation: u64,
        /// User.
        uid: u64,
        /// Group.
        gid: u64,
        /// The directory it was created in.
        parent: u64,
        /// Flags.
        flags: u64,
        /// Time of the last access: seconds, nanoseconds.
        atime: [u64; 2],
        /// Time of the last change of the content.
        mtime: [u64; 2],
        /// Time of the last change of content or attributes.
        ctime: [u64; 2],
        /// Time of creation.
        crtime: [u64; 2],
        /// Number of names.
        links: u64,
        /// Project, where [`SaFixed::HAS_PROJECT`] is set.
        project: u64,
    }

    /// What versions of the ZPL before 5 keep of a file in its bonus (`znode_phys_t`); the target of a symbolic link may follow.
    pub ZnodePhys[264] {
        /// Time of the last access: seconds, nanoseconds.
        atime: [u64; 2],
        /// Time of the last change of the content.
        mtime: [u64; 2],
        /// Time of the last change of content or attributes.
        ctime: [u64; 2],
        /// Time of creation.
        crtime: [u64; 2],
        /// Transaction group of creation.
        generation: u64,
        /// Type and permissions.
        mode: u64,
        /// Size.
        size: u64,
        /// The directory it was created in.
        parent: u64,
        /// Number of names.
        links: u64,
        /// Directory of extended attributes.
        xattr: u64,
        /// Device number.
        rdev: u64,
        /// Flags.
        flags: u64,
        /// User.
        uid: u64,
        /// Group.
        gid: u64,
        /// A ZAP of extra attributes.
        zap: u64,
        /// Zero.
        pad: [u64; 3],
        /// The ACL.
        acl: AclPhys,
    }

    /// An ACL as znodes have it (`zfs_acl_phys_t`).
    pub AclPhys[88] {
        /// The object that holds entries which do not fit.
        object: u64,
        /// Bytes of entries, or in version 0 their number.
        size: u32,
        /// 0 for entries of 12 bytes, 1 for those with FUIDs.
        version: u16,
        /// Number of entries.
        count: u16,
        /// The entries that fit.
        entries: [u8; 72],
    }

    /// An entry of an ACL of version 0 (`zfs_oldace_t`).
    pub OldAce[12] {
        /// Whom it is about.
        id: u32,
        /// Permissions.
        mask: u32,
        /// Flags.
        flags: u16,
        /// Allows or denies.
        kind: u16,
    }

    /// What an entry of an ACL of version 1 begins with (`zfs_ace_hdr_t`); an id and guids may follow.
    pub AceHeader[8] {
        /// Allows or denies.
        kind: u16,
        /// Flags.
        flags: u16,
        /// Permissions.
        mask: u32,
    }
}

impl MicroZapHeader {
    /// First word of a micro ZAP (`ZBT_MICRO`).
    pub const BLOCK_TYPE: u64 = 0x8000_0000_0000_0003;
}

impl FatZapHeader {
    /// First word of a fat ZAP (`ZBT_HEADER`).
    pub const BLOCK_TYPE: u64 = 0x8000_0000_0000_0001;
    /// Second word of a fat ZAP (`ZAP_MAGIC`).
    pub const MAGIC: u64 = 0x2_f52a_b2ab;
}

impl ZapLeafHeader {
    /// First word of a leaf (`ZBT_LEAF`).
    pub const BLOCK_TYPE: u64 = 0x8000_0000_0000_0000;
    /// The number in each leaf (`ZAP_LEAF_MAGIC`).
    pub const MAGIC: u32 = 0x02ab_1eaf;
}

impl ZapEntryChunk {
    /// Kind of an entry (`ZAP_CHUNK_ENTRY`).
    pub const KIND: u8 = 252;
}

impl ZapArrayChunk {
    /// Kind of a part of a name or value (`ZAP_CHUNK_ARRAY`).
    pub const KIND: u8 = 251;
    /// Kind of a free chunk (`ZAP_CHUNK_FREE`).
    pub const KIND_FREE: u8 = 253;
}

impl SaHeader {
    /// First word of a header (`SA_MAGIC`).
    pub const MAGIC: u32 = 0x002f_505a;

    /// Reads the header of a bonus or spill block, and in which order it was written: attributes stay in that order, whatever
    /// the order of their block. `None` where there is no header.
    #[must_use]
    pub fn find(block: &[u8]) -> Option<(Self, ByteOrder)> {
        let orders = [ByteOrder::Little, ByteOrder::Big].into_iter();
        let mut headers = orders.filter_map(|order| Some((Self::read(block, order)?, order)));
        headers.find(|(header, _)| header.magic == Self::MAGIC)
    }

    /// Number of the layout, which tells which attributes follow.
    #[must_use]
    pub fn layout(&self) -> u16 {
        self.info & 0x3ff
    }

    /// Size of the header with its lengths, in bytes: where the attributes begin.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        usize::from(self.info >> 10) * 8
    }

    /// The header of so many bytes, a multiple of 8, for attributes in this layout.
    #[must_use]
    pub fn new(layout: u16, header_bytes: u16) -> Self {
        Self { magic: Self::MAGIC, info: (header_bytes / 8) << 10 | layout & 0x3ff }
    }
}

impl SaFixed {
    /// Flag of a file that has a project (`ZFS_PROJID`).
    pub const HAS_PROJECT: u64 = 1 << 47;
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::round_trips! {
        DnodeCore, ObjsetHead, ObjsetBlock, MicroZapHeader, MicroZapEntry, FatZapHeader, ZapLeafHeader, ZapEntryChunk,
        ZapArrayChunk, SaHeader, SaFixed, ZnodePhys, AclPhys, OldAce, AceHeader,
    }

    /// From the format sheet.
    #[test]
    fn fields_lie_where_the_format_says() {
        assert_eq!(
            ["bonus_len", "extra_slots", "max_block", "used"].map(DnodeCore::offset_of),
            [10, 12, 16, 24]
        );
        assert_eq!(
            ["intent_log", "objset_type", "flags", "portable_mac", "local_mac"].map(ObjsetHead::offset_of),
            [512, 704, 712, 720, 752]
        );
        assert_eq!(
            ["user_used", "group_used", "project_used"].map(ObjsetBlock::offset_of),
            [1024, 1536, 2048]
        );
        assert_eq!(["differentiator", "name"].map(MicroZapEntry::offset_of), [8, 14]);
        assert_eq!(["free_block", "entries", "flags"].map(FatZapHeader::offset_of), [56, 72, 96]);
        assert_eq!(["prefix", "magic", "free_list", "flags"].map(ZapLeafHeader::offset_of), [16, 24, 34, 36]);
        assert_eq!(["name_chunk", "differentiator", "hash"].map(ZapEntryChunk::offset_of), [4, 12, 16]);
        assert_eq!(
            ["generation", "uid", "gid", "flags", "crtime", "project"].map(SaFixed::offset_of),
            [16, 24, 32, 48, 104, 128]
        );
        assert_eq!(["generation", "rdev", "uid", "acl"].map(ZnodePhys::offset_of), [64, 112, 128, 176]);
    }

    #[test]
    fn system_attributes_tell_their_order() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let header = SaHeader::new(2, 16);
            assert_eq!(SaHeader::find(&header.to_bytes(order)), Some((header, order)));
            assert_eq!((header.layout(), header.header_bytes()), (2, 16));
        }
        assert_eq!(SaHeader::find(&[0; 168]), None);
        assert_eq!(SaHeader::find(&[0x5a, 0x50, 0x2f, 0, 0]), None);
    }
}
