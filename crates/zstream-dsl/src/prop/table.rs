//! Native properties of datasets: names, kinds, defaults, and the kinds of datasets that have them.
//!
//! They are in the order of `zfs get all`. The numbers of index properties are the values that the pool stores.

use bitflags::bitflags;

bitflags! {
    /// Kinds of datasets (`zfs_type_t`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Types: u8 {
        /// Filesystems.
        const FILESYSTEM = 1;
        /// Snapshots.
        const SNAPSHOT = 2;
        /// Volumes.
        const VOLUME = 4;
        /// Bookmarks.
        const BOOKMARK = 16;
    }
}

/// The names of the values of an index property, with their numbers.
pub(crate) type Names = &'static [(u64, &'static str)];

/// The kind of a property's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number with its default.
    Number {
        /// The value if none is set.
        default: u64,
    },
    /// One of a list of names.
    Index {
        /// The names.
        names: Names,
        /// The number of the value if none is set.
        default: u64,
    },
    /// Text with its default, `""` for none.
    Text {
        /// The value if none is set.
        default: &'static str,
    },
}

/// A native property (`zprop_desc_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its heading in `zfs list`, which is also a name for it.
    pub column: &'static str,
    /// The kind of its values.
    pub kind: Kind,
    /// The kinds of datasets that have it.
    pub types: Types,
    /// `true` if it cannot be set.
    pub read_only: bool,
    /// `true` if it can only be set when a dataset is created.
    pub set_once: bool,
    /// `true` if children inherit it.
    pub inherited: bool,
    /// `true` if `zfs get all` omits it.
    pub hidden: bool,
}

impl Property {
    /// Returns the property with this name or heading.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PROPERTIES.iter().find(|property| property.name == name || property.column.eq_ignore_ascii_case(name))
    }

    /// Returns the name for a number of an index property.
    #[must_use]
    pub fn index_name(&self, number: u64) -> Option<&'static str> {
        match self.kind {
            Kind::Index { names, .. } => names.iter().find(|(n, _)| *n == number).map(|(_, name)| *name),
            _ => None,
        }
    }

    /// Returns `true` if `zfs list` aligns it to the right: numbers, but not times.
    #[must_use]
    pub fn is_right_aligned(&self) -> bool {
        matches!(self.kind, Kind::Number { .. }) && !matches!(self.name, "creation" | "snapshots_changed")
    }

    const fn new(name: &'static str, column: &'static str, types: u8, kind: Kind) -> Self {
        let types = Types::from_bits_retain(types);
        let (read_only, set_once, inherited, hidden) = (false, false, false, false);
        Self { name, column, kind, types, read_only, set_once, inherited, hidden }
    }

    const fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    const fn set_once(self) -> Self {
        Self { set_once: true, ..self }
    }

    const fn inherited(self) -> Self {
        Self { inherited: true, ..self }
    }

    const fn hidden(self) -> Self {
        Self { hidden: true, ..self }
    }
}

const fn number(name: &'static str, column: &'static str, types: u8, default: u64) -> Property {
    Property::new(name, column, types, Kind::Number { default })
}

const fn text(name: &'static str, column: &'static str, types: u8, default: &'static str) -> Property {
    Property::new(name, column, types, Kind::Text { default })
}

const fn index(name: &'static str, column: &'static str, types: u8, names: Names, default: u64) -> Property {
    Property::new(name, column, types, Kind::Index { names, default })
}

const F: u8 = 1;
const S: u8 = 2;
const V: u8 = 4;
const B: u8 = 16;
const ALL: u8 = F | S | V | B;

