//! nvlists: the lists of named, typed values in streams, labels, tokens and histories.
//!
//! A packed list is a 4-byte header and a body in one of two encodings ([`Encoding`]). BEGIN payloads of
//! the kernel and resume tokens are native, in the byte order of the machine that wrote them; package
//! headers, vdev labels and the config of the pool are XDR.
//!
//! ```text
//! 0 encoding: 0 native, 1 XDR     4 version, i32 = 0    then pairs and an end marker:
//! 1 byte order: 0 big, 1 little   8 nvflag, u32         native [`native`], XDR [`xdr`]
//! 2 0 0
//! ```
//!
//! Invariants:
//! - pairs keep their order, and two pairs of one name are both kept: a look-up finds the later, iteration both;
//! - [`Decoded::packed`] describes the encoding of a list, so that encoding it again gives the same bytes
//!   (except for padding that is not zero, which no ZFS writes);
//! - decoding uses memory in proportion to the bytes read, at most about ten times as much, and stack
//!   for [`MAX_DEPTH`] lists;
//! - OpenZFS accepts every list that the decoder accepts. The reverse does not hold: its user-space library
//!   is more lenient than its kernel code, and this decoder follows the kernel.
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

/// The maximum number of levels of lists below the outermost one, as in libnvpair in user space (the limit
/// of the kernel is 20).
pub const MAX_DEPTH: usize = 100;

/// The maximum size of a packed list in bytes, which is the maximum payload of a BEGIN record in the kernel
/// (the default limit of `zfs` is 64 MiB).
pub const MAX_PACKED_LEN: usize = 256 << 20;

/// The maximum length of the name of a pair in bytes: with its NUL it must fit the `i16` of a native pair.
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
#[non_exhaustive]
pub struct NvList {
    /// The version, 0 in every list that ZFS writes. libnvpair does not check that of the outermost list.
    pub version: i32,
    /// The uniqueness of names: [`NvList::UNIQUE_NAME`] in every list that ZFS sends, or
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
    /// The value of [`NvList::nvflag`] for one pair per name (`NV_UNIQUE_NAME`).
    pub const UNIQUE_NAME: u32 = 1;
    /// The value of [`NvList::nvflag`] for one pair per name and type (`NV_UNIQUE_NAME_TYPE`).
    pub const UNIQUE_NAME_TYPE: u32 = 2;

    /// Creates an empty list with unique names.
    #[must_use]
    pub fn new() -> Self {
        Self { version: 0, nvflag: Self::UNIQUE_NAME, pairs: Vec::new() }
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Returns `true` if the list has no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Returns an iterator over the pairs, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, NvPair> {
        self.pairs.iter()
    }

    /// Returns a mutable iterator over the pairs, in order.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, NvPair> {
        self.pairs.iter_mut()
    }

    /// Returns the value of the last pair with this name. The search is linear: to find many names in a long
    /// list, iterate over it once.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&NvValue> {
        self.pairs.iter().rev().find(|pair| pair.name == *name).map(|pair| &pair.value)
    }

    /// Returns the mutable value of the last pair with this name.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut NvValue> {
        self.pairs.iter_mut().rev().find(|pair| pair.name == *name).map(|pair| &mut pair.value)
    }

    /// Returns `true` if there is a pair with this name, of any type.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Adds a pair at the end, even if the name already exists.
    pub fn push(&mut self, name: impl Into<NvString>, value: NvValue) -> &mut Self {
        self.pairs.push(NvPair { name: name.into(), value });
        self
    }

    /// Adds a pair at the end and removes the pairs that it replaces, like libnvpair's `nvlist_add_...`:
    /// those of the same name, of the same name and type, or none, depending on [`NvList::nvflag`].
    pub fn set(&mut self, name: impl Into<NvString>, value: NvValue) -> &mut Self {
        let name = name.into();
        if self.nvflag & Self::UNIQUE_NAME != 0 {
            self.pairs.retain(|pair| pair.name != name);
        } else if self.nvflag & Self::UNIQUE_NAME_TYPE != 0 {
            self.pairs.retain(|pair| pair.name != name || pair.value.data_type() != value.data_type());
        }
        self.push(name, value)
    }

    /// Removes every pair with this name and returns their number.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.pairs.len();
        self.pairs.retain(|pair| pair.name != *name);
        before - self.pairs.len()
    }
}

impl NvList {
    /// Returns the value that libnvpair's typed look-up finds. If names are unique, that is the last pair with
    /// the name, or none if its type differs; otherwise it is the last pair with the name and type.
    fn typed(&self, name: &str, data_type: DataType) -> Option<&NvValue> {
        if self.nvflag & Self::UNIQUE_NAME != 0 {
            return self.get(name).filter(|value| value.data_type() == data_type);
        }
        let mut named = self.pairs.iter().rev().filter(|pair| pair.name == *name);
        named.find(|pair| pair.value.data_type() == data_type).map(|pair| &pair.value)
    }
}

/// Defines typed access: `get_...` looks up a value of a type, `add_...` adds a pair at the end like
/// [`NvList::push`].
macro_rules! access {
    ($($variant:ident, $get:ident -> $got:ty = |$value:ident| $give:expr, $add:ident($given:ty);)*) => {
        impl NvList {
            $(
                #[doc = concat!("Returns the value with this name, if it is [`NvValue::", stringify!($variant), "`].")]
                ///
                /// Of several pairs with the name, the last is used, as in [`NvList::get`]; if names are not
                /// unique ([`NvList::nvflag`]), the last of this type.
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
    /// Returns the value with this name, if it is a string and valid UTF-8; see [`NvList::get_string`].
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get_string(name).and_then(NvString::to_str)
    }

    /// Returns `true` if there is a [`NvValue::Boolean`] with this name: its presence means true.
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
    /// Creates a list with the flag for unique names and these pairs, in order.
    fn from_iter<I: IntoIterator<Item = NvPair>>(pairs: I) -> Self {
        Self { pairs: pairs.into_iter().collect(), ..Self::new() }
    }
}
