//! Resume tokens: where a partial receive stands, as text that `zfs send -t` continues from.
//!
//! ```text
//! 1-acf4e02b2-b8-789c6360640003...
//! | |         |  zlib stream (level 6) of a packed nvlist, two hex digits per byte
//! | |         length of the packed nvlist in bytes, hex
//! | word 0 of the fletcher-4 of the zlib stream, hex
//! version
//! ```
//!
//! The list is native, in the byte order of the machine that received; so is the checksum, which leaves out
//! the last bytes of a stream whose length is no multiple of 4. OpenZFS reads only tokens of its own byte
//! order; both orders are read and written here.
//!
//! A token that is decoded and encoded again is the same text, since the deflate here makes zlib's bytes.
//!
//! The receiver makes the text in `get_receive_resume_token`, libzfs reads it in
//! `zfs_send_resume_token_to_nvlist`.

use std::fmt::Write as _;

use flate2::{Decompress, FlushDecompress, Status};

use crate::deflate;
use crate::fletcher::fletcher4;
use crate::nvlist::{Decoded, Encoding, NvError, NvList, NvPair, NvString, NvValue, Packed};
use crate::order::ByteOrder;

/// The version in a token's text, and the only one there is.
pub const VERSION: u32 = 1;

/// A token's packed list may have this many bytes. Real ones have some hundreds; the lists of redaction
/// snapshots add 8 bytes per snapshot.
pub const MAX_LIST_LEN: usize = 1 << 20;

