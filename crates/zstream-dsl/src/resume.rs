//! Resume tokens of partial receives (`get_receive_resume_token`).
//!
//! A receive that can be resumed keeps where it stands among the entries of the dataset it fills: the dataset
//! itself where the stream is a full one, its hidden child `%recv` where it is an increment.

use zstream_format::nvlist::NvString;
use zstream_format::order::ByteOrder;
use zstream_format::token::ResumeToken;

use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// The child that an incremental receive fills.
const RECEIVE_CHILD: &str = "%recv";

impl Dataset {
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
        let entry = |name: &str| self.entry(&format!("com.delphix:resume_{name}"));
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
            raw: self.entry("com.datto:resume_rawok")?.is_some(),
            redact_snaps: self.redaction_snapshots()?,
            book_redact_snaps: numbers("redact_book_snaps")?,
            others: Vec::new(),
            order: ByteOrder::NATIVE,
        }))
    }
}
