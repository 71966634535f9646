//! The native encoding: pairs as in the memory of the machine that packed them.
//!
//! ```text
//! list   version i32, nvflag u32, pair..., end: i32 0
//! pair   0 size i32 = a8(16 + name size) + a8(value size); the end marker is a size of 0
//!        4 name size i16, NUL included        8 element count i32
//!        6 i16 0                             12 type i32
//!       16 name, NUL, zeros to a multiple of 8
//!        . value, zeros to a multiple of 8 (a8 rounds up to 8, counted from the start of the pair)
//! ```
//!
//! Pointers are packed as zeros. A string array is a zero u64 for each string, then the strings. An embedded
//! list is 24 bytes { version i32, nvflag u32, zeros } in the pair; its pairs and end marker follow after the
//! pair. An array of lists is a zero u64 for each list, then the 24 bytes of each; the pairs and end markers
//! of the lists follow after the pair. An end marker is 4 bytes, so later pairs start at 4 mod 8.
//!
//! The size of a pair must be exactly the size of its name and value.

use super::packed::{Reader, check_len, deeper};
use super::value::{LIST_LEN, PAIR_HEAD_LEN, POINTER_LEN, align8};
use super::{DataType, Encoding, MAX_NAME_LEN, NvError, NvFault, NvList, NvPair, NvString, NvValue};
use crate::order::ByteOrder;

/// Reads the body of a list: version, flag, pairs, end marker.
pub(super) fn decode(reader: &mut Reader<'_>, order: ByteOrder) -> Result<NvList, NvError> {
    let version = reader.i32(order)?;
    let nvflag = reader.u32(order)?;
    pairs(reader, order, NvList { version, nvflag, pairs: Vec::new() }, 0)
}

/// Reads pairs into `list` up to its end marker.
fn pairs(
    reader: &mut Reader<'_>,
    order: ByteOrder,
    mut list: NvList,
    depth: usize,
) -> Result<NvList, NvError> {
    loop {
        let start = reader.at;
        let found = reader.i32(order)?;
        if found == 0 {
            return Ok(list);
        }
        let head = usize::try_from(found)
            .ok()
            .filter(|size| *size > PAIR_HEAD_LEN)
            .ok_or(NvError::new(start, NvFault::PairTooSmall { found }))?;
        let pair = Pair { order, start, bytes: reader.take(head - 4)? };
        list.pairs.push(pair.parse(reader, depth)?);
    }
}

/// The bytes of a pair after its size field.
struct Pair<'a> {
    order: ByteOrder,
    /// The offset of the pair in the packed list.
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Pair<'a> {
    /// Returns an error at `offset` bytes from the start of the pair.
    fn error(&self, offset: usize, fault: NvFault) -> NvError {
        NvError::new(self.start + offset, fault)
    }

    fn parse(&self, reader: &mut Reader<'_>, depth: usize) -> Result<NvPair, NvError> {
        let order = self.order;
        let size = self.bytes.len() + 4;
        let name_size = order.u16(self.bytes).cast_signed();
        let count = order.u32(&self.bytes[4..]).cast_signed();
        let type_number = order.u32(&self.bytes[8..]).cast_signed();
        let bad_name = || self.error(4, NvFault::NameSize { found: name_size, pair: size });
        let name_end = usize::try_from(name_size)
            .ok()
            .filter(|len| *len > 0)
            .map(|len| PAIR_HEAD_LEN + len)
            .ok_or_else(bad_name)?;
        let value_at = align8(name_end);
        let name = self.bytes.get(PAIR_HEAD_LEN - 4..name_end - 4).ok_or_else(bad_name)?;
        let value = self.bytes.get(value_at - 4..).ok_or_else(bad_name)?;
        let name = match name.iter().position(|byte| *byte == 0) {
            Some(nul) if nul + 1 == name.len() => NvString::from(&name[..nul]),
            Some(nul) => return Err(self.error(PAIR_HEAD_LEN + nul, NvFault::Nul)),
            None => return Err(self.error(name_end, NvFault::Unterminated)),
        };
        let data_type = DataType::from_number(type_number)
            .ok_or_else(|| self.error(12, NvFault::Type { found: type_number }))?;
        let value = Value { pair: self, at: value_at, bytes: value, data_type };
        Ok(NvPair { name, value: value.parse(count, reader, depth)? })
    }
}

