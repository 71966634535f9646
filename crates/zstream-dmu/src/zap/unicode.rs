//! The forms of names that ZAPs hash, as OpenZFS makes them (`u8_textprep_str`).
//!
//! OpenZFS's tables are those of Unicode 5.0, and must stay so: a name's form is part of the format.
//! Rust's tables are newer, so what came later is left out here. The tables below were made by
//! comparing both for every code point; a pool that was written with characters that Unicode did not
//! have then still finds its names.
//!
//! A name goes through case, decomposition, the order of combining marks, and composition, each if the ZAP
//! asks for it. Case is mapped character by character.

use bitflags::bitflags;
use unicode_normalization::char::{
    canonical_combining_class, compose, decompose_canonical, decompose_compatible,
};

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
        /// Composition after a decomposition: forms NFC and NFKC.
        const COMPOSITION = 0x40;
        const _ = !0;
    }
}

impl NormFlags {
    /// The form of a name that is hashed and compared. Bytes that are no UTF-8 stay as they are.
    #[must_use]
    pub fn normalize(self, name: &[u8]) -> Vec<u8> {
        if (self - Self::CASE).is_empty() {
            return name.to_vec();
        }
        let mut out = Vec::with_capacity(name.len());
        for chunk in name.utf8_chunks() {
            out.extend_from_slice(self.normalize_text(chunk.valid()).as_bytes());
            out.extend_from_slice(chunk.invalid());
        }
        out
    }

    fn normalize_text(self, text: &str) -> String {
        let cased = |c| {
            if self.contains(Self::UPPER) {
                upper(c)
            } else if self.contains(Self::LOWER) {
                lower(c)
            } else {
                c
            }
        };
        let compatible = self.contains(Self::COMPATIBILITY_DECOMPOSITION);
        if !compatible && !self.contains(Self::CANONICAL_DECOMPOSITION) {
            return text.chars().map(cased).collect();
        }
        let mut chars = Vec::with_capacity(text.len());
        // Marks go by class behind the character that they follow; those of the same class stay in
        // order. What follows a character without a class starts anew, also where it decomposes to marks.
        let mut first_mark = 0;
        for original in text.chars() {
            let (class, c) = (combining_class(original), cased(original));
            if class == 0 {
                sort_marks(&mut chars[first_mark..]);
                first_mark = chars.len();
            }
            if class != 0 && combining_class(c) == 0 {
                // The iota below has a capital that is a letter; it keeps the mark's place.
                chars.push((class, c));
            } else if is_in(&DECOMPOSED_SINCE, c) {
                chars.push((combining_class(c), c));
            } else {
                let mut push = |c| chars.push((combining_class(c), c));
                if compatible {
                    decompose_compatible(c, &mut push)
                } else {
                    decompose_canonical(c, &mut push)
                }
            }
        }
        sort_marks(&mut chars[first_mark..]);
        if self.contains(Self::COMPOSITION) {
            composed(&chars)
        } else {
            chars.iter().map(|(_, c)| c).collect()
        }
    }
}

fn sort_marks(chars: &mut [(u8, char)]) {
    for marks in chars.chunk_by_mut(|(class, _), (next, _)| *class != 0 && *next != 0) {
        marks.sort_by_key(|(class, _)| *class);
    }
}

/// Composes marks with the character that they follow, unless another mark of their class or a higher
/// one stands between.
fn composed(chars: &[(u8, char)]) -> String {
    let mut out: Vec<char> = Vec::with_capacity(chars.len());
    let mut starter = None;
    let mut last_class = 0;
    for &(class, c) in chars {
        let blocked = starter.is_none_or(|at: usize| at + 1 < out.len() && last_class >= class);
        let pair = starter.filter(|_| !blocked).and_then(|at| Some((at, compose(out[at], c)?)));
        match pair {
            Some((at, whole)) if !is_in(&DECOMPOSED_SINCE, whole) => out[at] = whole,
            _ => {
                if class == 0 {
                    starter = Some(out.len());
                }
                last_class = class;
                out.push(c);
            }
        }
    }
    out.into_iter().collect()
}

fn combining_class(c: char) -> u8 {
    if is_in(&COMBINING_SINCE, c) { 0 } else { canonical_combining_class(c) }
}

/// The upper case of a character where that is one character too.
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
        (Some(one), None) if !is_in(&UPPER_SINCE, c) => one,
        _ => c,
    }
}

/// The lower case of a character where that is one character too.
fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        // Dotted capital I has a dot of its own in the full mapping.
        (Some(one), Some(_)) if c == '\u{130}' => one,
        (Some(one), None) if !is_in(&LOWER_SINCE, c) => one,
        _ => c,
    }
}

fn is_in(ranges: &[(u32, u32)], c: char) -> bool {
    let c = u32::from(c);
    let after = ranges.partition_point(|(first, _)| *first <= c);
    after > 0 && c <= ranges[after - 1].1
}

