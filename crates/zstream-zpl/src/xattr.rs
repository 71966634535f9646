//! Extended attributes: packed in a system attribute, or as files in a directory of their own.
//!
//! Names are as stored: with their namespace if Linux wrote them (`user.note`), without it if another
//! system did, or Linux in its compatibility mode.

use zstream_dmu::error::{Error, Result};
use zstream_dmu::ids::ObjectId;
use zstream_format::nvlist::{NvList, NvValue};

use crate::fs::Filesystem;
use crate::node::Node;

/// The maximum size of a value that can be read, in bytes. Linux allows 64 KiB, other systems any size.
pub(crate) const VALUE_BYTES_MAX: u64 = 64 << 20;

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Xattr {
    /// The name.
    pub name: Vec<u8>,
    /// The value.
    pub value: XattrValue,
}

/// The value of an extended attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XattrValue {
    /// A value packed in a system attribute (`xattr=sa`).
    Inline(Vec<u8>),
    /// A value in a file of its own (`xattr=dir`).
    File(ObjectId),
}

impl Filesystem<'_> {
    /// Reads the extended attributes of a node, sorted by name. If one is stored both ways, the packed one is returned, as
    /// in OpenZFS.
    ///
    /// # Errors
    /// Fails if they cannot be read or are invalid.
    pub fn xattrs(&self, node: &Node) -> Result<Vec<Xattr>> {
        let mut xattrs = Vec::new();
        if let Some(packed) = node.packed_xattrs.as_deref().filter(|packed| !packed.is_empty()) {
            let bad = |detail: String| {
                Error::corrupt("extended attributes", format!("{detail} (object {})", node.object))
            };
            let list = NvList::decode(packed).map_err(|error| bad(error.to_string()))?.list;
            for pair in list.iter() {
                let NvValue::ByteArray(value) = &pair.value else {
                    return Err(bad(format!(
                        "{} is of type {}, expected bytes",
                        pair.name,
                        pair.value.data_type()
                    )));
                };
                let name = pair.name.as_bytes().to_vec();
                if name.is_empty() {
                    return Err(bad("a name is empty".to_owned()));
                }
                xattrs.push(Xattr { name, value: XattrValue::Inline(value.clone()) });
            }
        }
        if let Some(directory) = node.xattr_directory {
            for entry in self.directory(directory)?.entries() {
                let entry = entry?;
                xattrs.push(Xattr { name: entry.name, value: XattrValue::File(entry.object) });
            }
        }
        // The sort is stable, so the packed one is first.
        xattrs.sort_by(|a, b| a.name.cmp(&b.name));
        xattrs.dedup_by(|later, kept| later.name == kept.name);
        Ok(xattrs)
    }

    /// Reads the value of an extended attribute.
    ///
    /// # Errors
    /// Fails if it cannot be read or is larger than 64 MiB.
    pub fn xattr_value(&self, xattr: &Xattr) -> crate::error::Result<Vec<u8>> {
        match &xattr.value {
            XattrValue::Inline(value) => Ok(value.clone()),
            XattrValue::File(object) => {
                Ok(self.content(&self.node(*object)?)?.small("extended attribute", VALUE_BYTES_MAX)?)
            }
        }
    }
}
