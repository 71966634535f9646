//! System attributes: the attributes of nodes in bonus buffers and spill blocks (ZPL version 5).
//!
//! ```text
//! 0  `SaHeader`: layout, size of the header
//! 6  lengths u16[]: of the attributes of variable length, in order
//!    attributes in the order of the layout, each at a multiple of 8
//! ```
//!
//! Each filesystem has its own numbers of attributes and layouts: the master ZAP refers to a registry (name to
//! number, length and byte order) and to the layouts (number to attribute numbers). A header may be in either
//! byte order, independent of its block; decoded attributes are little-endian.

use std::collections::HashMap;

use zstream_dmu::error::{Error, Fault, Result};
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::object_store::ObjectStore;
use zstream_dmu::zap::{Value, Zap, ZapMut};
use zstream_format::byteswap;
use zstream_format::object_type::SwapClass;
use zstream_format::order::ByteOrder;
use zstream_format::phys::SaHeader;

/// The size of the smallest header, which has room for one length.
pub(crate) const HEADER_BYTES_MIN: usize = 8;
/// The offset of the lengths of attributes in a header.
pub(crate) const LENGTHS_OFFSET: usize = SaHeader::LEN;

/// The limit for the number of attributes in a filesystem: OpenZFS has some twenty.
const ATTRIBUTES_MAX: usize = 4096;
/// The lowest number of a layout; lower numbers are reserved.
const FIRST_LAYOUT: u16 = 2;
/// The limit for the number of layouts: a number has 10 bits.
const LAYOUTS_MAX: usize = 1024;

/// The attributes by number: name, length in bytes (0 if variable), byteswap kind.
pub(crate) const REGISTRY: [(&str, u64, u64); 22] = [
    ("ZPL_ATIME", 16, 0),
    ("ZPL_MTIME", 16, 0),
    ("ZPL_CTIME", 16, 0),
    ("ZPL_CRTIME", 16, 0),
    ("ZPL_GEN", 8, 0),
    ("ZPL_MODE", 8, 0),
    ("ZPL_SIZE", 8, 0),
    ("ZPL_PARENT", 8, 0),
    ("ZPL_LINKS", 8, 0),
    ("ZPL_XATTR", 8, 0),
    ("ZPL_RDEV", 8, 0),
    ("ZPL_FLAGS", 8, 0),
    ("ZPL_UID", 8, 0),
    ("ZPL_GID", 8, 0),
    ("ZPL_PAD", 32, 0),
    ("ZPL_ZNODE_ACL", 88, 3),
    ("ZPL_DACL_COUNT", 8, 0),
    ("ZPL_SYMLINK", 0, 3),
    ("ZPL_SCANSTAMP", 32, 3),
    ("ZPL_DACL_ACES", 0, 4),
    ("ZPL_DXATTR", 0, 3),
    ("ZPL_PROJID", 8, 0),
];

