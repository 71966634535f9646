//! The XDR encoding: big-endian words, every value a multiple of 4 bytes.
//!
//! ```text
//! list    version i32, nvflag u32, pair..., end: two zero words
//! pair    encoded size i32   the size of the whole pair, nested lists included
//!         decoded size i32   the size of the pair in the native encoding, without nested pairs
//!         name               u32 length, bytes, zeros to a multiple of 4
//!         type i32, element count i32, value
//! value   numbers of up to 32 bits: a word; of 64: two; string: like the name; byte[]: bytes, zeros to a
//!         multiple of 4; other arrays of numbers: u32 count, then a word (or two) per element;
//!         string[]: strings; nvlist: a list; nvlist[]: lists
//! ```
//!
//! The decoded size must be exact; 0 ends the list. No decoder checks the encoded size.
//!
//! An array without elements has no value, not even its count. libnvpair reserves the word of the count
//! anyway: the encoded sizes around it include it, and each such array adds 4 zero bytes after the end of
//! the whole list. The encoder here does the same, and the decoder counts those bytes as used if they exist.

use super::packed::{Packed, Reader, check_len, deeper};
use super::value::{PAIR_HEAD_LEN, align8};
use super::{DataType, Encoding, MAX_NAME_LEN, NvError, NvFault, NvList, NvPair, NvString, NvValue};
use crate::order::ByteOrder;

const BIG: ByteOrder = ByteOrder::Big;

/// The variants of the encoding that the decoder found.
#[derive(Default)]
pub(super) struct Variants {
    /// See [`Packed::signed_bytes`].
    pub(super) signed_bytes: bool,
    /// See [`Packed::signed_shorts`].
    pub(super) signed_shorts: bool,
    /// The number of arrays without elements, for whose counts words are reserved at the end.
    reserved_words: usize,
}

/// Reads the body of a list, and the words reserved for empty arrays after it.
pub(super) fn decode(reader: &mut Reader<'_>) -> Result<(NvList, Variants), NvError> {
    let mut decoder = Decoder { reader, found: Variants::default() };
    let list = decoder.list(0)?;
    let Decoder { reader, found } = decoder;
    for _ in 0..found.reserved_words {
        if !reader.skip_zero_word() {
            break;
        }
    }
    Ok((list, found))
}

struct Decoder<'r, 'a> {
    reader: &'r mut Reader<'a>,
    found: Variants,
}

impl Decoder<'_, '_> {
    fn list(&mut self, depth: usize) -> Result<NvList, NvError> {
        let version = self.reader.i32(BIG)?;
        let nvflag = self.reader.u32(BIG)?;
        let mut list = NvList { version, nvflag, pairs: Vec::new() };
        loop {
            let start = self.reader.at;
            let _encoded_size = self.reader.i32(BIG)?;
            let decoded_size = self.reader.i32(BIG)?;
            if decoded_size == 0 {
                return Ok(list);
            }
            list.pairs.push(self.pair(start, decoded_size, depth)?);
        }
    }

    fn pair(&mut self, start: usize, decoded_size: i32, depth: usize) -> Result<NvPair, NvError> {
        let name_at = self.reader.at;
        let name = self.string()?;
        let name_len = name.as_bytes().len();
        if name_len > MAX_NAME_LEN {
            return Err(NvError::new(name_at, NvFault::NameLen { len: name_len }));
        }
        let type_at = self.reader.at;
        let number = self.reader.i32(BIG)?;
        let data_type =
            DataType::from_number(number).ok_or(NvError::new(type_at, NvFault::Type { found: number }))?;
        let count_at = self.reader.at;
        let found = self.reader.i32(BIG)?;
        let count = usize::try_from(found)
            .ok()
            .filter(|count| match data_type {
                DataType::Boolean => *count == 0,
                other => other.is_array() || *count == 1,
            })
            .ok_or(NvError::new(count_at, NvFault::Count { found, data_type }))?;
        let value = self.value(data_type, count, depth)?;
        let expected = align8(PAIR_HEAD_LEN + name_len + 1) + align8(value.native_len());
        if usize::try_from(decoded_size) != Ok(expected) {
            return Err(NvError::new(start + 4, NvFault::PairSize { found: decoded_size, expected }));
        }
        Ok(NvPair { name, value })
    }