/// The value of a pair.
struct Value<'a> {
    pair: &'a Pair<'a>,
    /// The offset of the value in the pair.
    at: usize,
    bytes: &'a [u8],
    data_type: DataType,
}

impl<'a> Value<'a> {
    fn parse(&self, found: i32, reader: &mut Reader<'_>, depth: usize) -> Result<NvValue, NvError> {
        use DataType as T;
        let order = self.pair.order;
        let count = usize::try_from(found).ok().filter(|count| match self.data_type {
            T::Boolean => *count == 0,
            other => other.is_array() || *count == 1,
        });
        let Some(count) = count else {
            return Err(self.pair.error(8, NvFault::Count { found, data_type: self.data_type }));
        };
        Ok(match self.data_type {
            T::Boolean => {
                self.exact(0)?;
                NvValue::Boolean
            }
            T::Byte => NvValue::Byte(self.exact(1)?[0]),
            T::Int8 => NvValue::Int8(self.exact(1)?[0].cast_signed()),
            T::Uint8 => NvValue::Uint8(self.exact(1)?[0]),
            T::Int16 => NvValue::Int16(order.u16(self.exact(2)?).cast_signed()),
            T::Uint16 => NvValue::Uint16(order.u16(self.exact(2)?)),
            T::Int32 => NvValue::Int32(order.u32(self.exact(4)?).cast_signed()),
            T::Uint32 => NvValue::Uint32(order.u32(self.exact(4)?)),
            T::Int64 => NvValue::Int64(order.u64(self.exact(8)?).cast_signed()),
            T::Uint64 => NvValue::Uint64(order.u64(self.exact(8)?)),
            T::Hrtime => NvValue::Hrtime(order.u64(self.exact(8)?).cast_signed()),
            T::Double => NvValue::Double(f64::from_bits(order.u64(self.exact(8)?))),
            T::BooleanValue => NvValue::BooleanValue(self.boolean(0, self.exact(4)?)?),
            T::String => {
                let text = self.string(0)?;
                self.exact(text.as_bytes().len() + 1)?;
                NvValue::String(text)
            }
            T::ByteArray => NvValue::ByteArray(self.array(count, 1)?.to_vec()),
            T::Uint8Array => NvValue::Uint8Array(self.array(count, 1)?.to_vec()),
            T::Int8Array => {
                NvValue::Int8Array(self.array(count, 1)?.iter().map(|byte| byte.cast_signed()).collect())
            }
            T::Int16Array => NvValue::Int16Array(self.numbers(count, 2, |at| order.u16(at).cast_signed())?),
            T::Uint16Array => NvValue::Uint16Array(self.numbers(count, 2, |at| order.u16(at))?),
            T::Int32Array => NvValue::Int32Array(self.numbers(count, 4, |at| order.u32(at).cast_signed())?),
            T::Uint32Array => NvValue::Uint32Array(self.numbers(count, 4, |at| order.u32(at))?),
            T::Int64Array => NvValue::Int64Array(self.numbers(count, 8, |at| order.u64(at).cast_signed())?),
            T::Uint64Array => NvValue::Uint64Array(self.numbers(count, 8, |at| order.u64(at))?),
            T::BooleanArray => {
                let words = self.array(count, 4)?.chunks_exact(4).enumerate();
                let values: Result<_, _> = words.map(|(index, word)| self.boolean(index * 4, word)).collect();
                NvValue::BooleanArray(values?)
            }
            T::StringArray => NvValue::StringArray(self.strings(count)?),
            T::List => {
                self.exact(LIST_LEN)?;
                NvValue::List(self.list(0, reader, depth)?)
            }
            T::ListArray => {
                self.array(count, POINTER_LEN + LIST_LEN)?;
                let lists: Result<_, _> = (0..count)
                    .map(|index| self.list(count * POINTER_LEN + index * LIST_LEN, reader, depth))
                    .collect();
                NvValue::ListArray(lists?)
            }
        })
    }

