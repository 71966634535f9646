//! Directories: ZAPs from names to objects.
//!
//! The value of an entry has the type of the node in bits 60 to 63 (0 in ZPL version 1) and its object in
//! bits 0 to 47. The names `.` and `..` are not stored.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::{self, Match, NormFlags, Zap};
use zstream_format::object_type::ObjectType;

use crate::node::FileType;

/// The maximum length of a name in bytes (feature `longname`).
pub(crate) const NAME_BYTES_MAX: usize = 1023;

const OBJECT_MASK: u64 = (1 << 48) - 1;

/// The comparison of names in a filesystem with respect to case (`casesensitivity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CaseSensitivity {
    /// Names are case-sensitive.
    #[default]
    Sensitive,
    /// Names are case-insensitive.
    Insensitive,
    /// Names are case-sensitive, unless a lookup requests otherwise.
    Mixed,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryEntry {
    /// The name as it was created. It contains no `/` and no NUL, and is not empty, `.` or `..`.
    pub name: Vec<u8>,
    /// The object of the node.
    pub object: ObjectId,
    /// The type of the node in the entry; `None` in ZPL version 1. The mode of the node is authoritative.
    pub file_type: Option<FileType>,
}

/// An open directory.
pub struct Directory<'a> {
    zap: Zap<'a>,
    how: Match,
}

impl DirectoryEntry {
    /// Parses the value of an entry.
    pub(crate) fn from_value(name: Vec<u8>, value: u64) -> Self {
        Self { name, object: ObjectId(value & OBJECT_MASK), file_type: FileType::from_number(value >> 60) }
    }
}

/// Returns the way in which a filesystem with this case sensitivity looks names up (`zfs_dirent_lock`).
pub(crate) fn matching(case: CaseSensitivity) -> Match {
    match case {
        CaseSensitivity::Insensitive => Match::Normalized,
        // Normalized without upper case; byte by byte if there is no normalization.
        CaseSensitivity::Sensitive | CaseSensitivity::Mixed => Match::NormalizedWithCase,
    }
}

/// Returns the form in which the directories of a filesystem hash names (`z_norm`).
pub(crate) fn norm_flags(case: CaseSensitivity, normalization: NormFlags) -> NormFlags {
    match case {
        CaseSensitivity::Sensitive => normalization,
        CaseSensitivity::Insensitive | CaseSensitivity::Mixed => normalization | NormFlags::UPPER,
    }
}

/// Opens a directory of a filesystem with this case sensitivity.
pub(crate) fn open_for<'a>(
    set: &'a dyn ObjectSet,
    object: ObjectId,
    case: CaseSensitivity,
) -> Result<Directory<'a>> {
    Directory::open(set, object, matching(case))
}

impl<'a> Directory<'a> {
    fn open(set: &'a dyn ObjectSet, object: ObjectId, how: Match) -> Result<Self> {
        set.info(object)?.expect_type(ObjectType::DIRECTORY_CONTENTS)?;
        Ok(Self { zap: Zap::open(set, object)?, how })
    }

    /// Looks up a name with the comparison of the filesystem. If several entries match, which OpenZFS does not create,
    /// it returns the one with exactly these bytes.
    ///
    /// # Errors
    /// Fails if a block cannot be read, and if the entry is invalid.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<DirectoryEntry>> {
        let found = match self.zap.find(name, Match::Exact)? {
            None if self.how != Match::Exact => self.zap.find(name, self.how)?,
            found => found,
        };
        found.map(entry).transpose()
    }

    /// Returns an iterator over all entries, in the order of their hashes. It continues after the error of an invalid name,
    /// and ends after a read error.
    pub fn entries(&self) -> impl Iterator<Item = Result<DirectoryEntry>> + '_ {
        self.zap.entries().map(|found| found.and_then(entry))
    }
}

/// Validates an entry: its name must not lead out of the directory.
fn entry(found: zap::Entry) -> Result<DirectoryEntry> {
    let name = found.key.name()?;
    let fault = match name {
        b"" => Some("is empty"),
        b"." | b".." => Some("is reserved"),
        _ if name.contains(&b'/') => Some("has a slash"),
        _ if name.contains(&0) => Some("has a NUL"),
        _ if name.len() > NAME_BYTES_MAX => Some("is too long"),
        _ => None,
    };
    if let Some(fault) = fault {
        return Err(Error::corrupt("directory entry", format!("name {} {fault}", found.key)));
    }
    Ok(DirectoryEntry::from_value(name.to_vec(), found.value.u64()?))
}