    fn value(&mut self, data_type: DataType, count: usize, depth: usize) -> Result<NvValue, NvError> {
        use DataType as T;
        if data_type.xdr_counts() {
            self.array_count(count)?;
        }
        Ok(match data_type {
            T::Boolean => NvValue::Boolean,
            T::Byte => NvValue::Byte(self.byte(data_type)?),
            T::Int8 => NvValue::Int8(self.byte(data_type)?.cast_signed()),
            T::Uint8 => NvValue::Uint8(self.byte(data_type)?),
            T::Int16 => NvValue::Int16(self.short()?),
            T::Uint16 => NvValue::Uint16(self.unsigned_short()?),
            T::Int32 => NvValue::Int32(self.reader.i32(BIG)?),
            T::Uint32 => NvValue::Uint32(self.reader.u32(BIG)?),
            T::Int64 => NvValue::Int64(self.long()?.cast_signed()),
            T::Uint64 => NvValue::Uint64(self.long()?),
            T::Hrtime => NvValue::Hrtime(self.long()?.cast_signed()),
            T::Double => NvValue::Double(f64::from_bits(self.long()?)),
            T::BooleanValue => NvValue::BooleanValue(self.boolean()?),
            T::String => NvValue::String(self.string()?),
            T::ByteArray => NvValue::ByteArray(self.opaque(count)?.to_vec()),
            T::Int8Array => NvValue::Int8Array(
                self.many(count, 4, |decoder| decoder.byte(data_type).map(u8::cast_signed))?,
            ),
            T::Uint8Array => NvValue::Uint8Array(self.many(count, 4, |decoder| decoder.byte(data_type))?),
            T::Int16Array => NvValue::Int16Array(self.many(count, 4, Self::short)?),
            T::Uint16Array => NvValue::Uint16Array(self.many(count, 4, Self::unsigned_short)?),
            T::Int32Array => NvValue::Int32Array(self.many(count, 4, |decoder| decoder.reader.i32(BIG))?),
            T::Uint32Array => NvValue::Uint32Array(self.many(count, 4, |decoder| decoder.reader.u32(BIG))?),
            T::Int64Array => {
                NvValue::Int64Array(self.many(count, 8, |decoder| decoder.long().map(u64::cast_signed))?)
            }
            T::Uint64Array => NvValue::Uint64Array(self.many(count, 8, Self::long)?),
            T::BooleanArray => NvValue::BooleanArray(self.many(count, 4, Self::boolean)?),
            T::StringArray => NvValue::StringArray(self.many(count, 4, Self::string)?),
            T::List => NvValue::List(self.nested(depth)?),
            T::ListArray => NvValue::ListArray(self.many(count, 16, |decoder| decoder.nested(depth))?),
        })
    }

    /// Reads `count` elements of at least `min_len` bytes.
    fn many<T>(
        &mut self,
        count: usize,
        min_len: usize,
        read: impl Fn(&mut Self) -> Result<T, NvError>,
    ) -> Result<Vec<T>, NvError> {
        self.reader.expect(count, min_len)?;
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }

    /// Reads the count of an array, which must equal that of the pair.
    fn array_count(&mut self, expected: usize) -> Result<(), NvError> {
        if expected == 0 {
            self.found.reserved_words += 1;
            return Ok(());
        }
        let at = self.reader.at;
        let found = self.reader.u32(BIG)?;
        if usize::try_from(found) == Ok(expected) {
            Ok(())
        } else {
            Err(NvError::new(at, NvFault::ArrayCount { found, expected }))
        }
    }

    fn nested(&mut self, depth: usize) -> Result<NvList, NvError> {
        let depth = deeper(depth, Encoding::Xdr, self.reader.at)?;
        self.list(depth)
    }

