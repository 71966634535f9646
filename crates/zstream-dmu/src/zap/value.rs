//! Keys and values of ZAP entries.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Result};

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A name, without its final NUL.
    Name(Vec<u8>),
    /// An array of words, in ZAPs with the flag for that.
    Words(Vec<u64>),
}

impl Key {
    /// Returns the name.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if the key is an array of words.
    pub fn name(&self) -> Result<&[u8]> {
        match self {
            Self::Name(name) => Ok(name),
            Self::Words(_) => Err(Error::corrupt("ZAP entry", format!("key {self} is not a name"))),
        }
    }

    /// Returns the name as text.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if the key is not a name or not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.name()?)
            .map_err(|_| Error::corrupt("ZAP entry", format!("key {self} is not UTF-8")))
    }

    /// Parses the name as a number in hex, in ZAPs whose keys are numbers.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if the name is not a number in hex.
    pub fn number(&self) -> Result<u64> {
        u64::from_str_radix(self.text()?, 16)
            .map_err(|_| Error::corrupt("ZAP entry", format!("key {self} is not a number in hex")))
    }
}

impl From<&str> for Key {
    fn from(name: &str) -> Self {
        Self::Name(name.as_bytes().to_vec())
    }
}

impl From<String> for Key {
    fn from(name: String) -> Self {
        Self::Name(name.into_bytes())
    }
}

impl From<&[u8]> for Key {
    fn from(name: &[u8]) -> Self {
        Self::Name(name.to_vec())
    }
}

impl From<&[u64]> for Key {
    fn from(words: &[u64]) -> Self {
        Self::Words(words.to_vec())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{:?}", String::from_utf8_lossy(name)),
            Self::Words(words) => write!(f, "{words:x?}"),
        }
    }
}

/// Creates the error of a ZAP whose keys are of the other kind than `key`. The caller knows the kind that the keys must
/// have, so the ZAP is corrupt.
pub(super) fn wrong_kind(key: &Key) -> Error {
    let (found, expected) = match key {
        Key::Name(_) => ("arrays of words", "names"),
        Key::Words(_) => ("names", "arrays of words"),
    };
    Error::corrupt("ZAP", format!("keys are {found}, expected {expected} such as {key}"))
}

/// Returns the name of `number` in a ZAP whose keys are numbers (`zap_lookup_int`).
#[must_use]
pub fn number_key(number: u64) -> String {
    format!("{number:x}")
}

/// An array of integers of 1, 2, 4 or 8 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Repr);

#[derive(Clone, PartialEq, Eq)]
enum Repr {
    /// One integer of 8 bytes, like almost all values.
    Word(u64),
    /// The size of an integer, and integers of this size in big-endian order.
    Array(u8, Box<[u8]>),
}

impl Value {
    /// Creates a value of one integer of 8 bytes.
    #[must_use]
    pub fn word(value: u64) -> Self {
        Self(Repr::Word(value))
    }

    /// Creates a value of integers of 8 bytes.
    #[must_use]
    pub fn words(words: &[u64]) -> Self {
        Self::array(8, words.iter().flat_map(|word| word.to_be_bytes()).collect())
    }

    /// Creates a value of integers of 2 bytes.
    #[must_use]
    pub fn u16s(integers: &[u16]) -> Self {
        Self::array(2, integers.iter().flat_map(|integer| integer.to_be_bytes()).collect())
    }

    /// Creates a value of single bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::array(1, bytes.to_vec())
    }

    /// Creates a C string of `text`, which must not contain a NUL.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self::array(1, [text.as_bytes(), &[0]].concat())
    }

    /// Creates a value of integers of `integer_bytes` bytes in big-endian order. The length of `bytes` must be a
    /// multiple of that.
    pub(super) fn array(integer_bytes: u8, bytes: Vec<u8>) -> Self {
        match (integer_bytes, bytes.first_chunk::<8>()) {
            (8, Some(word)) if bytes.len() == 8 => Self(Repr::Word(u64::from_be_bytes(*word))),
            _ => Self(Repr::Array(integer_bytes, bytes.into())),
        }
    }

    /// Returns the size of each integer: 1, 2, 4 or 8 bytes.
    #[must_use]
    pub(crate) fn integer_bytes(&self) -> u8 {
        match &self.0 {
            Repr::Word(_) => 8,
            Repr::Array(size, _) => *size,
        }
    }

    /// Returns the number of integers.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Word(_) => 1,
            Repr::Array(size, bytes) => bytes.len() / usize::from(*size),
        }
    }

    /// Returns whether there are no integers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the integer if it is a single one of 8 bytes, which a micro ZAP can contain.
    pub(super) fn single_word(&self) -> Option<u64> {
        match &self.0 {
            Repr::Word(word) => Some(*word),
            Repr::Array(..) => None,
        }
    }

    /// Returns the integers in big-endian order.
    pub(super) fn encode(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Repr::Word(word) => Cow::Owned(word.to_be_bytes().to_vec()),
            Repr::Array(_, bytes) => Cow::Borrowed(bytes),
        }
    }

    /// Returns the value as a single integer.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) unless there is exactly one.
    pub fn u64(&self) -> Result<u64> {
        match &self.0 {
            Repr::Word(word) => Ok(*word),
            Repr::Array(..) => match self.u64s()[..] {
                [one] => Ok(one),
                _ => Err(self.unexpected("one integer")),
            },
        }
    }

    /// Returns all integers, widened to 8 bytes.
    #[must_use]
    pub fn u64s(&self) -> Vec<u64> {
        match &self.0 {
            Repr::Word(word) => vec![*word],
            Repr::Array(size, bytes) => bytes
                .chunks_exact(usize::from(*size))
                .map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
                .collect(),
        }
    }

    /// Returns the bytes of an array of single bytes.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if the integers are larger.
    pub fn bytes(&self) -> Result<&[u8]> {
        match &self.0 {
            Repr::Array(1, bytes) => Ok(bytes),
            _ => Err(self.unexpected("bytes")),
        }
    }

    /// Returns the bytes before the first NUL of an array of single bytes, which is a C string.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if the integers are larger.
    pub fn c_string(&self) -> Result<&[u8]> {
        let bytes = self.bytes()?;
        Ok(bytes.split(|byte| *byte == 0).next().unwrap_or(bytes))
    }

    /// Returns the C string as text.
    ///
    /// # Errors
    ///
    /// Returns [`Fault::Corrupt`](crate::error::Fault::Corrupt) if the value is not a C string or not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(self.c_string()?).map_err(|_| self.unexpected("UTF-8"))
    }

    fn unexpected(&self, expected: &str) -> Error {
        let (count, size) = (self.len(), self.integer_bytes());
        Error::corrupt(
            "ZAP value",
            format!("value has {count} integers of {size} bytes, expected {expected}"),
        )
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Array(1, bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            _ => write!(f, "{:?}", self.u64s()),
        }
    }
}

/// An entry of a ZAP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The hash of the normalized key, of which only the significant bits are set.
    pub hash: u64,
    /// The number that distinguishes entries of the same hash (`cd`, the collision differentiator).
    pub differentiator: u32,
    /// The value.
    pub value: Value,
}