/// Characters that got an upper case later.
const UPPER_SINCE: [(u32, u32); 36] = [
    (0x19b, 0x19b),
    (0x23f, 0x240),
    (0x250, 0x252),
    (0x25c, 0x25c),
    (0x261, 0x261),
    (0x264, 0x266),
    (0x26a, 0x26a),
    (0x26c, 0x26c),
    (0x271, 0x271),
    (0x282, 0x282),
    (0x287, 0x287),
    (0x29d, 0x29e),
    (0x371, 0x377),
    (0x3d7, 0x3d7),
    (0x3f3, 0x3f3),
    (0x515, 0x52f),
    (0x10d0, 0x10ff),
    (0x13f8, 0x13fd),
    (0x1c80, 0x1c8a),
    (0x1d79, 0x1d79),
    (0x1d8e, 0x1d8e),
    (0x1efb, 0x1eff),
    (0x2c5f, 0x2c5f),
    (0x2c73, 0x2c73),
    (0x2cec, 0x2cf3),
    (0x2d27, 0x2d2d),
    (0xa641, 0xa69b),
    (0xa723, 0xa7f6),
    (0xab53, 0xabbf),
    (0x104d8, 0x104fb),
    (0x10597, 0x105bc),
    (0x10cc0, 0x10cf2),
    (0x10d70, 0x10d85),
    (0x118c0, 0x118df),
    (0x16e60, 0x16ed3),
    (0x1e922, 0x1e943),
];
/// Characters that got a lower case later.
const LOWER_SINCE: [(u32, u32); 22] = [
    (0x370, 0x37f),
    (0x3cf, 0x3cf),
    (0x514, 0x52e),
    (0x10c7, 0x10cd),
    (0x13a0, 0x13f5),
    (0x1c89, 0x1cbf),
    (0x1e9e, 0x1e9e),
    (0x1efa, 0x1efe),
    (0x2c2f, 0x2c2f),
    (0x2c6d, 0x2c72),
    (0x2c7e, 0x2c7f),
    (0x2ceb, 0x2cf2),
    (0xa640, 0xa69a),
    (0xa722, 0xa7f5),
    (0x104b0, 0x104d3),
    (0x10570, 0x10595),
    (0x10c80, 0x10cb2),
    (0x10d50, 0x10d65),
    (0x118a0, 0x118bf),
    (0x16e40, 0x16e5f),
    (0x16ea0, 0x16eb8),
    (0x1e900, 0x1e921),
];
/// Characters that got a decomposition later.
const DECOMPOSED_SINCE: [(u32, u32); 32] = [
    (0x558, 0x558),
    (0x58b, 0x58c),
    (0x2095, 0x209f),
    (0x2150, 0x2152),
    (0x2189, 0x2189),
    (0x2c7c, 0x2c7d),
    (0x3244, 0x3247),
    (0x32ff, 0x32ff),
    (0xa69c, 0xa69d),
    (0xa770, 0xa770),
    (0xa7f1, 0xa7f9),
    (0xab5c, 0xab69),
    (0xfa2e, 0xfa2f),
    (0xfa6b, 0xfa6d),
    (0x105c9, 0x105e4),
    (0x10781, 0x107bf),
    (0x1109a, 0x110ab),
    (0x1112e, 0x1112f),
    (0x1134b, 0x113c8),
    (0x114bb, 0x114be),
    (0x115ba, 0x115bb),
    (0x11938, 0x11938),
    (0x16121, 0x16128),
    (0x16d68, 0x16d6a),
    (0x1b123, 0x1b126),
    (0x1ccd6, 0x1ccf9),
    (0x1d6a6, 0x1d6a6),
    (0x1df95, 0x1e06d),
    (0x1ee00, 0x1eebb),
    (0x1f100, 0x1f190),
    (0x1f200, 0x1f251),
    (0x1fbf0, 0x1fbf9),
];
/// Marks that combine since later.
const COMBINING_SINCE: [(u32, u32); 64] = [
    (0x487, 0x487),
    (0x616, 0x61a),
    (0x65f, 0x65f),
    (0x7fd, 0x8ff),
    (0x9fe, 0x9fe),
    (0xc3c, 0xc3c),
    (0xd3b, 0xd3c),
    (0xeba, 0xeba),
    (0x103a, 0x103a),
    (0x108d, 0x108d),
    (0x135d, 0x135e),
    (0x1715, 0x1715),
    (0x1a60, 0x1ace),
    (0x1baa, 0x1bf3),
    (0x1c37, 0x1c37),
    (0x1cd0, 0x1cf9),
    (0x1dcb, 0x1dfd),
    (0x20f0, 0x20f0),
    (0x2cef, 0x2cf1),
    (0x2d7f, 0x2d7f),
    (0x2de0, 0x2dff),
    (0xa66f, 0xa69f),
    (0xa6f0, 0xa6f1),
    (0xa82c, 0xa82c),
    (0xa8c4, 0xa953),
    (0xa9b3, 0xa9c0),
    (0xaab0, 0xaaf6),
    (0xabed, 0xabed),
    (0xfe24, 0xfe2f),
    (0x101fd, 0x101fd),
    (0x102e0, 0x102e0),
    (0x10376, 0x1037a),
    (0x10ae5, 0x10ae6),
    (0x10d24, 0x10d27),
    (0x10eab, 0x10eac),
    (0x10f46, 0x10f85),
    (0x11046, 0x110ba),
    (0x11100, 0x11173),
    (0x111c0, 0x111ca),
    (0x11235, 0x11236),
    (0x112e9, 0x112ea),
    (0x1133b, 0x11374),
    (0x11442, 0x1145e),
    (0x114c2, 0x114c3),
    (0x115bf, 0x115c0),
    (0x1163f, 0x1163f),
    (0x116b6, 0x116b7),
    (0x1172b, 0x1172b),
    (0x11839, 0x1183a),
    (0x1193d, 0x11943),
    (0x119e0, 0x119e0),
    (0x11a34, 0x11a47),
    (0x11a99, 0x11a99),
    (0x11c3f, 0x11c3f),
    (0x11d42, 0x11d45),
    (0x11d97, 0x11d97),
    (0x16af0, 0x16b36),
    (0x16ff0, 0x16ff1),
    (0x1bc9e, 0x1bc9e),
    (0x1e000, 0x1e02a),
    (0x1e130, 0x1e136),
    (0x1e2ae, 0x1e2ef),
    (0x1e8d0, 0x1e8d6),
    (0x1e944, 0x1e94a),
];
