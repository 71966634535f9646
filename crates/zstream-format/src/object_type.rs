//! DMU object types (`dmu_object_type_t`): the content of blocks and the way to swap their bytes.
//!
//! Types below [`ObjectType::COUNT`] are in a table; a type with bit 0x80 is self-describing: bit 0x40
//! means metadata, 0x20 encrypted, and the low 5 bits are the byteswap class.

use std::fmt;

/// A byteswap class: the layout of blocks for conversion to the other byte order (`dmu_object_byteswap`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SwapClass {
    /// Bytes, which are not swapped.
    U8,
    /// An array of 2-byte integers.
    U16,
    /// An array of 4-byte integers.
    U32,
    /// An array of 8-byte integers.
    U64,
    /// A micro ZAP, or the header, a leaf or a pointer table of a fat ZAP.
    Zap,
    /// A block of dnodes.
    Dnode,
    /// An `objset_phys_t`.
    Objset,
    /// A legacy `znode_phys_t`.
    Znode,
    /// An ACL of the first format, with entries of 12 bytes.
    OldAcl,
    /// An ACL with entries of 8, 16 or 48 bytes.
    Acl,
}

impl SwapClass {
    /// Returns the class with this number in a self-describing type.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::U16,
            2 => Self::U32,
            3 => Self::U64,
            4 => Self::Zap,
            5 => Self::Dnode,
            6 => Self::Objset,
            7 => Self::Znode,
            8 => Self::OldAcl,
            9 => Self::Acl,
            _ => return None,
        })
    }
}

/// The type of an object, a block or a bonus buffer: 32 bits in streams, 8 in dnodes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ObjectType(pub u32);

