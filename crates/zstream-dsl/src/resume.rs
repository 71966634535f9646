//! Resume tokens of partial receives (`get_receive_resume_token`).
//!
//! A receive that can be resumed keeps where it stands among the entries of the dataset it fills: the dataset
//! itself where the stream is a full one, its hidden child `%recv` where it is an increment.

use zstream_dmu::zap::Value;
use zstream_format::nvlist::NvString;
use zstream_format::order::ByteOrder;
use zstream_format::token::ResumeToken;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::reader::{Mos, RECEIVE_CHILD};

/// What the names of most of these entries begin with.
pub(crate) const STATE: &str = "com.delphix:resume_";

/// The entry that says that what comes is raw.
pub const RAW_RECEIVE: &str = "com.datto:resume_rawok";

impl<M: Mos> Dataset<M> {
    /// Whether this is what a receive that can be resumed was filling.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn has_receive_state(&self) -> Result<bool> {
        Ok(self.is_inconsistent() && self.receive_entry("toguid")?.is_some())
    }

    /// A number of where a partial receive stands, by the end of its name; 0 where it is not there.
    ///
    /// # Errors
    /// When its entries cannot be read.
    pub fn receive_number(&self, name: &str) -> Result<u64> {
        Ok(self.receive_entry(name)?.map_or(Ok(0), |value| value.u64())?)
    }

    fn receive_entry(&self, name: &str) -> Result<Option<Value>> {
        self.entry(&format!("{STATE}{name}"))
    }

    /// Where the partial receive into this head stands; none where there is none, or it cannot be resumed.
    ///
    /// # Errors
    /// When its entries cannot be read or are not as ZFS writes them.
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
