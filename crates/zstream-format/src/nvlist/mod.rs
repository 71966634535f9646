//! nvlists: the named, typed values that ZFS puts into streams, labels, tokens and histories.
//!
//! A packed list is a 4-byte header and a body in one of two encodings ([`Encoding`]). Kernel BEGIN
//! payloads and resume tokens are native, in the byte order of the machine that wrote them; package
//! headers, vdev labels and the pool's config are XDR.
//!
//! ```text
//! 0 encoding: 0 native, 1 XDR     4 version, i32 = 0    then pairs and an end marker:
//! 1 byte order: 0 big, 1 little   8 nvflag, u32         native [`native`], XDR [`xdr`]
//! 2 0 0
//! ```
//!
//! What holds:
//! - pairs keep their order, and two pairs of one name both stay: a look-up finds the later, a walk both;
//! - [`Decoded::packed`] says how a list was packed, so that packing it again gives the same bytes
//!   (padding that is not zero, which no ZFS writes, is the exception);
//! - decoding takes memory in proportion to the bytes it read, at most about ten times as much, and stack
//!   for [`MAX_DEPTH`] lists;
//! - bytes that the decoder takes are bytes that OpenZFS takes. The reverse is not quite true: where its
//!   user-space library is more lenient than its kernel code, this decoder is with the kernel.
//!
//! The structure is `nvlist_t` of OpenZFS's `libnvpair`; the codecs are those of `nvpair.c`.

mod error;
mod native;
mod packed;
mod print;
mod value;
mod xdr;

pub use error::{NvError, NvFault};
pub use packed::{Decoded, Encoding, Packed};
pub use value::{DataType, NvString, NvValue};

/// Lists may be nested this many levels below the outermost one (libnvpair in user space; the kernel's
/// own limit is 20).
pub const MAX_DEPTH: usize = 100;

/// A packed list may have this many bytes: what the kernel takes as the payload of a BEGIN record.
/// (`zfs` itself stops at 64 MiB unless told otherwise.)
pub const MAX_PACKED_LEN: usize = 256 << 20;

/// A pair's name may have this many bytes: with its NUL it has to fit the `i16` of a native pair.
pub const MAX_NAME_LEN: usize = i16::MAX as usize - 1;

/// A name and its value (`nvpair_t`).
#[derive(Clone, Debug, PartialEq)]
pub struct NvPair {
    /// The name, which may be empty.
    pub name: NvString,
    /// The value.
    pub value: NvValue,
}

/// An ordered list of named values (`nvlist_t`).
#[derive(Clone, Debug, PartialEq)]
pub struct NvList {
    /// 0 in every list that ZFS makes. Of the outermost list libnvpair does not check it.
    pub version: i32,
    /// Whether names are unique: [`NvList::UNIQUE_NAME`] in every list that ZFS sends, or
    /// [`NvList::UNIQUE_NAME_TYPE`], or 0.
    pub nvflag: u32,
    pairs: Vec<NvPair>,
}

impl Default for NvList {
    fn default() -> Self {
        Self::new()
    }
}

impl NvList {
    /// In [`NvList::nvflag`]: one pair per name (`NV_UNIQUE_NAME`).
    pub const UNIQUE_NAME: u32 = 1;
    /// In [`NvList::nvflag`]: one pair per name and type (`NV_UNIQUE_NAME_TYPE`).
    pub const UNIQUE_NAME_TYPE: u32 = 2;

    /// An empty list with unique names.
    #[must_use]
    pub fn new() -> Self {
        Self { version: 0, nvflag: Self::UNIQUE_NAME, pairs: Vec::new() }
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The pairs, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, NvPair> {
        self.pairs.iter()
    }

    /// The pairs, in order, to be changed.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, NvPair> {
        self.pairs.iter_mut()
    }

    /// The value of the last pair of that name. A walk from the end: to find many names in a list of many,
    /// walk it once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NvValue> {
        self.pairs.iter().rev().find(|pair| pair.name == *name).map(|pair| &pair.value)
    }

    /// Like [`NvList::get`], to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut NvValue> {
        self.pairs.iter_mut().rev().find(|pair| pair.name == *name).map(|pair| &mut pair.value)
    }

    /// Whether there is a pair of that name, of whatever type.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a pair at the end, whether or not the name is there already.
    pub fn push(&mut self, name: impl Into<NvString>, value: NvValue) -> &mut Self {
        self.pairs.push(NvPair { name: name.into(), value });
        self
    }

    /// Adds a pair at the end and takes away the pairs it replaces, as libnvpair's `nvlist_add_...` does:
    /// those of the same name, of the same name and type, or none, as [`NvList::nvflag`] says.
    pub fn set(&mut self, name: impl Into<NvString>, value: NvValue) -> &mut Self {
        let name = name.into();
        if self.nvflag & Self::UNIQUE_NAME != 0 {
            self.pairs.retain(|pair| pair.name != name);
        } else if self.nvflag & Self::UNIQUE_NAME_TYPE != 0 {
            self.pairs.retain(|pair| pair.name != name || pair.value.data_type() != value.data_type());
        }
        self.push(name, value)
    }

    /// Takes away every pair of that name and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.pairs.len();
        self.pairs.retain(|pair| pair.name != *name);
        before - self.pairs.len()
    }
}