    fn long(&mut self) -> Result<u64, NvError> {
        Ok(BIG.u64(self.reader.take(8)?))
    }

    fn boolean(&mut self) -> Result<bool, NvError> {
        let at = self.reader.at;
        match self.reader.u32(BIG)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(NvError::new(at, NvFault::Boolean { found })),
        }
    }

    fn byte(&mut self, data_type: DataType) -> Result<u8, NvError> {
        let at = self.reader.at;
        let word = self.reader.u32(BIG)?;
        match word {
            0..=0xff => {}
            0xffff_ff80.. => self.found.signed_bytes = true,
            found => return Err(NvError::new(at, NvFault::Word { found, data_type })),
        }
        Ok(word.to_be_bytes()[3])
    }

    fn short(&mut self) -> Result<i16, NvError> {
        let at = self.reader.at;
        let word = self.reader.u32(BIG)?;
        match word {
            0..=0xffff => {}
            0xffff_8000.. => self.found.signed_shorts = true,
            found => return Err(NvError::new(at, NvFault::Word { found, data_type: DataType::Int16 })),
        }
        let [_, _, high, low] = word.to_be_bytes();
        Ok(i16::from_be_bytes([high, low]))
    }

    fn unsigned_short(&mut self) -> Result<u16, NvError> {
        let at = self.reader.at;
        let found = self.reader.u32(BIG)?;
        u16::try_from(found)
            .map_err(|_| NvError::new(at, NvFault::Word { found, data_type: DataType::Uint16 }))
    }

    /// Reads `len` bytes and their padding to a multiple of 4.
    fn opaque(&mut self, len: usize) -> Result<&[u8], NvError> {
        let at = self.reader.at;
        let bytes = self.reader.take(len)?;
        self.reader.take(len.next_multiple_of(4) - len).map_err(|mut error| {
            error.offset = at;
            error
        })?;
        Ok(bytes)
    }

    fn string(&mut self) -> Result<NvString, NvError> {
        let len = self.reader.u32(BIG)?;
        let at = self.reader.at;
        // A length that exceeds usize is longer than any buffer.
        let bytes = self.opaque(usize::try_from(len).unwrap_or(usize::MAX / 2))?;
        match bytes.iter().position(|byte| *byte == 0) {
            Some(nul) => Err(NvError::new(at + nul, NvFault::Nul)),
            None => Ok(NvString::from(bytes)),
        }
    }
}

/// Appends the body of the list to `out`.
pub(super) fn encode(list: &NvList, packed: Packed, out: Vec<u8>) -> Result<Vec<u8>, NvError> {
    let mut writer = Writer { packed, out, reserved_len: 0 };
    writer.list(list, 0)?;
    let len = writer.out.len() + writer.reserved_len;
    check_len(len)?;
    writer.out.resize(len, 0);
    Ok(writer.out)
}

struct Writer {
    packed: Packed,
    out: Vec<u8>,
    /// The number of bytes reserved for the counts of empty arrays so far.
    reserved_len: usize,
}

impl Writer {
    fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn byte(&mut self, value: u8) {
        let signed = i32::from(value.cast_signed()).cast_unsigned();
        self.u32(if self.packed.signed_bytes { signed } else { u32::from(value) });
    }

    fn short(&mut self, value: i16) {
        let signed = i32::from(value).cast_unsigned();
        self.u32(if self.packed.signed_shorts { signed } else { u32::from(value.cast_unsigned()) });
    }

    fn opaque(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.resize(self.out.len() + padding, 0);
    }

    fn string(&mut self, text: &NvString) -> Result<(), NvError> {
        let bytes = text.as_bytes();
        check_len(bytes.len())?;
        if let Some(nul) = bytes.iter().position(|byte| *byte == 0) {
            return Err(NvError::new(self.out.len() + 4 + nul, NvFault::Nul));
        }
        self.u32(bytes.len() as u32);
        self.opaque(bytes);
        Ok(())
    }

