//! The hash of a name, which determines the order of the entries of a ZAP.
//!
//! The hash is a CRC-64 (reflected ECMA-182, no final xor) that starts with the salt of the ZAP. Only its upper 28 or
//! 48 bits are significant. A ZAP with normalization flags hashes the normalized name and stores the original one.

use crc::{Algorithm, Crc, Table};

/// The number of significant bits of a hash without the flag for long hashes (`ZAP_HASHBITS`).
const HASH_BITS: u32 = 28;
/// The number of significant bits of a hash with the flag.
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

/// Returns the hash of a normalized name without final NUL.
pub(super) fn of_name(salt: u64, name: &[u8], long: bool) -> u64 {
    let mut digest = CRC64.digest_with_initial(salt.reverse_bits());
    digest.update(name);
    masked(digest.finalize(), long)
}

/// Returns the hash of a key of words. The hash of a `prehashed` key is its first word.
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