impl NvList {
    /// The value that libnvpair's typed look-up finds. Where names are unique that is the last pair of the
    /// name, and another type means there is none; else it is the last of the name and type.
    fn typed(&self, name: &str, data_type: DataType) -> Option<&NvValue> {
        if self.nvflag & Self::UNIQUE_NAME != 0 {
            return self.get(name).filter(|value| value.data_type() == data_type);
        }
        let mut named = self.pairs.iter().rev().filter(|pair| pair.name == *name);
        named.find(|pair| pair.value.data_type() == data_type).map(|pair| &pair.value)
    }
}

/// Typed access: `get_...` looks a value of that type up, `add_...` adds a pair at the end like
/// [`NvList::push`].
macro_rules! access {
    ($($variant:ident, $get:ident -> $got:ty = |$value:ident| $give:expr, $add:ident($given:ty);)*) => {
        impl NvList {
            $(
                #[doc = concat!("The value of that name, if it is [`NvValue::", stringify!($variant), "`].")]
                ///
                /// Of several pairs of the name the last counts, as in [`NvList::get`]; where names are not
                /// unique ([`NvList::nvflag`]) the last of this type.
                #[must_use]
                pub fn $get(&self, name: &str) -> Option<$got> {
                    match self.typed(name, DataType::$variant) {
                        Some(NvValue::$variant($value)) => Some($give),
                        _ => None,
                    }
                }

                #[doc = concat!("Adds a pair of [`NvValue::", stringify!($variant), "`] at the end.")]
                pub fn $add(&mut self, name: impl Into<NvString>, value: $given) -> &mut Self {
                    self.push(name, NvValue::$variant(value.into()))
                }
            )*
        }
    };
}

access! {
    Byte, get_byte -> u8 = |value| *value, add_byte(u8);
    Int8, get_i8 -> i8 = |value| *value, add_i8(i8);
    Uint8, get_u8 -> u8 = |value| *value, add_u8(u8);
    Int16, get_i16 -> i16 = |value| *value, add_i16(i16);
    Uint16, get_u16 -> u16 = |value| *value, add_u16(u16);
    Int32, get_i32 -> i32 = |value| *value, add_i32(i32);
    Uint32, get_u32 -> u32 = |value| *value, add_u32(u32);
    Int64, get_i64 -> i64 = |value| *value, add_i64(i64);
    Uint64, get_u64 -> u64 = |value| *value, add_u64(u64);
    Hrtime, get_hrtime -> i64 = |value| *value, add_hrtime(i64);
    Double, get_double -> f64 = |value| *value, add_double(f64);
    BooleanValue, get_boolean_value -> bool = |value| *value, add_boolean_value(bool);
    String, get_string -> &NvString = |value| value, add_string(impl Into<NvString>);
    List, get_list -> &NvList = |value| value, add_list(NvList);
    ListArray, get_list_array -> &[NvList] = |value| value, add_list_array(Vec<NvList>);
    ByteArray, get_byte_array -> &[u8] = |value| value, add_byte_array(Vec<u8>);
    Int8Array, get_i8_array -> &[i8] = |value| value, add_i8_array(Vec<i8>);
    Uint8Array, get_u8_array -> &[u8] = |value| value, add_u8_array(Vec<u8>);
    Int16Array, get_i16_array -> &[i16] = |value| value, add_i16_array(Vec<i16>);
    Uint16Array, get_u16_array -> &[u16] = |value| value, add_u16_array(Vec<u16>);
    Int32Array, get_i32_array -> &[i32] = |value| value, add_i32_array(Vec<i32>);
    Uint32Array, get_u32_array -> &[u32] = |value| value, add_u32_array(Vec<u32>);
    Int64Array, get_i64_array -> &[i64] = |value| value, add_i64_array(Vec<i64>);
    Uint64Array, get_u64_array -> &[u64] = |value| value, add_u64_array(Vec<u64>);
    BooleanArray, get_boolean_array -> &[bool] = |value| value, add_boolean_array(Vec<bool>);
    StringArray, get_string_array -> &[NvString] = |value| value, add_string_array(Vec<NvString>);
}

impl NvList {
    /// The value of that name, if it is a string and UTF-8; see [`NvList::get_string`].
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get_string(name).and_then(NvString::to_str)
    }

    /// Whether there is a [`NvValue::Boolean`] of that name: the type that says yes by being there.
    #[must_use]
    pub fn get_boolean(&self, name: &str) -> bool {
        self.typed(name, DataType::Boolean).is_some()
    }

    /// Adds a pair of [`NvValue::Boolean`] at the end.
    pub fn add_boolean(&mut self, name: impl Into<NvString>) -> &mut Self {
        self.push(name, NvValue::Boolean)
    }
}

impl<'a> IntoIterator for &'a NvList {
    type Item = &'a NvPair;
    type IntoIter = std::slice::Iter<'a, NvPair>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for NvList {
    type Item = NvPair;
    type IntoIter = std::vec::IntoIter<NvPair>;

    fn into_iter(self) -> Self::IntoIter {
        self.pairs.into_iter()
    }
}

impl FromIterator<NvPair> for NvList {
    /// A list with unique names in its flag and these pairs, as they come.
    fn from_iter<I: IntoIterator<Item = NvPair>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().collect(), ..Self::new() }
    }
}
