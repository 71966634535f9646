//! Names that are given to what is written: which are allowed, and which are one name.
//!
//! A filesystem that compares names without case, or in a normal form, has one file for all spellings of a name. What is put
//! over a file that was there takes its place and its name, however both are spelled; two spellings of one name in what is put are an error,
//! since one of the two files would be lost.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::NormFlags;

use super::{NAME_BYTES_MAX, Writer};
use crate::directory::{CaseSensitivity, DirectoryEntry, matching, norm_flags};
use crate::node::FileType;

/// How a filesystem compares names, and which it allows.
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
    /// The form in which directories hash names.
    pub(super) fn norm_flags(&self) -> NormFlags {
        norm_flags(self.case, self.normalization)
    }

    /// Whether different names can be the same one.
    fn has_spellings(&self) -> bool {
        !self.norm_flags().is_empty()
    }

    /// What is the same for all spellings of a name, and only for them; `None` where a directory cannot keep it.
    pub(super) fn key(&self, name: &[u8]) -> Option<Vec<u8>> {
        matching(self.case).key(self.norm_flags(), name)
    }

    pub(super) fn need_key(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.key(name).ok_or_else(|| {
            let why = if str::from_utf8(name).is_err() { "it is not UTF-8" } else { "it is too long there" };
            let shown = shown(name);
            Error::refused(
                "ENOTSUP",
                format!("the name {shown} has no form in which it can be compared ({}): {why}", self.words()),
            )
        })
    }

    /// The properties by which names are compared.
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

    /// Judges a name that something is to get.
    pub(super) fn check(&self, name: &[u8]) -> Result<()> {
        let fault = match name {
            b"" => "is empty",
            b"." | b".." => "is reserved",
            _ if name.contains(&b'/') || name.contains(&0) => "has a slash or NUL",
            _ if name.len() > NAME_BYTES_MAX => "is longer than 255 bytes",
            _ if self.utf8_only && str::from_utf8(name).is_err() => {
                let shown = shown(name);
                return Err(Error::refused(
                    "EILSEQ",
                    format!("the name {shown} is not UTF-8, which the filesystem requires (utf8only)"),
                ));
            }
            _ => return self.need_key(name).map(drop),
        };
        Err(Error::invalid(format!("the name {} {fault}", shown(name))))
    }

    /// The error of a name that is there already, maybe with another spelling.
    pub(super) fn taken(&self, name: &[u8], found: &[u8]) -> Error {
        if name == found {
            return Error::exists("file", String::from_utf8_lossy(name));
        }
        let (name, found) = (shown(name), shown(found));
        Error::refused(
            "EEXIST",
            format!("{found} and {name} are the same name in this filesystem ({})", self.words()),
        )
    }
}

impl Writer {
    /// Notes that an object of so many slots was made.
    pub(super) fn note_made(&mut self, object: ObjectId, slots: u8) {
        if self.rules.has_spellings() {
            self.made.cover(object.0, object.0 + u64::from(slots));
        }
    }

    /// Notes by which name an object was asked for, where it keeps the name of the one that it replaced.
    pub fn note_asked(&mut self, object: ObjectId, name: &[u8]) {
        self.met.insert(object.0, name.to_vec());
    }

    /// Judges a name that is put where an entry is found. The entry may be there from before, but must not come of what is put
    /// now under another spelling.
    ///
    /// # Errors
    ///
    /// `EEXIST`, with both names, where it does.
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