/// Why a text is no resume token. The texts are libzfs's, as far as it has any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not `version-checksum-length-payload`.
    #[error("resume token is corrupt (invalid format)")]
    Format,
    /// Another version than [`VERSION`].
    #[error("resume token is corrupt (invalid version {found})")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The payload is no hex.
    #[error("resume token is corrupt (payload is not hex-encoded)")]
    NotHex,
    /// The payload has another checksum than the token says.
    #[error("resume token is corrupt (incorrect checksum)")]
    Checksum {
        /// What the token says.
        stated: u64,
        /// What its payload gives, in this machine's byte order.
        computed: u64,
    },
    /// The token says that its list is longer than [`MAX_LIST_LEN`].
    #[error("resume token holds a list of {stated} bytes, the limit is {}", MAX_LIST_LEN)]
    TooLong {
        /// The length in bytes that the token says.
        stated: u64,
    },
    /// The payload is no zlib stream of as many bytes as the token says.
    #[error("resume token is corrupt (decompression failed)")]
    Decompression,
    /// What was compressed is no nvlist; the source says why.
    #[error("resume token is corrupt (nvlist_unpack failed)")]
    Nvlist(#[from] NvError),
    /// A value that every token has is missing, or a value has another type than it has in every token.
    #[error("resume token has no {name} that is {expected}")]
    Value {
        /// The value's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// The list that `text` holds, whatever is in it.
///
/// As in libzfs, the payload is what follows the last `-`, and an odd digit at its end is left out.
///
/// # Errors
/// Every fault of the text, of its checksum and of the packed list.
pub fn decode(text: &str) -> Result<Decoded, TokenError> {
    let mut fields = text.splitn(4, '-');
    let mut field = || fields.next().ok_or(TokenError::Format);
    let found: u32 =
        number(field()?, 10).and_then(|found| found.try_into().ok()).ok_or(TokenError::Format)?;
    let checksum = number(field()?, 16).ok_or(TokenError::Format)?;
    let len = number(field()?, 16).ok_or(TokenError::Format)?;
    let payload = field()?.rsplit('-').next().unwrap_or_default();
    if found != VERSION {
        return Err(TokenError::Version { found });
    }

    let packed = from_hex(payload).ok_or(TokenError::NotHex)?;
    let sum = |order| fletcher4(&packed, order).0[0];
    if sum(ByteOrder::NATIVE) != checksum && sum(ByteOrder::NATIVE.swapped()) != checksum {
        return Err(TokenError::Checksum { stated: checksum, computed: sum(ByteOrder::NATIVE) });
    }

    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len <= MAX_LIST_LEN)
        .ok_or(TokenError::TooLong { stated: len })?;
    let mut list = vec![0; len];
    let mut inflate = Decompress::new(true);
    let status = inflate.decompress(&packed, &mut list, FlushDecompress::Finish);
    if !matches!(status, Ok(Status::StreamEnd)) || usize::try_from(inflate.total_out()) != Ok(len) {
        return Err(TokenError::Decompression);
    }
    Ok(NvList::decode(&list)?)
}

/// The token that holds `list`, packed in the native encoding of `order`.
///
/// # Errors
/// A list that cannot be packed.
pub fn encode(list: &NvList, order: ByteOrder) -> Result<String, NvError> {
    let list = list.encode(Packed::native(order))?;
    let packed = deflate::zlib(deflate::DEFAULT_LEVEL, &list);
    let sum = fletcher4(&packed, order).0[0];
    let mut text = format!("{VERSION}-{sum:x}-{:x}-", list.len());
    text.reserve(2 * packed.len());
    for byte in packed {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The digits' number; nothing but digits is allowed, and one at least.
fn number(digits: &str, radix: u32) -> Option<u64> {
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    text.as_bytes()
        .chunks_exact(2)
        // Two digits make a byte.
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

/// What a token says.
///
/// A token made from this has its values in the order of the fields, as those of OpenZFS have.
#[derive(Clone, Debug, PartialEq)]
pub struct ResumeToken {
    /// The snapshot that an incremental stream starts from.
    pub from_guid: Option<u64>,
    /// The last object that was reached.
    pub object: u64,
    /// Where in that object, in bytes. The record that begins there is to be sent again.
    pub offset: u64,
    /// Bytes of the stream consumed so far, over all attempts, without BEGIN records' headers.
    pub bytes: u64,
    /// The snapshot that is sent.
    pub to_guid: u64,
    /// Its full name at the sender.
    pub to_name: NvString,
    /// The stream has blocks above 128 KiB (`zfs send -L`).
    pub large_blocks: bool,
    /// The stream has embedded blocks (`-e`).
    pub embedded: bool,
    /// The stream has compressed blocks (`-c`).
    pub compressed: bool,
    /// The stream is raw (`-w`).
    pub raw: bool,
    /// The redaction snapshots of a redacted stream.
    pub redact_snaps: Option<Vec<u64>>,
    /// The redaction snapshots of the bookmark that an incremental stream starts from.
    pub book_redact_snaps: Option<Vec<u64>>,
    /// Values of other names, in their order.
    pub others: Vec<NvPair>,
    /// The byte order of the machine that made the token.
    pub order: ByteOrder,
}

impl ResumeToken {
    /// Reads a token.
    ///
    /// # Errors
    /// Those of [`decode`], and [`TokenError::Value`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let Decoded { list, packed, .. } = decode(text)?;
        // An XDR list says nothing of the order that matters here: that of the checksum.
        let order = match packed.encoding {
            Encoding::Native => packed.order,
            Encoding::Xdr => ByteOrder::NATIVE,
        };
        Self::from_list(&list, order)
    }

    /// Reads what a token's list says.
    ///
    /// # Errors
    /// [`TokenError::Value`]: `object`, `offset`, `bytes`, `toguid` or `toname` is missing, or a value
    /// known here is of another type.
    pub fn from_list(list: &NvList, order: ByteOrder) -> Result<Self, TokenError> {
        let wrong = |name, expected| TokenError::Value { name, expected };
        let number = |name: &'static str| match list.get(name) {
            None => Ok(None),
            Some(NvValue::Uint64(value)) => Ok(Some(*value)),
            Some(_) => Err(wrong(name, "a uint64")),
        };
        let required = |name| number(name)?.ok_or(wrong(name, "a uint64"));
        let flag = |name: &'static str| match list.get(name) {
            None => Ok(false),
            Some(NvValue::Boolean) => Ok(true),
            Some(_) => Err(wrong(name, "a boolean")),
        };
        let numbers = |name: &'static str| match list.get(name) {
            None => Ok(None),
            Some(NvValue::Uint64Array(values)) => Ok(Some(values.clone())),
            Some(_) => Err(wrong(name, "a uint64 array")),
        };
        Ok(Self {
            from_guid: number("fromguid")?,
            object: required("object")?,
            offset: required("offset")?,
            bytes: required("bytes")?,
            to_guid: required("toguid")?,
            to_name: list.get_string("toname").ok_or(wrong("toname", "a string"))?.clone(),
            large_blocks: flag("largeblockok")?,
            embedded: flag("embedok")?,
            compressed: flag("compressok")?,
            raw: flag("rawok")?,
            redact_snaps: numbers("redact_snaps")?,
            book_redact_snaps: numbers("book_redact_snaps")?,
            others: list
                .iter()
                .filter(|pair| !KNOWN.iter().any(|name| pair.name == *name))
                .cloned()
                .collect(),
            order,
        })
    }

    /// The list that the token holds.
    #[must_use]
    pub fn to_list(&self) -> NvList {
        let mut list = NvList::new();
        if let Some(guid) = self.from_guid {
            list.add_u64("fromguid", guid);
        }
        list.add_u64("object", self.object)
            .add_u64("offset", self.offset)
            .add_u64("bytes", self.bytes)
            .add_u64("toguid", self.to_guid)
            .add_string("toname", self.to_name.as_bytes());
        for (flag, name) in [
            (self.large_blocks, "largeblockok"),
            (self.embedded, "embedok"),
            (self.compressed, "compressok"),
            (self.raw, "rawok"),
        ] {
            if flag {
                list.add_boolean(name);
            }
        }
        for (guids, name) in
            [(&self.redact_snaps, "redact_snaps"), (&self.book_redact_snaps, "book_redact_snaps")]
        {
            if let Some(guids) = guids {
                list.add_u64_array(name, guids.clone());
            }
        }
        for pair in &self.others {
            list.push(pair.name.as_bytes(), pair.value.clone());
        }
        list
    }

    /// The token's text.
    ///
    /// # Errors
    /// A name with a NUL, or values among [`ResumeToken::others`] that cannot be packed.
    pub fn encode(&self) -> Result<String, NvError> {
        encode(&self.to_list(), self.order)
    }

    /// What `zstream token` prints.
    #[must_use]
    pub fn print(&self) -> Vec<u8> {
        print(&self.to_list())
    }

    /// What `zfs send -nvt` prints of the token, before its estimate.
    #[must_use]
    pub fn print_contents(&self) -> Vec<u8> {
        print_contents(&self.to_list())
    }
}

/// The names of [`ResumeToken`]'s fields.
const KNOWN: [&str; 12] = [
    "fromguid",
    "object",
    "offset",
    "bytes",
    "toguid",
    "toname",
    "largeblockok",
    "embedok",
    "compressok",
    "rawok",
    "redact_snaps",
    "book_redact_snaps",
];

/// What `zstream token` prints of a token's list: [`NvList::dump`], indented by 5.
#[must_use]
pub fn print(list: &NvList) -> Vec<u8> {
    list.dump(5)
}

/// What `zfs send -nvt` prints of a token's list, before its estimate: a title and [`NvList::print`].
#[must_use]
pub fn print_contents(list: &NvList) -> Vec<u8> {
    [&b"resume token contents:\n"[..], &list.print()].concat()
}
