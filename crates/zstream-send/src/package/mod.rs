//! Packages: several snapshots in one stream, with the description of their datasets for `zfs receive`.
//!
//! ```text
//! BEGIN  header type 2, "pool/fs@last"; payload: a list in XDR, or nothing (-I alone)
//! END    the sum of the above; no sum of its own
//! substream ...
//! END    zero
//! ```

mod list;
mod order;
mod props;

use std::io::{self, Write};

use zstream_format::checksum::Checksum;
use zstream_format::flags::{BeginFlags, FeatureFlags, HeaderType, VersionInfo};
use zstream_format::ids::Guid;
use zstream_format::nvlist::{NvList, Packed};
use zstream_format::order::ByteOrder;
use zstream_format::record::{BEGIN_MAGIC, Begin, End, Header};
use zstream_format::stream::{self, StreamWriter, Trailers};

pub(crate) use list::{Gather, children};
pub(crate) use order::{Range, in_order, snapshots};

use crate::error::{Error, Fault};
use crate::refusal::Refusal;

/// The maximum size of a list that libzfs receives, and so sends, in bytes (`SENDRECV_MAX_NVLIST`).
pub const PACKAGE_LIST_BYTES_MAX: usize = 64 << 20;

/// The header before the substreams of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageHeader {
    /// The name, `pool/fs@last`.
    pub name: String,
    /// The features: HOLDS or none.
    pub features: FeatureFlags,
    /// The packed list; empty if there is none.
    pub list: Vec<u8>,
}

impl PackageHeader {
    /// Creates a header without a list.
    pub(crate) fn new(name: String, holds: bool) -> Self {
        let features = if holds { FeatureFlags::HOLDS } else { FeatureFlags::empty() };
        Self { name, features, list: Vec::new() }
    }

    /// Adds a list, or fails if it is longer than `limit` bytes.
    pub(crate) fn with_list(self, list: &NvList, limit: usize) -> Result<Self, Refusal> {
        let list = list.encode(Packed::xdr(ByteOrder::NATIVE))?;
        if list.len() > limit {
            return Err(Refusal::ListTooLarge { bytes: list.len(), limit });
        }
        Ok(Self { list, ..self })
    }

    /// Writes BEGIN, the list and END. Returns the number of bytes.
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<u64, Error> {
        let order = ByteOrder::NATIVE;
        let begin = Begin {
            magic: BEGIN_MAGIC,
            version_info: VersionInfo::new(HeaderType::Package, self.features),
            creation_time: 0,
            objset_type: 0,
            flags: BeginFlags::empty(),
            to_guid: Guid(0),
            from_guid: Guid(0),
            to_name: Begin::name_field(self.name.as_bytes())
                .ok_or_else(|| Fault::NameTooLong(self.name.clone()))?,
        };
        let mut header = Header::new(begin, order);
        let length = u32::try_from(self.list.len())
            .map_err(|_| Error::bad_plan(format!("the list of the package is {} bytes", self.list.len())))?;
        header.set_payload_len_field(length);
        let mut writer = StreamWriter::new(out).trailers(Trailers::Modern);
        writer.write(&header, &self.list).map_err(output)?;
        writer.write(&end(), &[]).map_err(output)?;
        Ok(writer.offset())
    }
}

/// Returns the record after the substreams: an empty END.
pub(crate) fn end() -> Header {
    Header::new(End { checksum: Checksum::default(), to_guid: Guid(0) }, ByteOrder::NATIVE)
}

fn output(error: stream::Error) -> Error {
    // An error of `write_all` has no useful detail other than its kind.
    match error.fault() {
        stream::Fault::Io(error) => Fault::Output(io::Error::new(error.kind(), error.to_string())).into(),
        _ => Error::internal(error.to_string()),
    }
}