const OFF_ON: Names = &[(0, "off"), (1, "on")];
const CHECKSUM: Names = &[
    (1, "on"),
    (2, "off"),
    (6, "fletcher2"),
    (7, "fletcher4"),
    (8, "sha256"),
    (10, "noparity"),
    (11, "sha512"),
    (12, "skein"),
    (13, "edonr"),
    (14, "blake3"),
];
const COMPRESSION: Names = &[
    (1, "on"),
    (2, "off"),
    (3, "lzjb"),
    (5, "gzip-1"),
    (6, "gzip-2"),
    (7, "gzip-3"),
    (8, "gzip-4"),
    (9, "gzip-5"),
    (10, "gzip"),
    (11, "gzip-7"),
    (12, "gzip-8"),
    (13, "gzip-9"),
    (14, "zle"),
    (15, "lz4"),
    (16, "zstd"),
    (144, "zstd-1"),
    (272, "zstd-2"),
    (400, "zstd-3"),
    (528, "zstd-4"),
    (656, "zstd-5"),
    (784, "zstd-6"),
    (912, "zstd-7"),
    (1040, "zstd-8"),
    (1168, "zstd-9"),
    (1296, "zstd-10"),
    (1424, "zstd-11"),
    (1552, "zstd-12"),
    (1680, "zstd-13"),
    (1808, "zstd-14"),
    (1936, "zstd-15"),
    (2064, "zstd-16"),
    (2192, "zstd-17"),
    (2320, "zstd-18"),
    (2448, "zstd-19"),
    (13200, "zstd-fast"),
    (13328, "zstd-fast-2"),
    (13456, "zstd-fast-3"),
    (13584, "zstd-fast-4"),
    (13712, "zstd-fast-5"),
    (13840, "zstd-fast-6"),
    (13968, "zstd-fast-7"),
    (14096, "zstd-fast-8"),
    (14224, "zstd-fast-9"),
    (14352, "zstd-fast-10"),
    (14480, "zstd-fast-20"),
    (14608, "zstd-fast-30"),
    (14736, "zstd-fast-40"),
    (14864, "zstd-fast-50"),
    (14992, "zstd-fast-60"),
    (15120, "zstd-fast-70"),
    (15248, "zstd-fast-80"),
    (15376, "zstd-fast-90"),
    (15504, "zstd-fast-100"),
    (15632, "zstd-fast-500"),
    (15760, "zstd-fast-1000"),
];
const SNAPDIR: Names = &[(0, "hidden"), (1, "visible"), (2, "disabled")];
const ACLMODE: Names = &[(0, "discard"), (2, "groupmask"), (3, "passthrough"), (4, "restricted")];
const ACLINHERIT: Names =
    &[(0, "discard"), (1, "noallow"), (3, "passthrough"), (4, "restricted"), (5, "passthrough-x")];
