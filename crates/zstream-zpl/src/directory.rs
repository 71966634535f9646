//! Directories: ZAPs from names to objects.
//!
//! The value of an entry has the type of what it names in bits 60 to 63 (nothing in ZPL version 1) and its
//! object in bits 0 to 47. The names `.` and `..` are not stored.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::zap::{self, Match, NormFlags, Zap};
use zstream_format::object_type::ObjectType;

use crate::node::FileType;

/// The longest name, in bytes (feature `longname`).
pub const NAME_BYTES_MAX: usize = 1023;

const OBJECT_MASK: u64 = (1 << 48) - 1;

/// How a file system compares names (`casesensitivity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CaseSensitivity {
    /// With case.
    #[default]
    Sensitive,
    /// Without case.
    Insensitive,
    /// With case, unless the one who asks wants it without.
    Mixed,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name, as it was created. No `/`, no NUL, neither empty nor `.` nor `..`.
    pub name: Vec<u8>,
    /// What it names.
    pub object: ObjectId,
    /// The type that the entry gives, which ZPL version 1 does not; the node's own mode is what counts.
    pub file_type: Option<FileType>,
}

/// An open directory.
pub struct Directory<'a> {
    zap: Zap<'a>,
    how: Match,
}

impl DirectoryEntry {
    /// What the value of an entry says.
    pub(crate) fn from_value(name: Vec<u8>, value: u64) -> Self {
        Self { name, object: ObjectId(value & OBJECT_MASK), file_type: FileType::from_number(value >> 60) }
    }
}

/// How a file system that compares names so looks them up (`zfs_dirent_lock`).
pub(crate) fn matching(case: CaseSensitivity) -> Match {
    match case {
        CaseSensitivity::Insensitive => Match::Normalized,
        // Form without upper case; where there is none to bring names into, byte by byte.
        CaseSensitivity::Sensitive | CaseSensitivity::Mixed => Match::NormalizedWithCase,
    }
}

/// The form in which directories of a file system hash names (`z_norm`).
pub(crate) fn norm_flags(case: CaseSensitivity, normalization: NormFlags) -> NormFlags {
    match case {
        CaseSensitivity::Sensitive => normalization,
        CaseSensitivity::Insensitive | CaseSensitivity::Mixed => normalization | NormFlags::UPPER,
    }
}

/// Opens a directory of a file system that compares names so.
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

    /// The entry of this name, as the file system compares names; the one of exactly these bytes where a directory has
    /// several that are one name, which OpenZFS does not make.
    ///
    /// # Errors
    /// A block cannot be read, or the entry is bad.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<DirectoryEntry>> {
        let found = match self.zap.find(name, Match::Exact)? {
            None if self.how != Match::Exact => self.zap.find(name, self.how)?,
            found => found,
        };
        found.map(entry).transpose()
    }

    /// All entries, in the order of their hashes. After an entry with an impossible name, which is an error, the next ones
    /// follow; an error of reading ends them.
    pub fn entries(&self) -> impl Iterator<Item = Result<DirectoryEntry>> + '_ {
        self.zap.entries().map(|found| found.and_then(entry))
    }
}

/// Judges an entry: its name is to lead nowhere but to it.
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
