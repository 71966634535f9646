//! Resume tokens: the state of a partial receive, as text that `zfs send -t` resumes from.
//!
//! ```text
//! 1-acf4e02b2-b8-789c6360640003...
//! | |         |  zlib stream (level 6) of a packed nvlist, two hexadecimal digits per byte
//! | |         length of the packed nvlist in bytes, hexadecimal
//! | word 0 of the fletcher-4 of the zlib stream, hexadecimal
//! version
//! ```
//!
//! The list is native, in the byte order of the receiving machine, and so is the checksum, which ignores the
//! last bytes of a stream whose length is not a multiple of 4. OpenZFS reads only tokens in its own byte
//! order; this module reads and writes both.
//!
//! Decoding and encoding a token gives the same text, since the deflate encoder of this crate has the output of zlib.
//!
//! The receiver writes the text in `get_receive_resume_token`, libzfs reads it in
//! `zfs_send_resume_token_to_nvlist`.

use std::fmt::Write as _;

use flate2::{Decompress, FlushDecompress, Status};

use crate::deflate;
use crate::fletcher::fletcher4;
use crate::nvlist::{Decoded, Encoding, NvError, NvList, NvPair, NvString, NvValue, Packed};
use crate::order::ByteOrder;

/// The version in the text of a token; there is only one.
pub const VERSION: u32 = 1;

/// The maximum size of the packed list in a token, in bytes. Real lists have some hundred bytes; redaction
/// snapshots add 8 bytes each.
const MAX_LIST_LEN: usize = 1 << 20;

/// An error from parsing a resume token. The messages are those of libzfs where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is not `version-checksum-length-payload`.
    #[error("resume token is corrupt (invalid format)")]
    Format,
    /// The version is not [`VERSION`].
    #[error("resume token is corrupt (invalid version {found})")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The payload is not hexadecimal.
    #[error("resume token is corrupt (payload is not hex-encoded)")]
    NotHex,
    /// The checksum of the payload does not match.
    #[error("resume token is corrupt (incorrect checksum)")]
    Checksum {
        /// The checksum in the token.
        stated: u64,
        /// The checksum of the payload, in the byte order of this machine.
        computed: u64,
    },
    /// The length in the token exceeds `MAX_LIST_LEN`.
    #[error("the list in the resume token is {stated} bytes, the limit is {}", MAX_LIST_LEN)]
    TooLong {
        /// The length in the token, in bytes.
        stated: u64,
    },
    /// The payload is not a zlib stream of the length in the token.
    #[error("resume token is corrupt (decompression failed)")]
    Decompression,
    /// The content is not an nvlist; the source has the reason.
    #[error("resume token is corrupt (nvlist_unpack failed)")]
    Nvlist(#[from] NvError),
    /// A required value is missing, or a value has an unexpected type.
    #[error("resume token has no valid {name}, expected {expected}")]
    Value {
        /// The name of the value.
        name: &'static str,
        /// The expected type.
        expected: &'static str,
    },
}

/// Decodes the list in a token, with any content.
///
/// As in libzfs, the payload is the part after the last `-`, and an odd digit at its end is ignored.
///
/// # Errors
/// Fails if the text, its checksum or the packed list is corrupt.
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

/// Encodes `list` as a token, in the native encoding with byte order `order`.
///
/// # Errors
/// Fails if the list cannot be encoded.
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

/// Parses a number that consists of at least one digit and nothing else.
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

/// The content of a token.
///
/// The values in an encoded token are in the order of the fields, as in OpenZFS.
#[derive(Clone, Debug, PartialEq)]
pub struct ResumeToken {
    /// The guid of the snapshot that an incremental stream starts from.
    pub from_guid: Option<u64>,
    /// The last object that was reached.
    pub object: u64,
    /// The offset in that object, in bytes. The record that starts there is sent again.
    pub offset: u64,
    /// The number of bytes received so far, over all attempts, without the headers of BEGIN records.
    pub bytes: u64,
    /// The guid of the snapshot that is sent.
    pub to_guid: u64,
    /// The full name of the snapshot at the sender.
    pub to_name: NvString,
    /// `true` if the stream has blocks above 128 KiB (`zfs send -L`).
    pub large_blocks: bool,
    /// `true` if the stream has embedded blocks (`-e`).
    pub embedded: bool,
    /// `true` if the stream has compressed blocks (`-c`).
    pub compressed: bool,
    /// `true` if the stream is raw (`-w`).
    pub raw: bool,
    /// The redaction snapshots of a redacted stream.
    pub redact_snaps: Option<Vec<u64>>,
    /// The redaction snapshots of the bookmark that an incremental stream starts from.
    pub book_redact_snaps: Option<Vec<u64>>,
    /// The values with other names, in order.
    pub others: Vec<NvPair>,
    /// The byte order of the machine that wrote the token.
    pub order: ByteOrder,
}

impl ResumeToken {
    /// Parses a token.
    ///
    /// # Errors
    /// Fails like [`decode`], and with [`TokenError::Value`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let Decoded { list, packed, .. } = decode(text)?;
        // The byte order of an XDR list is not that of the checksum.
        let order = match packed.encoding {
            Encoding::Native => packed.order,
            Encoding::Xdr => ByteOrder::NATIVE,
        };
        Self::from_list(&list, order)
    }

    /// Parses the list of a token.
    ///
    /// # Errors
    /// Returns [`TokenError::Value`] if `object`, `offset`, `bytes`, `toguid` or `toname` is missing, or if a
    /// known value has another type.
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

    /// Returns the list of the token.
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

    /// Encodes the token as text.
    ///
    /// # Errors
    /// Fails if the name contains a NUL, and if a value in [`ResumeToken::others`] cannot be encoded.
    pub fn encode(&self) -> Result<String, NvError> {
        encode(&self.to_list(), self.order)
    }

    /// Returns the output of `zstream token`.
    #[must_use]
    pub fn print(&self) -> Vec<u8> {
        print(&self.to_list())
    }

    /// Returns the output of `zfs send -nvt` for the token, before its estimate.
    #[must_use]
    pub fn print_contents(&self) -> Vec<u8> {
        print_contents(&self.to_list())
    }
}

/// The names of the fields of [`ResumeToken`] in the list.
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

/// Returns the output of `zstream token` for the list of a token: [`NvList::dump`], indented by 5.
#[must_use]
pub fn print(list: &NvList) -> Vec<u8> {
    list.dump(5)
}

/// Returns the output of `zfs send -nvt` for the list of a token, before its estimate: a title and [`NvList::print`].
#[must_use]
pub fn print_contents(list: &NvList) -> Vec<u8> {
    [&b"resume token contents:\n"[..], &list.print()].concat()
}