macro_rules! object_types {
    ($($(#[$doc:meta])* $konst:ident = $value:literal, $text:literal, $class:ident $(, $attr:ident)*;)*) => {
        impl ObjectType {
            $($(#[$doc])* pub const $konst: Self = Self($value);)*
        }

        /// Name, byteswap class, metadata, encrypted, by number.
        const TABLE: [(&str, SwapClass, bool, bool); ObjectType::COUNT as usize] = [
            $({
                #[allow(unused_mut)]
                let mut row = ($text, SwapClass::$class, false, false);
                $(object_types!(@ row $attr);)*
                row
            },)*
        ];

        const _: () = {
            let mut next = 0;
            $(assert!(next == $value); next += 1;)*
            assert!(next == ObjectType::COUNT);
        };
    };
    (@ $row:ident md) => { $row.2 = true; };
    (@ $row:ident enc) => { $row.3 = true; };
}

object_types! {
    /// No type: a free dnode slot.
    NONE = 0, "unallocated", U8, md;
    /// The MOS directory.
    OBJECT_DIRECTORY = 1, "object directory", Zap, md;
    /// An array of object numbers (the metaslabs of a vdev).
    OBJECT_ARRAY = 2, "object array", U64, md;
    /// A packed nvlist.
    PACKED_NVLIST = 3, "packed nvlist", U8, md;
    /// A bonus: the size of a packed nvlist.
    PACKED_NVLIST_SIZE = 4, "packed nvlist size", U64, md;
    /// A list of block pointers.
    BPOBJ = 5, "bpobj", U64, md;
    /// A bonus: the header of a bpobj.
    BPOBJ_HDR = 6, "bpobj header", U64, md;
    /// A bonus: the header of a space map.
    SPACE_MAP_HEADER = 7, "SPA space map header", U64, md;
    /// A space map.
    SPACE_MAP = 8, "SPA space map", U64, md;
    /// An intent log block.
    INTENT_LOG = 9, "ZIL intent log", U64, md, enc;
    /// The content of the meta-dnode: arrays of dnodes.
    DNODE = 10, "DMU dnode", Dnode, md, enc;
    /// An objset block.
    OBJSET = 11, "DMU objset", Objset, md;
    /// A bonus: a DSL directory.
    DSL_DIR = 12, "DSL directory", U64, md;
    /// The child map of a DSL directory.
    DSL_DIR_CHILD_MAP = 13, "DSL directory child map", Zap, md;
    /// The snapshot names of a dataset.
    DSL_DS_SNAP_MAP = 14, "DSL dataset snap map", Zap, md;
    /// The properties of a dataset.
    DSL_PROPS = 15, "DSL props", Zap, md;
    /// A bonus: a DSL dataset.
    DSL_DATASET = 16, "DSL dataset", U64, md;
    /// A bonus: a znode, before system attributes.
    ZNODE = 17, "ZFS znode", Znode, md;
    /// An ACL of the first format.
    OLDACL = 18, "ZFS V0 ACL", OldAcl, md, enc;
    /// The contents of a file.
    PLAIN_FILE_CONTENTS = 19, "ZFS plain file", U8, enc;
    /// The contents of a directory.
    DIRECTORY_CONTENTS = 20, "ZFS directory", Zap, md, enc;
    /// The master node of a filesystem.
    MASTER_NODE = 21, "ZFS master node", Zap, md;
    /// The unlinked set: files that were open when their last name was removed.
    UNLINKED_SET = 22, "ZFS delete queue", Zap, md, enc;
    /// The contents of a volume.
    ZVOL = 23, "zvol object", U8, enc;
    /// The properties of a volume.
    ZVOL_PROP = 24, "zvol prop", Zap, md;
    /// Other bytes.
    PLAIN_OTHER = 25, "other uint8[]", U8, enc;
    /// Other 8-byte integers.
    UINT64_OTHER = 26, "other uint64[]", U64, enc;
    /// Any other ZAP.
    ZAP_OTHER = 27, "other ZAP", Zap, md;
    /// The log of damaged blocks.
    ERROR_LOG = 28, "persistent error log", Zap, md;
    /// The history of the pool.
    SPA_HISTORY = 29, "SPA history", U8, md;
    /// A bonus: offsets in the history of the pool.
    SPA_HISTORY_OFFSETS = 30, "SPA history offsets", U64, md;
    /// The properties of the pool.
    POOL_PROPS = 31, "Pool properties", Zap, md;
    /// The delegated permissions of a dataset.
    DSL_PERMS = 32, "DSL permissions", Zap, md;
    /// An ACL.
    ACL = 33, "ZFS ACL", Acl, md, enc;
    /// A system ACL.
    SYSACL = 34, "ZFS SYSACL", U8, md, enc;
    /// A table of FUID domains.
    FUID = 35, "FUID table", U8, md, enc;
    /// A bonus: the size of a FUID table.
    FUID_SIZE = 36, "FUID table size", U64, md;
    /// The clones of a snapshot.
    NEXT_CLONES = 37, "DSL dataset next clones", Zap, md;
    /// The work queue of a scrub.
    SCAN_QUEUE = 38, "scan work queue", Zap, md;
    /// The space used by users, groups and projects.
    USERGROUP_USED = 39, "ZFS user/group/project used", Zap, md, enc;
    /// The quotas of users, groups and projects.
    USERGROUP_QUOTA = 40, "ZFS user/group/project quota", Zap, md, enc;
    /// The holds of a snapshot.
    USERREFS = 41, "snapshot refcount tags", Zap, md;
    /// The deduplication table.
    DDT_ZAP = 42, "DDT ZAP algorithm", Zap, md;
    /// The statistics of the deduplication table.
    DDT_STATS = 43, "DDT statistics", Zap, md;
    /// System attributes, in a bonus or a spill block.
    SA = 44, "System attributes", U8, md, enc;
    /// The master node of system attributes.
    SA_MASTER_NODE = 45, "SA master node", Zap, md, enc;
    /// The registered system attributes.
    SA_ATTR_REGISTRATION = 46, "SA attr registration", Zap, md, enc;
    /// The layouts of system attributes.
    SA_ATTR_LAYOUTS = 47, "SA attr layouts", Zap, md, enc;
    /// The translations of a scan.
    SCAN_XLATE = 48, "scan translations", Zap, md;
    /// A synthetic block of deduplication.
    DEDUP = 49, "deduplicated block", U8, enc;
    /// A deadlist.
    DEADLIST = 50, "DSL deadlist map", Zap, md;
    /// A bonus: the header of a deadlist.
    DEADLIST_HDR = 51, "DSL deadlist map hdr", U64, md;
    /// The clones of the snapshots of a directory.
    DSL_CLONES = 52, "DSL dir clones", Zap, md;
    /// The sub-objects of a bpobj.
    BPOBJ_SUBOBJ = 53, "bpobj subobj", U64, md;
}

impl ObjectType {
    /// The number of types in the table (`DMU_OT_NUMTYPES`).
    pub const COUNT: u32 = 54;
    /// The bit of a self-describing type.
    pub const NEW_TYPE: u32 = 0x80;
    /// The bit for metadata in a self-describing type.
    pub const METADATA: u32 = 0x40;
    /// The bit for encryption in an encrypted dataset, in a self-describing type.
    const ENCRYPTED: u32 = 0x20;
    const CLASS_MASK: u32 = 0x1f;

    /// The byteswap class of blocks of this type; `None` for a type that does not exist.
    #[must_use]
    pub fn swap_class(self) -> Option<SwapClass> {
        if self.0 & Self::NEW_TYPE != 0 {
            SwapClass::from_number(self.0 & Self::CLASS_MASK)
        } else {
            TABLE.get(self.0 as usize).map(|row| row.1)
        }
    }

    /// Returns `true` if the type exists (`DMU_OT_IS_VALID`).
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.swap_class().is_some()
    }

    /// Returns `true` if blocks of this type are metadata (`DMU_OT_IS_METADATA`).
    #[must_use]
    pub fn is_metadata(self) -> bool {
        if self.0 & Self::NEW_TYPE != 0 {
            self.0 & Self::METADATA != 0
        } else {
            TABLE.get(self.0 as usize).is_some_and(|row| row.2)
        }
    }

    /// Returns `true` if blocks of this type are encrypted in an encrypted dataset (`DMU_OT_IS_ENCRYPTED`).
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        if self.0 & Self::NEW_TYPE != 0 {
            self.0 & Self::ENCRYPTED != 0
        } else {
            TABLE.get(self.0 as usize).is_some_and(|row| row.3)
        }
    }

    /// A readable name; that of a self-describing type is its class.
    #[must_use]
    pub fn name(self) -> &'static str {
        if self.0 & Self::NEW_TYPE == 0 {
            return TABLE.get(self.0 as usize).map_or("unknown type", |row| row.0);
        }
        match self.swap_class() {
            Some(SwapClass::U8) => "uint8",
            Some(SwapClass::U16) => "uint16",
            Some(SwapClass::U32) => "uint32",
            Some(SwapClass::U64) => "uint64",
            Some(SwapClass::Zap) => "zap",
            Some(SwapClass::Dnode) => "dnode",
            Some(SwapClass::Objset) => "objset",
            Some(SwapClass::Znode) => "znode",
            Some(SwapClass::OldAcl) => "old ACL",
            Some(SwapClass::Acl) => "ACL",
            None => "unknown type",
        }
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectType({self})")
    }
}

/// The type of an object set (`dmu_objset_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ObjsetType(pub u32);

impl ObjsetType {
    /// No type.
    pub const NONE: Self = Self(0);
    /// The object set of the pool itself (the MOS).
    pub const META: Self = Self(1);
    /// A filesystem.
    pub const ZFS: Self = Self(2);
    /// A volume.
    pub const ZVOL: Self = Self(3);
    /// A type for tests.
    pub const OTHER: Self = Self(4);

    /// A readable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "none",
            1 => "meta",
            2 => "filesystem",
            3 => "volume",
            4 => "other",
            5 => "any",
            _ => "unknown",
        }
    }
}

crate::wire::field_by_newtype! { ObjectType as u32 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_types_describe_themselves() {
        assert_eq!(ObjectType(0xc4).swap_class(), Some(SwapClass::Zap));
        assert!(ObjectType(0xc4).is_metadata() && !ObjectType(0xc4).is_encrypted());
        assert!(ObjectType(0xa0).is_encrypted() && !ObjectType(0xa0).is_metadata());
        assert!(!ObjectType(0x8a).is_valid(), "there are ten classes");
        assert!(!ObjectType(54).is_valid());
    }

    #[test]
    fn numbered_types_follow_the_table() {
        assert!(
            ObjectType::PLAIN_FILE_CONTENTS.is_encrypted() && !ObjectType::PLAIN_FILE_CONTENTS.is_metadata()
        );
        assert!(!ObjectType::MASTER_NODE.is_encrypted() && ObjectType::MASTER_NODE.is_metadata());
        assert_eq!(ObjectType::SA.swap_class(), Some(SwapClass::U8));
        assert_eq!(ObjectType::BPOBJ_SUBOBJ.name(), "bpobj subobj");
    }
}
