//! The rules for names of written files: the names that are allowed, and the names that are equivalent.
//!
//! A filesystem that compares names without case, or in a normalization form, has one file for all spellings of a name.
//! Writing a file overwrites an existing file with an equivalent name, whose name it keeps. Writing two files with equivalent
//! names is an error, since one of them would be lost.

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::NormFlags;

use super::{NAME_BYTES_MAX, Writer};
use crate::directory::{CaseSensitivity, DirectoryEntry, matching, norm_flags};
use crate::error::{Error, Fault, Result};
use crate::node::FileType;

/// The rules of a filesystem for names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) normalization: NormFlags,
    pub(super) case: CaseSensitivity,
    pub(super) utf8_only: bool,
}

fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

impl Rules {
    /// Returns the form in which directories hash names.
    pub(super) fn norm_flags(&self) -> NormFlags {
        norm_flags(self.case, self.normalization)
    }

    /// Returns `true` if different spellings can be equivalent names.
    fn has_spellings(&self) -> bool {
        !self.norm_flags().is_empty()
    }

    /// Returns the key that exactly the equivalent spellings of a name share; `None` if a directory cannot store it.
    pub(super) fn key(&self, name: &[u8]) -> Option<Vec<u8>> {
        matching(self.case).key(self.norm_flags(), name)
    }

    pub(super) fn need_key(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.key(name).ok_or_else(|| {
            let why = if str::from_utf8(name).is_err() { "it is not UTF-8" } else { "its form is too long" };
            let shown = shown(name);
            let words = self.words();
            Fault::NoForm(format!("the name {shown} cannot be normalized for comparison ({words}): {why}"))
                .into()
        })
    }

    /// Describes the properties that determine the comparison of names.
    fn words(&self) -> String {
        let flags = |flags: u64| self.normalization == NormFlags::from_bits_retain(flags);
        let form = match () {
            () if flags(0) => None,
            () if flags(0x10) => Some("formD".to_owned()),
            () if flags(0x50) => Some("formC".to_owned()),
            () if flags(0x20) => Some("formKD".to_owned()),
            () if flags(0x60) => Some("formKC".to_owned()),
            () => Some(format!("{:#x}", self.normalization.bits())),
        };
        let case = match self.case {
            CaseSensitivity::Sensitive => None,
            CaseSensitivity::Insensitive => Some("casesensitivity=insensitive".to_owned()),
            CaseSensitivity::Mixed => Some("casesensitivity=mixed".to_owned()),
        };
        let form = form.map(|form| format!("normalization={form}"));
        case.into_iter().chain(form).collect::<Vec<_>>().join(", ")
    }

    /// Validates a new name.
    pub(super) fn check(&self, name: &[u8]) -> Result<()> {
        let fault = match name {
            b"" => "is empty",
            b"." | b".." => "is reserved",
            _ if name.contains(&b'/') || name.contains(&0) => "contains a slash or NUL",
            _ if name.len() > NAME_BYTES_MAX => "is longer than 255 bytes",
            _ if self.utf8_only && str::from_utf8(name).is_err() => {
                let shown = shown(name);
                let why = format!("the name {shown} is not UTF-8, which the filesystem requires (utf8only)");
                return Err(Fault::NotUtf8(why).into());
            }
            _ => return self.need_key(name).map(drop),
        };
        Err(Fault::BadName(format!("the name {} {fault}", shown(name))).into())
    }

    /// Returns the error for a name that already exists, possibly with another spelling.
    pub(super) fn taken(&self, name: &[u8], found: &[u8]) -> Error {
        if name == found {
            return Fault::Exists(String::from_utf8_lossy(name).into_owned()).into();
        }
        let (name, found) = (shown(name), shown(found));
        let words = self.words();
        Fault::SameName(format!("{found} and {name} are equivalent names in this filesystem ({words})"))
            .into()
    }
}

impl Writer {
    /// Records that an object with this number of slots was created.
    pub(super) fn note_made(&mut self, object: ObjectId, slots: u8) {
        if self.rules.has_spellings() {
            self.made.cover(object.0, object.0 + u64::from(slots));
        }
    }

    /// Records the name by which an object was requested that keeps the name of the one that it replaced.
    pub fn note_requested_name(&mut self, object: ObjectId, name: &[u8]) {
        self.met.insert(object.0, name.to_vec());
    }

    /// Checks a new name for which an equivalent entry was found. The entry may have existed before, but must not have been
    /// written by this writer with another spelling.
    ///
    /// # Errors
    ///
    /// Returns `EEXIST` with both names if it was.
    pub fn meet(&mut self, found: &DirectoryEntry, name: &[u8]) -> Result<()> {
        if !self.rules.has_spellings() {
            return Ok(());
        }
        let object = found.object.0;
        let is_new = self.made.contains(object, object + 1);
        let known = self.met.get(&object).unwrap_or(&found.name);
        if is_new && known != name {
            return Err(self.rules.taken(name, known));
        }
        if !is_new && found.file_type == Some(FileType::Directory) {
            let met = self.met.entry(object).or_insert_with(|| name.to_vec());
            if met != name {
                return Err(self.rules.taken(name, met));
            }
        }
        Ok(())
    }
}
