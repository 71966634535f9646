//! The faults below the datasets, and the places where they occur.
//!
//! Code that detects a fault names it ([`Fault`]); code that knows the location adds it to the [`Place`]. An
//! [`Error`] is one word wide, so that results stay small.

mod fault;

use std::fmt;

use zstream_format::errno::Errno;

pub use self::fault::Fault;
use crate::ids::Bookmark;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The place of an error. Unknown parts are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The path of the vdev, or its name in the tree.
    pub vdev: Option<String>,
    /// The byte offset on that vdev.
    pub offset: Option<u64>,
    /// The address of the block in the pool, as `vdev:offset:asize` in hex.
    pub address: Option<String>,
    /// The location of the block in the tree of objects.
    pub bookmark: Option<Bookmark>,
}

/// A fault and its place.
#[derive(Debug)]
pub struct Error(Box<(Fault, Place)>);

impl Error {
    /// Returns the fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.0.0
    }

    /// Returns the place.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.0.1
    }

    /// Returns the fault without its place.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        self.0.0
    }

    /// Creates the error of a structure that violates a rule of its format.
    #[must_use]
    pub fn corrupt(what: &'static str, detail: impl Into<String>) -> Self {
        Fault::Corrupt { what, detail: detail.into() }.into()
    }

    /// Creates the error of an unsupported item.
    #[must_use]
    pub fn unsupported(what: impl Into<String>) -> Self {
        Fault::Unsupported(what.into()).into()
    }

    /// Creates the error of a request that is not valid.
    #[must_use]
    pub fn bad_request(what: impl Into<String>) -> Self {
        Fault::BadRequest(what.into()).into()
    }

    /// Creates the error of an object that cannot be as requested.
    #[must_use]
    pub(crate) fn bad_shape(what: impl Into<String>) -> Self {
        Fault::BadShape(what.into()).into()
    }

    /// Creates the error of a broken invariant.
    #[must_use]
    pub fn internal(what: impl Into<String>) -> Self {
        Fault::Internal(what.into()).into()
    }

    /// Creates the error of a name that a table of names does not have.
    #[must_use]
    pub(crate) fn no_entry(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::NoEntry { what, name: name.to_string() }.into()
    }

    /// Creates the error of a missing top-level vdev.
    #[must_use]
    pub(crate) fn no_vdev(name: impl fmt::Display) -> Self {
        Fault::NoVdev(format!("top-level vdev {name}")).into()
    }

    /// Returns the error number of ZFS for the fault.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.fault().errno()
    }

    /// Creates the error of an item that already exists.
    #[must_use]
    pub fn exists(what: &'static str, name: impl fmt::Display) -> Self {
        Fault::Exists { what, name: name.to_string() }.into()
    }

    /// Adds the vdev, unless a deeper layer has added one.
    #[must_use]
    pub fn on_vdev(mut self, vdev: impl fmt::Display) -> Self {
        self.0.1.vdev.get_or_insert_with(|| vdev.to_string());
        self
    }

    /// Adds the byte offset on the vdev, unless a deeper layer has added one.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.0.1.offset.get_or_insert(offset);
        self
    }

    /// Adds the address of the block, unless a deeper layer has added one.
    #[must_use]
    pub(crate) fn at_address(mut self, address: impl fmt::Display) -> Self {
        self.0.1.address.get_or_insert_with(|| address.to_string());
        self
    }

    /// Adds the location of the block in the tree of objects, unless a deeper layer has added one.
    #[must_use]
    pub fn at_bookmark(mut self, bookmark: Bookmark) -> Self {
        self.0.1.bookmark.get_or_insert(bookmark);
        self
    }
}

impl<F: Into<Fault>> From<F> for Error {
    fn from(fault: F) -> Self {
        Self(Box::new((fault.into(), Place::default())))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.fault(), self.place())
    }
}

/// The known parts in brackets; nothing if there are none.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(vdev) = &self.vdev {
            parts.push(vdev.clone());
        }
        if let Some(offset) = self.offset {
            parts.push(format!("offset {offset:#x}"));
        }
        if let Some(address) = &self.address {
            parts.push(format!("block {address}"));
        }
        if let Some(bookmark) = &self.bookmark {
            parts.push(bookmark.to_string());
        }
        if !parts.is_empty() {
            write!(f, " ({})", parts.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BlockId, ObjectId};

    #[test]
    fn attempts_within_attempts_are_one_list() {
        let within = Error::from(Fault::NoGoodCopy(vec![Fault::Redacted.into(), Fault::Absent.into()]));
        let all = vec![within.on_vdev("raidz1-0"), Error::from(Fault::Absent).on_vdev("disk")];
        assert_eq!(
            Error::from(Fault::NoGoodCopy(all)).on_vdev("mirror-0").to_string(),
            "no copy is intact: block is redacted; content is not in the stream (raidz1-0); content is not in the \
             stream (disk) (mirror-0)"
        );
        // The text of another fault that begins in the same way is complete.
        let other = Error::from(Fault::Unsupported("no copy is intact: that".to_owned()));
        assert_eq!(
            Error::from(Fault::NoGoodCopy(vec![other])).to_string(),
            "no copy is intact: no copy is intact: that is not supported"
        );
    }

    #[test]
    fn the_deepest_layer_names_the_place() {
        let bookmark = Bookmark { objset: 54, object: ObjectId(2), level: 0, block: BlockId(7) };
        let error = Error::corrupt("dnode", "nlevels 9, at most 8")
            .on_vdev("/dev/sda")
            .on_vdev("mirror-0")
            .at_offset(0x400000)
            .at_bookmark(bookmark);
        assert_eq!(
            error.to_string(),
            "corrupt dnode: nlevels 9, at most 8 (/dev/sda, offset 0x400000, objset 54 object 2 level 0 block 7)"
        );
    }

    #[test]
    fn what_is_missing_has_a_kind_of_its_own() {
        let cases: [(Error, &str, Errno); 6] = [
            (Fault::NoObject(ObjectId(7)).into(), "object 7 not found", Errno::ENOENT),
            (Error::no_entry("ZAP entry", "a"), "ZAP entry a not found", Errno::ENOENT),
            (Fault::NoMember("/dev/sda".to_owned()).into(), "member /dev/sda not found", Errno::ENXIO),
            (Error::no_vdev(3), "top-level vdev 3 not found", Errno::ENXIO),
            (Fault::NoMapping(2).into(), "mapping of removed vdev 2 not found", Errno::ENXIO),
            (Fault::NoLabels(Error::no_vdev(1)).into(), NO_LABELS, Errno::ENXIO),
        ];
        for (error, text, errno) in cases {
            assert_eq!((error.to_string(), error.errno()), (text.to_owned(), errno));
        }
    }

    const NO_LABELS: &str = "too much of the pool is missing: no labels were found for some of its vdevs: top-level vdev 1 not found";

    #[test]
    fn an_error_is_one_word() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }
}
