//! The 27 data types of nvlists and their values.

use std::fmt;

use super::NvList;

/// Declares the data types once, in the order of their numbers: number, variant, printed name, description.
macro_rules! data_types {
    ($($number:literal $variant:ident $name:literal $shape:literal;)*) => {
        /// The type of the value of a pair (`data_type_t`; the numbers are those of the encodings).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DataType {
            $(#[doc = $shape] $variant = $number,)*
        }

        impl DataType {
            /// Every data type, in the order of the numbers.
            pub const ALL: [Self; 27] = [$(Self::$variant),*];

            /// Returns the type with this number, or `None` for a number that is not 1 to 27.
            #[must_use]
            pub fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name of the type, as in `DATA_TYPE_...` but in lower case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

data_types! {
    1 Boolean "boolean" "no value: the presence of the pair means true";
    2 Byte "byte" "one byte";
    3 Int16 "int16" "one signed 16-bit number";
    4 Uint16 "uint16" "one unsigned 16-bit number";
    5 Int32 "int32" "one signed 32-bit number";
    6 Uint32 "uint32" "one unsigned 32-bit number";
    7 Int64 "int64" "one signed 64-bit number";
    8 Uint64 "uint64" "one unsigned 64-bit number";
    9 String "string" "bytes without NUL, in no particular character set";
    10 ByteArray "byte_array" "bytes";
    11 Int16Array "int16_array" "signed 16-bit numbers";
    12 Uint16Array "uint16_array" "unsigned 16-bit numbers";
    13 Int32Array "int32_array" "signed 32-bit numbers";
    14 Uint32Array "uint32_array" "unsigned 32-bit numbers";
    15 Int64Array "int64_array" "signed 64-bit numbers";
    16 Uint64Array "uint64_array" "unsigned 64-bit numbers";
    17 StringArray "string_array" "strings";
    18 Hrtime "hrtime" "nanoseconds, signed";
    19 List "nvlist" "a list";
    20 ListArray "nvlist_array" "lists";
    21 BooleanValue "boolean_value" "true or false";
    22 Int8 "int8" "one signed 8-bit number";
    23 Uint8 "uint8" "one unsigned 8-bit number";
    24 BooleanArray "boolean_array" "booleans";
    25 Int8Array "int8_array" "signed 8-bit numbers";
    26 Uint8Array "uint8_array" "unsigned 8-bit numbers";
    27 Double "double" "a floating-point number; the kernel never writes one";
}

impl DataType {
    /// The number in the encodings.
    #[must_use]
    pub fn number(self) -> i32 {
        i32::from(self as u8)
    }

    /// Returns `true` if a pair of this type can have any number of elements. The count is 0 for
    /// [`DataType::Boolean`] and 1 for every other type that is not an array.
    #[must_use]
    pub(crate) fn is_array(self) -> bool {
        use DataType as T;
        match self {
            T::ByteArray | T::Int8Array | T::Uint8Array | T::BooleanArray | T::StringArray | T::ListArray => {
                true
            }
            T::Int16Array | T::Uint16Array | T::Int32Array | T::Uint32Array => true,
            T::Int64Array | T::Uint64Array => true,
            T::Boolean | T::Byte | T::Int16 | T::Uint16 | T::Int32 | T::Uint32 | T::Int64 | T::Uint64 => {
                false
            }
            T::String | T::Hrtime | T::List | T::BooleanValue | T::Int8 | T::Uint8 | T::Double => false,
        }
    }

    /// Returns `true` if an XDR value of this type starts with its own count. libnvpair reserves that word even
    /// for an array without elements, which has no value.
    pub(super) fn xdr_counts(self) -> bool {
        self.is_array() && !matches!(self, Self::ByteArray | Self::StringArray | Self::ListArray)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A string of an nvlist: bytes, usually but not necessarily UTF-8, without a NUL (encoding a string with a
/// NUL fails).
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NvString(Vec<u8>);

impl NvString {
    /// The bytes without a terminator.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, if the bytes are valid UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for NvString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for NvString {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&[u8]> for NvString {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for NvString {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for NvString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq<str> for NvString {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for NvString {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for NvString {
    /// Writes the string in quotes, with all bytes escaped that are not printable ASCII, without loss.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for NvString {
    /// Writes the text, with bytes that are not valid UTF-8 as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// The value of a pair, with one variant for each [`DataType`].
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // `DataType` documents the variants
pub enum NvValue {
    Boolean,
    Byte(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    String(NvString),
    ByteArray(Vec<u8>),
    Int16Array(Vec<i16>),
    Uint16Array(Vec<u16>),
    Int32Array(Vec<i32>),
    Uint32Array(Vec<u32>),
    Int64Array(Vec<i64>),
    Uint64Array(Vec<u64>),
    StringArray(Vec<NvString>),
    Hrtime(i64),
    List(NvList),
    ListArray(Vec<NvList>),
    BooleanValue(bool),
    Int8(i8),
    Uint8(u8),
    BooleanArray(Vec<bool>),
    Int8Array(Vec<i8>),
    Uint8Array(Vec<u8>),
    Double(f64),
}

impl NvValue {
    /// The type of the value.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        use DataType as T;
        match self {
            Self::Boolean => T::Boolean,
            Self::Byte(_) => T::Byte,
            Self::Int16(_) => T::Int16,
            Self::Uint16(_) => T::Uint16,
            Self::Int32(_) => T::Int32,
            Self::Uint32(_) => T::Uint32,
            Self::Int64(_) => T::Int64,
            Self::Uint64(_) => T::Uint64,
            Self::String(_) => T::String,
            Self::ByteArray(_) => T::ByteArray,
            Self::Int16Array(_) => T::Int16Array,
            Self::Uint16Array(_) => T::Uint16Array,
            Self::Int32Array(_) => T::Int32Array,
            Self::Uint32Array(_) => T::Uint32Array,
            Self::Int64Array(_) => T::Int64Array,
            Self::Uint64Array(_) => T::Uint64Array,
            Self::StringArray(_) => T::StringArray,
            Self::Hrtime(_) => T::Hrtime,
            Self::List(_) => T::List,
            Self::ListArray(_) => T::ListArray,
            Self::BooleanValue(_) => T::BooleanValue,
            Self::Int8(_) => T::Int8,
            Self::Uint8(_) => T::Uint8,
            Self::BooleanArray(_) => T::BooleanArray,
            Self::Int8Array(_) => T::Int8Array,
            Self::Uint8Array(_) => T::Uint8Array,
            Self::Double(_) => T::Double,
        }
    }

    /// The number of elements: 0 for [`NvValue::Boolean`], 1 for other types that are not arrays.
    #[must_use]
    pub(crate) fn element_count(&self) -> usize {
        match self {
            Self::Boolean => 0,
            Self::ByteArray(values) | Self::Uint8Array(values) => values.len(),
            Self::Int8Array(values) => values.len(),
            Self::Int16Array(values) => values.len(),
            Self::Uint16Array(values) => values.len(),
            Self::Int32Array(values) => values.len(),
            Self::Uint32Array(values) => values.len(),
            Self::Int64Array(values) => values.len(),
            Self::Uint64Array(values) => values.len(),
            Self::BooleanArray(values) => values.len(),
            Self::StringArray(values) => values.len(),
            Self::ListArray(values) => values.len(),
            _ => 1,
        }
    }

    /// The size of the value in a native pair in bytes, without padding. It includes the structures of nested
    /// lists, but not their pairs.
    pub(super) fn native_len(&self) -> usize {
        match self {
            Self::Boolean => 0,
            Self::Byte(_) | Self::Int8(_) | Self::Uint8(_) => 1,
            Self::Int16(_) | Self::Uint16(_) => 2,
            Self::Int32(_) | Self::Uint32(_) | Self::BooleanValue(_) => 4,
            Self::Int64(_) | Self::Uint64(_) | Self::Hrtime(_) | Self::Double(_) => 8,
            Self::String(text) => text.0.len() + 1,
            Self::ByteArray(values) | Self::Uint8Array(values) => values.len(),
            Self::Int8Array(values) => values.len(),
            Self::Int16Array(values) => values.len() * 2,
            Self::Uint16Array(values) => values.len() * 2,
            Self::Int32Array(values) => values.len() * 4,
            Self::Uint32Array(values) => values.len() * 4,
            Self::BooleanArray(values) => values.len() * 4,
            Self::Int64Array(values) => values.len() * 8,
            Self::Uint64Array(values) => values.len() * 8,
            Self::StringArray(texts) => texts.iter().map(|text| POINTER_LEN + text.0.len() + 1).sum(),
            Self::List(_) => LIST_LEN,
            Self::ListArray(lists) => lists.len() * (POINTER_LEN + LIST_LEN),
        }
    }
}

/// The size of a pointer in the native encoding in bytes; pointers are packed as zeros.
pub(super) const POINTER_LEN: usize = 8;
/// The size of `nvlist_t` in the native encoding in bytes.
pub(super) const LIST_LEN: usize = 24;
/// The size of a native pair before its name in bytes (`nvpair_t`).
pub(super) const PAIR_HEAD_LEN: usize = 16;

/// Rounds `len` up to a multiple of 8.
pub(super) fn align8(len: usize) -> usize {
    len.next_multiple_of(8)
}
