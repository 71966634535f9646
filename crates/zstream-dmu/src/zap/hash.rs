//! What orders the entries of a ZAP: the hash of a name, and the form of a name that is hashed.
//!
//! The hash is a CRC-64 (reflected ECMA-182, no final xor) that starts with the ZAP's salt, of which
//! only the upper 28 or 48 bits count. A ZAP with normalization flags hashes the normalized name and
//! stores the original one.

use bitflags::bitflags;
use crc::{Algorithm, Crc, Table};
use unicode_normalization::UnicodeNormalization;

/// Bits of the hash that count, unless the ZAP asks for more (`ZAP_HASHBITS`).
const HASH_BITS: u32 = 28;
/// Bits of the hash that count with the 64-bit hash flag.
const HASH_BITS_LONG: u32 = 48;

const CRC64: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&Algorithm {
    width: 64,
    poly: 0x42f0_e1eb_a9ea_3693,
    init: 0,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0,
    residue: 0,
});

bitflags! {
    /// How a ZAP normalizes names before it hashes and compares them (`zap_normflags`, `U8_TEXTPREP_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct NormFlags: u64 {
        /// Compare with case.
        const CASE = 0x1;
        /// To upper case.
        const UPPER = 0x2;
        /// To lower case.
        const LOWER = 0x4;
        /// Canonical decomposition: alone, form NFD.
        const CANONICAL_DECOMPOSITION = 0x10;
        /// Compatibility decomposition: alone, form NFKD.
        const COMPATIBILITY_DECOMPOSITION = 0x20;
        /// Canonical composition after a decomposition: forms NFC and NFKC.
        const COMPOSITION = 0x40;
        const _ = !0;
    }
}

/// The hash of a normalized name, which has no NUL at its end.
pub(super) fn of_name(salt: u64, name: &[u8], long: bool) -> u64 {
    let mut digest = CRC64.digest_with_initial(salt.reverse_bits());
    digest.update(name);
    masked(digest.finalize(), long)
}

/// The hash of a key of words; `prehashed` keys are their own hash.
pub(super) fn of_words(salt: u64, key: &[u64], prehashed: bool, long: bool) -> u64 {
    if prehashed {
        return masked(key.first().copied().unwrap_or(0), long);
    }
    let mut digest = CRC64.digest_with_initial(salt.reverse_bits());
    for word in key {
        digest.update(&word.to_le_bytes());
    }
    masked(digest.finalize(), long)
}

fn masked(hash: u64, long: bool) -> u64 {
    let bits = if long { HASH_BITS_LONG } else { HASH_BITS };
    hash & !(u64::MAX >> bits)
}

/// The form of a name that is hashed and compared. Bytes that are no UTF-8 stay as they are.
pub(super) fn normalized(name: &[u8], flags: NormFlags) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        let cased: String = match () {
            () if flags.contains(NormFlags::UPPER) => chunk.valid().chars().map(upper).collect(),
            () if flags.contains(NormFlags::LOWER) => chunk.valid().chars().map(lower).collect(),
            () => chunk.valid().to_owned(),
        };
        let composed = flags.contains(NormFlags::COMPOSITION);
        let formed = if flags.contains(NormFlags::COMPATIBILITY_DECOMPOSITION) {
            if composed { cased.nfkc().collect() } else { cased.nfkd().collect() }
        } else if flags.contains(NormFlags::CANONICAL_DECOMPOSITION) {
            if composed { cased.nfc().collect() } else { cased.nfd().collect() }
        } else {
            cased
        };
        out.extend_from_slice(formed.as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// The upper case of a character where that is one character too: names keep their number of characters.
fn upper(c: char) -> char {
    // Small Greek letters with iota below have a capital of their own beside the pair of letters that
    // the full mapping gives.
    let own = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    if own != 0 {
        return char::from_u32(u32::from(c) + own).unwrap_or(c);
    }
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}

/// As [`upper`], to lower case.
fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => c,
    }
}