    /// Returns the `len` bytes of the value, if that is exactly its size in the pair.
    fn exact(&self, len: usize) -> Result<&'a [u8], NvError> {
        if align8(len) == self.bytes.len() { Ok(&self.bytes[..len]) } else { Err(self.wrong_size(len)) }
    }

    fn wrong_size(&self, value_len: usize) -> NvError {
        // The size was read as a positive i32, so it fits.
        let found = i32::try_from(self.at + self.bytes.len()).unwrap_or(i32::MAX);
        let expected = self.at.saturating_add(value_len.checked_next_multiple_of(8).unwrap_or(usize::MAX));
        self.pair.error(0, NvFault::PairSize { found, expected })
    }

    /// Returns the bytes of `count` elements of `len` bytes, like [`Value::exact`].
    fn array(&self, count: usize, len: usize) -> Result<&'a [u8], NvError> {
        // Both are below 2^31.
        match count.checked_mul(len) {
            Some(total) if total <= self.bytes.len() => self.exact(total),
            total => Err(self.wrong_size(total.unwrap_or(usize::MAX))),
        }
    }

    fn numbers<T>(&self, count: usize, len: usize, read: impl Fn(&[u8]) -> T) -> Result<Vec<T>, NvError> {
        Ok(self.array(count, len)?.chunks_exact(len).map(read).collect())
    }

    fn boolean(&self, offset: usize, word: &[u8]) -> Result<bool, NvError> {
        match self.pair.order.u32(word) {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(self.pair.error(self.at + offset, NvFault::Boolean { found })),
        }
    }

    /// Returns the string at `offset` in the value.
    fn string(&self, offset: usize) -> Result<NvString, NvError> {
        let rest = self.bytes.get(offset..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == 0) {
            Some(len) => Ok(NvString::from(&rest[..len])),
            None => Err(self.pair.error(self.at + offset, NvFault::Unterminated)),
        }
    }

    fn strings(&self, count: usize) -> Result<Vec<NvString>, NvError> {
        // Every string has at least a pointer and a NUL, so the size of the pair limits the count.
        let mut at = match count.checked_mul(POINTER_LEN + 1) {
            Some(least) if least <= self.bytes.len() => count * POINTER_LEN,
            least => return Err(self.wrong_size(least.unwrap_or(usize::MAX))),
        };
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let text = self.string(at)?;
            at += text.as_bytes().len() + 1;
            texts.push(text);
        }
        self.exact(at)?;
        Ok(texts)
    }

    /// Reads the list whose 24 bytes are at `offset` in the value and whose pairs are next in `reader`.
    fn list(&self, offset: usize, reader: &mut Reader<'_>, depth: usize) -> Result<NvList, NvError> {
        let offset_in_pair = self.at + offset;
        let depth = deeper(depth, Encoding::Native, self.pair.start + offset_in_pair)?;
        let order = self.pair.order;
        let version = order.u32(&self.bytes[offset..]).cast_signed();
        if version != 0 {
            return Err(self.pair.error(offset_in_pair, NvFault::Version { found: version }));
        }
        let nvflag = order.u32(&self.bytes[offset + 4..]);
        pairs(reader, order, NvList { version, nvflag, pairs: Vec::new() }, depth)
    }
}

/// Appends the body of the list to `out`.
pub(super) fn encode(list: &NvList, order: ByteOrder, out: Vec<u8>) -> Result<Vec<u8>, NvError> {
    let mut writer = Writer { order, out };
    writer.u32(list.version.cast_unsigned());
    writer.u32(list.nvflag);
    writer.pairs(list, 0)?;
    check_len(writer.out.len())?;
    Ok(writer.out)
}

struct Writer {
    order: ByteOrder,
    out: Vec<u8>,
}

impl Writer {
    fn u16(&mut self, value: u16) {
        let mut bytes = [0; 2];
        self.order.put_u16(&mut bytes, value);
        self.out.extend_from_slice(&bytes);
    }

    fn u32(&mut self, value: u32) {
        let mut bytes = [0; 4];
        self.order.put_u32(&mut bytes, value);
        self.out.extend_from_slice(&bytes);
    }

    fn u64(&mut self, value: u64) {
        let mut bytes = [0; 8];
        self.order.put_u64(&mut bytes, value);
        self.out.extend_from_slice(&bytes);
    }

    fn zeros(&mut self, len: usize) {
        self.out.resize(self.out.len() + len, 0);
    }

    fn pairs(&mut self, list: &NvList, depth: usize) -> Result<(), NvError> {
        for pair in list {
            self.pair(pair, depth)?;
        }
        self.u32(0);
        Ok(())
    }