const CANMOUNT: Names = &[(0, "off"), (1, "on"), (2, "noauto")];
const XATTR: Names = &[(0, "off"), (2, "sa"), (1, "dir")];
const COPIES: Names = &[(1, "1"), (2, "2"), (3, "3")];
const VERSION: Names = &[(1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5")];
const NORMALIZATION: Names = &[(0, "none"), (16, "formD"), (32, "formKD"), (80, "formC"), (96, "formKC")];
const CASESENSITIVITY: Names = &[(0, "sensitive"), (1, "insensitive"), (2, "mixed")];
const PRIMARYCACHE: Names = &[(0, "none"), (1, "metadata"), (2, "all")];
const LOGBIAS: Names = &[(0, "latency"), (1, "throughput")];
const DEDUP: Names = &[
    (1, "on"),
    (2, "off"),
    (8, "sha256"),
    (11, "sha512"),
    (12, "skein"),
    (14, "blake3"),
    (257, "verify"),
    (264, "sha256,verify"),
    (267, "sha512,verify"),
    (268, "skein,verify"),
    (269, "edonr,verify"),
    (270, "blake3,verify"),
];
const SYNC: Names = &[(0, "standard"), (1, "always"), (2, "disabled")];
const DNODESIZE: Names =
    &[(0, "legacy"), (1, "auto"), (1024, "1k"), (2048, "2k"), (4096, "4k"), (8192, "8k"), (16384, "16k")];
const VOLMODE: Names = &[(0, "default"), (1, "full"), (2, "dev"), (3, "none")];
const SNAPDEV: Names = &[(0, "hidden"), (1, "visible")];
const ACLTYPE: Names = &[(0, "off"), (1, "posix"), (2, "nfsv4")];
const REDUNDANT_METADATA: Names = &[(0, "all"), (1, "most"), (2, "some"), (3, "none")];
const ENCRYPTION: Names = &[
    (1, "on"),
    (2, "off"),
    (3, "aes-128-ccm"),
    (4, "aes-192-ccm"),
    (5, "aes-256-ccm"),
    (6, "aes-128-gcm"),
    (7, "aes-192-gcm"),
    (8, "aes-256-gcm"),
];
const KEYFORMAT: Names = &[(0, "none"), (1, "raw"), (2, "hex"), (3, "passphrase")];
const KEYSTATUS: Names = &[(0, "none"), (1, "unavailable"), (2, "available")];
const DIRECT: Names = &[(0, "disabled"), (1, "standard"), (2, "always")];

/// All native properties.
pub const PROPERTIES: &[Property] = &[
    text("type", "TYPE", ALL, "").read_only(),
    number("creation", "CREATION", ALL, 0).read_only(),
    number("used", "USED", F | S | V, 0).read_only(),
    number("available", "AVAIL", F | V, 0).read_only(),
    number("referenced", "REFER", ALL, 0).read_only(),
    number("compressratio", "RATIO", ALL, 0).read_only(),
    index("mounted", "MOUNTED", F, OFF_ON, 0).read_only(),
    text("origin", "ORIGIN", F | V, "").read_only(),
    number("quota", "QUOTA", F, 0),
    number("reservation", "RESERV", F | V, 0),
    number("volsize", "VOLSIZE", S | V, 0),
    number("volblocksize", "VOLBLOCK", V, 16384).read_only().inherited().set_once(),
    number("recordsize", "RECSIZE", F, 131072).inherited(),
    text("mountpoint", "MOUNTPOINT", F, "/").inherited(),
    text("sharenfs", "SHARENFS", F, "off").inherited(),
    index("checksum", "CHECKSUM", F | V, CHECKSUM, 1).inherited(),
    index("compression", "COMPRESS", F | V, COMPRESSION, 1).inherited(),
    index("atime", "ATIME", F, OFF_ON, 1).inherited(),
    index("devices", "DEVICES", F | S, OFF_ON, 1).inherited(),
    index("exec", "EXEC", F | S, OFF_ON, 1).inherited(),
    index("setuid", "SETUID", F | S, OFF_ON, 1).inherited(),
    index("readonly", "RDONLY", F | V, OFF_ON, 0).inherited(),
    index("zoned", "ZONED", F, OFF_ON, 0).inherited(),
    index("snapdir", "SNAPDIR", F, SNAPDIR, 0).inherited(),
    index("aclmode", "ACLMODE", F, ACLMODE, 0).inherited(),
    index("aclinherit", "ACLINHERIT", F, ACLINHERIT, 4).inherited(),
    number("createtxg", "CREATETXG", ALL, 0).read_only(),
    text("name", "NAME", ALL, "").read_only().hidden(),
    index("canmount", "CANMOUNT", F, CANMOUNT, 1),
    text("iscsioptions", "ISCSIOPTIONS", V, "").inherited().hidden(),
    index("xattr", "XATTR", F | S, XATTR, 2).inherited(),
    number("numclones", "NUMCLONES", S, 0).read_only().hidden(),
    index("copies", "COPIES", F | V, COPIES, 1).inherited(),
    index("version", "VERSION", F | S, VERSION, 0),
    index("utf8only", "UTF8ONLY", F | S, OFF_ON, 0).read_only().inherited().set_once(),
    index("normalization", "NORMALIZATION", F | S, NORMALIZATION, 0).read_only().inherited().set_once(),
    index("casesensitivity", "CASE", F | S, CASESENSITIVITY, 0).read_only().inherited().set_once(),
    index("vscan", "VSCAN", F, OFF_ON, 0).inherited(),
    index("nbmand", "NBMAND", F | S, OFF_ON, 0).inherited(),
    text("sharesmb", "SHARESMB", F, "off").inherited(),
    number("refquota", "REFQUOTA", F, 0),
    number("refreservation", "REFRESERV", F | V, 0),
    number("guid", "GUID", ALL, 0).read_only(),
    index("primarycache", "PRIMARYCACHE", F | S | V, PRIMARYCACHE, 2).inherited(),
    index("secondarycache", "SECONDARYCACHE", F | S | V, PRIMARYCACHE, 2).inherited(),
    number("usedbysnapshots", "USEDSNAP", F | V, 0).read_only(),
    number("usedbydataset", "USEDDS", F | V, 0).read_only(),
    number("usedbychildren", "USEDCHILD", F | V, 0).read_only(),
    number("usedbyrefreservation", "USEDREFRESERV", F | V, 0).read_only(),
    number("useraccounting", "USERACCOUNTING", F | S | V, 0).read_only().hidden(),
    text("stmf_sbd_lu", "STMF_SBD_LU", V, "").inherited().hidden(),
    index("defer_destroy", "DEFER_DESTROY", S, OFF_ON, 0).read_only(),
    number("userrefs", "USERREFS", S, 0).read_only(),
    index("logbias", "LOGBIAS", F | V, LOGBIAS, 0).inherited(),
    number("unique", "UNIQUE", F | S | V, 0).read_only().hidden(),
    number("objsetid", "OBJSETID", F | S | V, 0).read_only(),
    index("dedup", "DEDUP", F | V, DEDUP, 2).inherited(),
    text("mlslabel", "MLSLABEL", F | S | V, "none").inherited(),
    index("sync", "SYNC", F | V, SYNC, 0).inherited(),
    index("dnodesize", "DNSIZE", F, DNODESIZE, 0).inherited(),
    number("refcompressratio", "REFRATIO", F | S | V, 0).read_only(),
    number("written", "WRITTEN", F | S | V, 0).read_only(),
    text("clones", "CLONES", S, "").read_only(),
    number("logicalused", "LUSED", F | V, 0).read_only(),
    number("logicalreferenced", "LREFER", ALL, 0).read_only(),
    number("inconsistent", "INCONSISTENT", F | S | V, 0).read_only().hidden(),
    index("volmode", "VOLMODE", F | V, VOLMODE, 0).inherited(),
    number("filesystem_limit", "FSLIMIT", F, u64::MAX),
    number("snapshot_limit", "SSLIMIT", F | V, u64::MAX),
    number("filesystem_count", "FSCOUNT", F, u64::MAX).read_only(),
    number("snapshot_count", "SSCOUNT", F | V, u64::MAX).read_only(),
    index("snapdev", "SNAPDEV", F | V, SNAPDEV, 0).inherited(),
    index("acltype", "ACLTYPE", F | S, ACLTYPE, 0).inherited(),
    text("context", "CONTEXT", F | S | V, "none"),
    text("fscontext", "FSCONTEXT", F | S | V, "none"),
    text("defcontext", "DEFCONTEXT", F | S | V, "none"),
    text("rootcontext", "ROOTCONTEXT", F | S | V, "none"),
    index("relatime", "RELATIME", F, OFF_ON, 1).inherited(),
    index("redundant_metadata", "REDUND_MD", F | V, REDUNDANT_METADATA, 0).inherited(),
    index("overlay", "OVERLAY", F, OFF_ON, 1).inherited(),
    text("prevsnap", "PREVSNAP", F | V, "").read_only().hidden(),
    text("receive_resume_token", "RESUMETOK", F | V, "").read_only(),
    index("encryption", "ENCRYPTION", F | S | V, ENCRYPTION, 2).read_only().inherited().set_once(),
    text("keylocation", "KEYLOCATION", F | V, "none"),
    index("keyformat", "KEYFORMAT", F | V, KEYFORMAT, 0).read_only().set_once(),
    number("pbkdf2salt", "PBKDF2SALT", F | V, 0).read_only().set_once().hidden(),
    number("pbkdf2iters", "PBKDF2ITERS", F | V, 0).read_only().set_once(),
    text("encryptionroot", "ENCROOT", F | S | V, "").read_only(),
    number("keyguid", "KEYGUID", F | S | V, 0).read_only().hidden(),
    index("keystatus", "KEYSTATUS", F | S | V, KEYSTATUS, 0).read_only(),
    number("remaptxg", "REMAPTXG", F | S | V, 0).read_only().hidden(),
    number("special_small_blocks", "SPECIAL_SMALL_BLOCKS", F | V, 0).inherited(),
    number("ivsetguid", "IVSETGUID", ALL, 0).read_only().hidden(),
    number("redacted", "REDACTED", F | S | V, 0).read_only().hidden(),
    text("redact_snaps", "RSNAPS", ALL, "").read_only(),
    number("snapshots_changed", "SNAPSHOTS_CHANGED", F | V, 0).read_only(),
    index("prefetch", "PREFETCH", F | S | V, PRIMARYCACHE, 2).inherited(),
    index("volthreading", "zvol threading", V, OFF_ON, 1),
    index("direct", "DIRECT", F, DIRECT, 1).inherited(),
    index("longname", "LONGNAME", F, OFF_ON, 0).inherited(),
    number("defaultuserquota", "DEFAULTUSERQUOTA", F, 0).read_only(),
    number("defaultgroupquota", "DEFAULTGROUPQUOTA", F, 0).read_only(),
    number("defaultprojectquota", "DEFAULTPROJECTQUOTA", F, 0).read_only(),
    number("defaultuserobjquota", "DEFAULTUSEROBJQUOTA", F, 0).read_only(),
    number("defaultgroupobjquota", "DEFAULTGROUPOBJQUOTA", F, 0).read_only(),
    number("defaultprojectobjquota", "DEFAULTPROJECTOBJQUOTA", F, 0).read_only(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_index_properties_have_names() {
        for property in PROPERTIES {
            if let Kind::Index { default, .. } = property.kind
                && !property.read_only
                && property.name != "version"
            {
                assert!(property.index_name(default).is_some(), "{}", property.name);
            }
            assert_eq!(Property::find(property.column).map(|found| found.name), Some(property.name));
        }
    }
}
