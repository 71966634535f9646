//! Resume tokens of interrupted receives (`get_receive_resume_token`).
//!
//! A resumable receive stores its state in the entries of the dataset that it fills: the dataset itself for a full
//! stream, its hidden child `%recv` for an increment.

use zstream_dmu::zap::Value;
use zstream_format::nvlist::NvString;
use zstream_format::order::ByteOrder;
use zstream_format::token::ResumeToken;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::reader::{Mos, RECEIVE_CHILD};

/// The prefix of most of these entries.
pub(crate) const STATE: &str = "com.delphix:resume_";

/// The entry that marks a raw receive.
pub const RAW_RECEIVE: &str = "com.datto:resume_rawok";

impl<M: Mos> Dataset<M> {
    /// Returns `true` if it has the saved state of a resumable receive.
    ///
    /// # Errors
    /// Fails if its entries cannot be read.
    pub fn has_receive_state(&self) -> Result<bool> {
        Ok(self.is_inconsistent() && self.receive_entry("toguid")?.is_some())
    }

    /// Returns a number from the saved state, by the end of its name; 0 if it is missing.
    ///
    /// # Errors
    /// Fails if its entries cannot be read.
    pub fn receive_number(&self, name: &str) -> Result<u64> {
        Ok(self.receive_entry(name)?.map_or(Ok(0), |value| value.u64())?)
    }

    fn receive_entry(&self, name: &str) -> Result<Option<Value>> {
        self.entry(&format!("{STATE}{name}"))
    }

    /// Returns the resume token of this head; `None` if it has no saved state, or the receive cannot be resumed.
    ///
    /// # Errors
    /// Fails if its entries cannot be read or are not in ZFS's format.
    pub fn resume_token(&self) -> Result<Option<ResumeToken>> {
        if self.is_snapshot() {
            return Ok(None);
        }
        if let Some(token) = self.own_resume_token()? {
            return Ok(Some(token));
        }
        match self.dir().child(RECEIVE_CHILD)? {
            Some(child) => child.head()?.own_resume_token(),
            None => Ok(None),
        }
    }

    fn own_resume_token(&self) -> Result<Option<ResumeToken>> {
        if !self.is_inconsistent() {
            return Ok(None);
        }
        let entry = |name: &str| self.receive_entry(name);
        let Some(name) = entry("toname")? else { return Ok(None) };
        let required = |name: &'static str| {
            let missing = || Error::corrupt("receive state", format!("{} has no {name}", self.name()));
            Ok::<_, Error>(entry(name)?.ok_or_else(missing)?.u64()?)
        };
        let numbers = |name: &str| Ok::<_, Error>(entry(name)?.map(|value| value.u64s()));
        Ok(Some(ResumeToken {
            from_guid: entry("fromguid")?.map(|value| value.u64()).transpose()?,
            object: required("object")?,
            offset: required("offset")?,
            bytes: required("bytes")?,
            to_guid: required("toguid")?,
            to_name: NvString::from(name.c_string()?),
            large_blocks: entry("largeblockok")?.is_some(),
            embedded: entry("embedok")?.is_some(),
            compressed: entry("compressok")?.is_some(),
            raw: self.entry(RAW_RECEIVE)?.is_some(),
            redact_snaps: self.redaction_snapshots()?,
            book_redact_snaps: numbers("redact_book_snaps")?,
            others: Vec::new(),
            order: ByteOrder::NATIVE,
        }))
    }
}
