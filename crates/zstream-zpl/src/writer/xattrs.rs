//! Writing extended attributes: short ones packed in a system attribute, long ones as files in a hidden directory.

use zstream_dmu::object_store::ObjectStore;
use zstream_format::nvlist::{NvList, NvString, NvValue, Packed};
use zstream_format::order::ByteOrder;

use super::Writer;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::xattr::VALUE_BYTES_MAX;

/// The maximum size of a packed value in bytes (`DXATTR_MAX_ENTRY_SIZE`).
pub(super) const PACKED_VALUE_BYTES_MAX: usize = 32 << 10;
/// The maximum size of the packed list in bytes (`DXATTR_MAX_SA_SIZE`).
pub(super) const PACKED_BYTES_MAX: usize = 64 << 10;
/// The maximum length of a name in bytes (`XATTR_NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;

pub(super) fn pack(list: &NvList) -> Result<Vec<u8>> {
    list.encode(Packed::xdr(ByteOrder::Little))
        .map_err(|error| Error::bad_request(format!("extended attributes cannot be packed: {error}")))
}

impl Writer {
    /// Replaces the extended attributes of a node. The caller stores the attributes of the node afterwards.
    pub(super) fn put_xattrs(
        &mut self,
        set: &mut dyn ObjectStore,
        node: &mut Node,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<()> {
        if let Some(directory) = node.xattr_directory.take() {
            self.free_xattr_directory(set, directory, 0)?;
        }
        node.packed_xattrs = None;
        let mut sorted: Vec<&(Vec<u8>, Vec<u8>)> = xattrs.iter().collect();
        sorted.sort();
        let mut list = NvList::new();
        // The packed list is as long as an empty one and its pairs. To pack it for each attribute anew would take time in the
        // square of their number.
        let empty_bytes = pack(&list)?.len();
        let mut packed_bytes = empty_bytes;
        let mut in_files = Vec::new();
        for (name, value) in sorted {
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(&0) || name.contains(&b'/') {
                return Err(Error::bad_request(format!(
                    "name of an extended attribute is {:?}, expected 1 to {NAME_BYTES_MAX} bytes without slash and NUL",
                    String::from_utf8_lossy(name)
                )));
            }
            if value.len() as u64 > VALUE_BYTES_MAX {
                return Err(Error::bad_request(format!(
                    "extended attribute is {} bytes, the limit is {VALUE_BYTES_MAX}",
                    value.len()
                )));
            }
            if self.settings.xattrs_inline && value.len() <= PACKED_VALUE_BYTES_MAX {
                let mut alone = NvList::new();
                alone.push(NvString::from(&name[..]), NvValue::ByteArray(value.clone()));
                let longer = packed_bytes + pack(&alone)?.len() - empty_bytes;
                if longer <= PACKED_BYTES_MAX {
                    list.push(NvString::from(&name[..]), NvValue::ByteArray(value.clone()));
                    packed_bytes = longer;
                    continue;
                }
            }
            in_files.push((name, value));
        }
        node.packed_xattrs = if packed_bytes > empty_bytes { Some(pack(&list)?) } else { None };
        if !in_files.is_empty() {
            let directory = self.make_xattr_directory(set, node)?;
            node.xattr_directory = Some(directory);
            let directory = self.node(set, directory)?;
            for (name, value) in in_files {
                self.make_xattr_file(set, &directory, name, value)?;
            }
        }
        Ok(())
    }
}