    fn pair(&mut self, pair: &NvPair, depth: usize) -> Result<(), NvError> {
        let start = self.out.len();
        let name = pair.name.as_bytes();
        if name.len() > MAX_NAME_LEN {
            return Err(NvError::new(start, NvFault::NameLen { len: name.len() }));
        }
        let value_len = pair.value.native_len();
        check_len(value_len)?;
        check_len(start)?;
        let size = align8(PAIR_HEAD_LEN + name.len() + 1) + align8(value_len);
        // The casts are lossless: all sizes were checked above.
        self.u32(size as u32);
        self.u16((name.len() + 1) as u16);
        self.u16(0);
        self.u32(pair.value.element_count() as u32);
        self.u32(pair.value.data_type().number().cast_unsigned());
        self.string(&pair.name)?;
        self.pad(start);
        self.value(&pair.value, depth)?;
        self.pad(start);
        debug_assert_eq!(self.out.len() - start, size);
        match &pair.value {
            NvValue::List(list) => self.nested(list, depth),
            NvValue::ListArray(lists) => lists.iter().try_for_each(|list| self.nested(list, depth)),
            _ => Ok(()),
        }
    }

    /// Pads the pair that starts at `start` with zeros to a multiple of 8 bytes.
    fn pad(&mut self, start: usize) {
        self.out.resize(start + align8(self.out.len() - start), 0);
    }

    fn string(&mut self, text: &NvString) -> Result<(), NvError> {
        if text.as_bytes().contains(&0) {
            return Err(NvError::new(self.out.len(), NvFault::Nul));
        }
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
        Ok(())
    }

    /// Writes the 24 bytes of a list in its pair.
    fn list_stub(&mut self, list: &NvList) -> Result<(), NvError> {
        if list.version != 0 {
            return Err(NvError::new(self.out.len(), NvFault::Version { found: list.version }));
        }
        self.u32(0);
        self.u32(list.nvflag);
        self.zeros(LIST_LEN - 8);
        Ok(())
    }

    fn nested(&mut self, list: &NvList, depth: usize) -> Result<(), NvError> {
        let depth = deeper(depth, Encoding::Native, self.out.len())?;
        self.pairs(list, depth)
    }

    fn value(&mut self, value: &NvValue, depth: usize) -> Result<(), NvError> {
        debug_assert!(depth <= super::MAX_DEPTH);
        match value {
            NvValue::Boolean => {}
            NvValue::Byte(value) | NvValue::Uint8(value) => self.out.push(*value),
            NvValue::Int8(value) => self.out.push(value.cast_unsigned()),
            NvValue::Int16(value) => self.u16(value.cast_unsigned()),
            NvValue::Uint16(value) => self.u16(*value),
            NvValue::Int32(value) => self.u32(value.cast_unsigned()),
            NvValue::Uint32(value) => self.u32(*value),
            NvValue::Int64(value) | NvValue::Hrtime(value) => self.u64(value.cast_unsigned()),
            NvValue::Uint64(value) => self.u64(*value),
            NvValue::Double(value) => self.u64(value.to_bits()),
            NvValue::BooleanValue(value) => self.u32(u32::from(*value)),
            NvValue::String(text) => self.string(text)?,
            NvValue::ByteArray(values) | NvValue::Uint8Array(values) => self.out.extend_from_slice(values),
            NvValue::Int8Array(values) => self.out.extend(values.iter().map(|value| value.cast_unsigned())),
            NvValue::Int16Array(values) => values.iter().for_each(|value| self.u16(value.cast_unsigned())),
            NvValue::Uint16Array(values) => values.iter().for_each(|value| self.u16(*value)),
            NvValue::Int32Array(values) => values.iter().for_each(|value| self.u32(value.cast_unsigned())),
            NvValue::Uint32Array(values) => values.iter().for_each(|value| self.u32(*value)),
            NvValue::Int64Array(values) => values.iter().for_each(|value| self.u64(value.cast_unsigned())),
            NvValue::Uint64Array(values) => values.iter().for_each(|value| self.u64(*value)),
            NvValue::BooleanArray(values) => values.iter().for_each(|value| self.u32(u32::from(*value))),
            NvValue::StringArray(texts) => {
                self.zeros(texts.len() * POINTER_LEN);
                texts.iter().try_for_each(|text| self.string(text))?;
            }
            NvValue::List(list) => self.list_stub(list)?,
            NvValue::ListArray(lists) => {
                self.zeros(lists.len() * POINTER_LEN);
                lists.iter().try_for_each(|list| self.list_stub(list))?;
            }
        }
        Ok(())
    }
}