    fn list(&mut self, list: &NvList, depth: usize) -> Result<(), NvError> {
        self.u32(list.version.cast_unsigned());
        self.u32(list.nvflag);
        for pair in list {
            self.pair(pair, depth)?;
        }
        self.u64(0);
        Ok(())
    }

    fn pair(&mut self, pair: &NvPair, depth: usize) -> Result<(), NvError> {
        let start = self.out.len();
        let reserved_before = self.reserved_len;
        let name_len = pair.name.as_bytes().len();
        if name_len > MAX_NAME_LEN {
            return Err(NvError::new(start, NvFault::NameLen { len: name_len }));
        }
        let value_len = pair.value.native_len();
        check_len(value_len)?;
        let count = pair.value.element_count();
        let data_type = pair.value.data_type();
        self.u32(0);
        // The casts are lossless: the sizes of name and value were checked above.
        self.u32((align8(PAIR_HEAD_LEN + name_len + 1) + align8(value_len)) as u32);
        self.string(&pair.name)?;
        self.u32(data_type.number().cast_unsigned());
        self.u32(count as u32);
        if data_type.xdr_counts() {
            if count == 0 {
                self.reserved_len += 4;
            } else {
                self.u32(count as u32);
            }
        }
        self.value(&pair.value, depth)?;
        check_len(self.out.len())?;
        let encoded_len = self.out.len() - start + (self.reserved_len - reserved_before);
        BIG.put_u32(&mut self.out[start..], encoded_len as u32);
        Ok(())
    }

    fn nested(&mut self, list: &NvList, depth: usize) -> Result<(), NvError> {
        let depth = deeper(depth, Encoding::Xdr, self.out.len())?;
        self.list(list, depth)
    }

    fn value(&mut self, value: &NvValue, depth: usize) -> Result<(), NvError> {
        match value {
            NvValue::Boolean => {}
            NvValue::Byte(value) | NvValue::Uint8(value) => self.byte(*value),
            NvValue::Int8(value) => self.byte(value.cast_unsigned()),
            NvValue::Int16(value) => self.short(*value),
            NvValue::Uint16(value) => self.u32(u32::from(*value)),
            NvValue::Int32(value) => self.u32(value.cast_unsigned()),
            NvValue::Uint32(value) => self.u32(*value),
            NvValue::Int64(value) | NvValue::Hrtime(value) => self.u64(value.cast_unsigned()),
            NvValue::Uint64(value) => self.u64(*value),
            NvValue::Double(value) => self.u64(value.to_bits()),
            NvValue::BooleanValue(value) => self.u32(u32::from(*value)),
            NvValue::String(text) => self.string(text)?,
            NvValue::ByteArray(values) => self.opaque(values),
            NvValue::Uint8Array(values) => values.iter().for_each(|value| self.byte(*value)),
            NvValue::Int8Array(values) => values.iter().for_each(|value| self.byte(value.cast_unsigned())),
            NvValue::Int16Array(values) => values.iter().for_each(|value| self.short(*value)),
            NvValue::Uint16Array(values) => values.iter().for_each(|value| self.u32(u32::from(*value))),
            NvValue::Int32Array(values) => values.iter().for_each(|value| self.u32(value.cast_unsigned())),
            NvValue::Uint32Array(values) => values.iter().for_each(|value| self.u32(*value)),
            NvValue::Int64Array(values) => values.iter().for_each(|value| self.u64(value.cast_unsigned())),
            NvValue::Uint64Array(values) => values.iter().for_each(|value| self.u64(*value)),
            NvValue::BooleanArray(values) => values.iter().for_each(|value| self.u32(u32::from(*value))),
            NvValue::StringArray(texts) => texts.iter().try_for_each(|text| self.string(text))?,
            NvValue::List(list) => self.nested(list, depth)?,
            NvValue::ListArray(lists) => lists.iter().try_for_each(|list| self.nested(list, depth))?,
        }
        Ok(())
    }
}