/// Declares the known attributes with the names under which they are registered.
macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An attribute of a node (`zpl_attr_t`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Attribute { $($(#[$doc])* $name,)* }

        impl Attribute {
            fn from_name(name: &[u8]) -> Option<Self> {
                $(if name == $text.as_bytes() { return Some(Self::$name); })*
                None
            }

            /// The name under which the attribute is registered.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

attributes! {
    /// The time of the last access.
    Atime = "ZPL_ATIME",
    /// The time of the last change of the content.
    Mtime = "ZPL_MTIME",
    /// The time of the last change of content or attributes.
    Ctime = "ZPL_CTIME",
    /// The creation time.
    Crtime = "ZPL_CRTIME",
    /// The transaction group of creation.
    Gen = "ZPL_GEN",
    /// The type and the permissions.
    Mode = "ZPL_MODE",
    /// The size.
    Size = "ZPL_SIZE",
    /// The directory that the node was created in or moved to.
    Parent = "ZPL_PARENT",
    /// The number of names.
    Links = "ZPL_LINKS",
    /// The directory of extended attributes.
    Xattr = "ZPL_XATTR",
    /// The device number.
    Rdev = "ZPL_RDEV",
    /// The flags.
    Flags = "ZPL_FLAGS",
    /// The user.
    Uid = "ZPL_UID",
    /// The group.
    Gid = "ZPL_GID",
    /// The ACL in the form of znodes before version 5.
    ZnodeAcl = "ZPL_ZNODE_ACL",
    /// The number of entries of the ACL.
    DaclCount = "ZPL_DACL_COUNT",
    /// The target of a symbolic link.
    Symlink = "ZPL_SYMLINK",
    /// The entries of the ACL.
    DaclAces = "ZPL_DACL_ACES",
    /// The extended attributes, a packed nvlist.
    Dxattr = "ZPL_DXATTR",
    /// The project.
    Projid = "ZPL_PROJID",
}

struct Registered {
    /// The attribute; `None` if it is unknown and therefore skipped.
    attribute: Option<Attribute>,
    /// The length in bytes; 0 if it is variable.
    length: usize,
    class: SwapClass,
}

/// The attributes and layouts of one filesystem.
#[derive(Default)]
pub struct Registry {
    attributes: HashMap<u16, Registered>,
    layouts: HashMap<u16, Vec<u16>>,
    /// The ZAP of the attributes, if it exists.
    attributes_object: Option<ObjectId>,
    /// The ZAP of the layouts, if it exists.
    layouts_object: Option<ObjectId>,
}

/// An attribute in a bonus or spill block.
pub(crate) struct StoredAttribute<'a> {
    pub(crate) attribute: Attribute,
    class: SwapClass,
    pub(crate) order: ByteOrder,
    pub(crate) range: std::ops::Range<usize>,
    value: &'a [u8],
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({} attributes, {} layouts)", self.attributes.len(), self.layouts.len())
    }
}

fn bad(detail: String) -> Error {
    Error::corrupt("system attributes", detail)
}

impl Registry {
    /// Reads the registry and the layouts that the master ZAP refers to.
    ///
    /// # Errors
    /// Fails if a ZAP cannot be read or is invalid.
    pub fn open(set: &dyn ObjectSet, master: ObjectId) -> Result<Self> {
        let zap = Zap::open(set, master)?;
        let mut registry = Self::default();
        // A filesystem without any file of version 5 may have neither.
        if let Some(object) = zap.lookup_u64("REGISTRY")? {
            registry.attributes_object = Some(ObjectId(object));
            for entry in Zap::open(set, ObjectId(object))?.entries() {
                let entry = entry?;
                registry.register(entry.key.name()?, entry.value.u64()?)?;
            }
        }
        if let Some(object) = zap.lookup_u64("LAYOUTS")? {
            registry.layouts_object = Some(ObjectId(object));
            for entry in Zap::open(set, ObjectId(object))?.entries() {
                let entry = entry?;
                let number =
                    entry.key.text()?.parse().ok().filter(|number| usize::from(*number) < LAYOUTS_MAX);
                let number =
                    number.ok_or_else(|| bad(format!("layout {} is not a valid number", entry.key)))?;
                let layout = entry.value.u64s().into_iter().map(|number| number as u16).collect();
                registry.layouts.insert(number, layout);
            }
        }
        Ok(registry)
    }

    fn register(&mut self, name: &[u8], word: u64) -> Result<()> {
        let class = match word >> 16 & 0xff {
            0 => SwapClass::U64,
            1 => SwapClass::U32,
            2 => SwapClass::U16,
            3 => SwapClass::U8,
            4 => SwapClass::Acl,
            other => {
                let name = String::from_utf8_lossy(name);
                return Err(bad(format!("byteswap kind of attribute {name:?} is {other}, expected 0 to 4")));
            }
        };
        if self.attributes.len() >= ATTRIBUTES_MAX {
            let (size, limit) = (self.attributes.len() as u64 + 1, ATTRIBUTES_MAX as u64);
            return Err(Fault::TooLarge { what: "registry of attributes", size, limit }.into());
        }
        let (attribute, length) = (Attribute::from_name(name), usize::from((word >> 24) as u16));
        self.attributes.insert(word as u16, Registered { attribute, length, class });
        Ok(())
    }

    /// Decodes a bonus or spill block: calls `found` with each known attribute, little-endian.
    ///
    /// # Errors
    /// Fails if the block does not match its header and layout, and with the errors of `found`.
    pub fn each(&self, block: &[u8], mut found: impl FnMut(Attribute, &[u8]) -> Result<()>) -> Result<()> {
        self.visit(block, |StoredAttribute { attribute, class, order, value, .. }| {
            if order == ByteOrder::Little {
                return found(attribute, value);
            }
            let mut swapped = value.to_vec();
            byteswap::swap(class, &mut swapped, order)?;
            found(attribute, &swapped)
        })
    }

    /// Decodes a bonus or spill block.
    pub(crate) fn visit(
        &self,
        block: &[u8],
        mut found: impl FnMut(StoredAttribute<'_>) -> Result<()>,
    ) -> Result<()> {
        if block.len() < HEADER_BYTES_MIN {
            return Err(bad(format!(
                "block is {} bytes, the header requires {HEADER_BYTES_MIN}",
                block.len()
            )));
        }
        let (header, order) = SaHeader::find(block).ok_or_else(|| {
            bad(format!("magic is {:#x}, expected {:#x}", ByteOrder::Little.u32(block), SaHeader::MAGIC))
        })?;
        let (number, header_bytes) = (header.layout(), header.header_bytes());
        if header_bytes < HEADER_BYTES_MIN || header_bytes > block.len() {
            return Err(bad(format!("header is {header_bytes} bytes, the block has {}", block.len())));
        }
        let layout = self.layouts.get(&number).ok_or_else(|| bad(format!("layout {number} is unknown")))?;
        let mut lengths = block[LENGTHS_OFFSET..header_bytes].chunks_exact(2);
        let mut at = header_bytes;
        for number in layout {
            let registered = self
                .attributes
                .get(number)
                .ok_or_else(|| bad(format!("attribute {number} is not registered")))?;
            let length = match registered.length {
                0 => match lengths.next() {
                    Some(length) => usize::from(order.u16(length)),
                    None => return Err(bad(format!("attribute {number} has no length"))),
                },
                length => length,
            };
            let value = block.get(at..).and_then(|rest| rest.get(..length)).ok_or_else(|| {
                bad(format!("attribute {number} is {length} bytes at {at}, the block has {}", block.len()))
            })?;
            if let Some(attribute) = registered.attribute {
                found(StoredAttribute {
                    attribute,
                    class: registered.class,
                    order,
                    range: at..at + length,
                    value,
                })?;
            }
            at = (at + length).next_multiple_of(8);
        }
        Ok(())
    }
}

// Extensions of the registry of an existing filesystem when files are written.
impl Registry {
    /// Returns the number of an attribute, and registers the attribute if necessary (`sa_attr_register_sync`).
    pub(crate) fn number(&mut self, set: &mut dyn ObjectStore, attribute: Attribute) -> Result<u16> {
        let found = self.attributes.iter().find(|(_, registered)| registered.attribute == Some(attribute));
        if let Some((number, _)) = found {
            return Ok(*number);
        }
        let object = self.attributes_object.ok_or_else(|| bad("registry is missing".to_owned()))?;
        let word = registration(attribute)?;
        let number = self.attributes.keys().max().map_or(0, |last| last.saturating_add(1));
        let word = word | u64::from(number);
        ZapMut::open(set, object)?.add(attribute.name(), &Value::word(word))?;
        self.register(attribute.name().as_bytes(), word)?;
        Ok(number)
    }

    /// The length of an attribute in bytes; `None` if it is variable.
    pub(crate) fn fixed_length(&self, number: u16) -> Option<usize> {
        self.attributes.get(&number).map(|registered| registered.length).filter(|length| *length != 0)
    }

    /// Returns the number of the layout with these attributes, and creates the layout if necessary (`sa_find_layout`).
    pub(crate) fn layout(&mut self, set: &mut dyn ObjectStore, attributes: &[u16]) -> Result<u16> {
        if let Some(number) =
            self.layouts.iter().filter(|(_, layout)| *layout == attributes).map(|(number, _)| *number).min()
        {
            return Ok(number);
        }
        let object = self.layouts_object.ok_or_else(|| bad("layouts are missing".to_owned()))?;
        let number = self.layouts.keys().max().map_or(FIRST_LAYOUT, |last| last + 1);
        if usize::from(number) >= LAYOUTS_MAX {
            return Err(Fault::TooLarge {
                what: "number of attribute layouts",
                size: number.into(),
                limit: LAYOUTS_MAX as u64 - 1,
            }
            .into());
        }
        ZapMut::open(set, object)?.add(number.to_string(), &Value::u16s(attributes))?;
        self.layouts.insert(number, attributes.to_vec());
        Ok(number)
    }
}

/// Returns the value of an attribute in the registry, without its number.
fn registration(attribute: Attribute) -> Result<u64> {
    let found = REGISTRY.iter().find(|(name, ..)| *name == attribute.name());
    let (_, length, class) =
        found.ok_or_else(|| bad(format!("{} cannot be registered", attribute.name())))?;
    Ok(length << 24 | class << 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A registry with mode, target and packed attributes; the latter two are of variable length.
    fn registry() -> Registry {
        let mut registry = Registry { layouts: HashMap::from([(2, vec![5, 17, 20])]), ..Registry::default() };
        registry.register(b"ZPL_MODE", 8 << 24 | 5).unwrap();
        registry.register(b"ZPL_SYMLINK", 3 << 16 | 17).unwrap();
        registry.register(b"ZPL_DXATTR", 3 << 16 | 20).unwrap();
        registry
    }

    fn block(order: ByteOrder) -> Vec<u8> {
        let mut block = vec![0; 16 + 8 + 8 + 5];
        SaHeader::new(2, 16).encode(&mut block, order);
        order.put_u16(&mut block[6..], 3);
        order.put_u16(&mut block[8..], 5);
        order.put_u64(&mut block[16..], 0o100_644);
        block[24..27].copy_from_slice(b"abc");
        block[32..].copy_from_slice(b"defgh");
        block
    }

    fn values(block: &[u8]) -> Result<Vec<(Attribute, Vec<u8>)>> {
        let mut found = Vec::new();
        registry().each(block, |attribute, value| {
            found.push((attribute, value.to_vec()));
            Ok(())
        })?;
        Ok(found)
    }

    /// The magic number identifies the byte order, and each attribute is swapped according to its kind.
    #[test]
    fn both_byte_orders_give_the_same() {
        let expected = [
            (Attribute::Mode, 0o100_644_u64.to_le_bytes().to_vec()),
            (Attribute::Symlink, b"abc".to_vec()),
            (Attribute::Dxattr, b"defgh".to_vec()),
        ];
        for order in [ByteOrder::Little, ByteOrder::Big] {
            assert_eq!(values(&block(order)).unwrap(), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (at, value, text) in [
            (0, 0, "magic is 0x2f5000"),
            (4, 3, "layout 3 is unknown"),
            (5, 0xfc, "header is 504 bytes, the block has 37"),
            (5, 0x04, "attribute 20 has no length"),
            (8, 6, "attribute 20 is 6 bytes at 32, the block has 37"),
        ] {
            let mut block = block(ByteOrder::Little);
            block[at] = value;
            let error = values(&block).unwrap_err().to_string();
            assert!(error.contains(text), "byte {at} = {value} gives {error:?}, expected {text:?}");
        }
    }

    proptest! {
        /// With any bytes, no value extends beyond them.
        #[test]
        fn any_bytes_give_values_or_an_error(
            flips in proptest::collection::vec((0_usize..37, any::<u8>()), 0..6), length in 0_usize..38
        ) {
            let mut block = block(ByteOrder::Little);
            for (at, value) in flips {
                block[at] = value;
            }
            if let Ok(found) = values(&block[..length]) {
                let bytes: usize = found.iter().map(|(_, value)| value.len()).sum();
                prop_assert!(bytes <= length);
            }
        }
    }
}
