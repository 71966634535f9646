//! The forms of names that ZAPs hash, identical to those of OpenZFS (`u8_textprep_str`).
//!
//! The tables of OpenZFS are those of Unicode 5.0 and must not change, because the form of a name is part of the
//! on-disk format. The tables of Rust are newer, so later additions are excluded here. The tables below were generated
//! by comparing both for every code point. They also keep names accessible with characters that did not exist in
//! Unicode when the pool was written.
//!
//! A name is processed in the order case, decomposition, order of combining marks, and composition; the flags of the
//! ZAP select the steps. Case is mapped by character. The other steps work on sequences, which consist of a character
//! and the marks after it. If OpenZFS differs from Unicode (long sequences, some compositions, bytes that are not
//! UTF-8), so does this module, because two forms that differ in one byte have different hashes.

use bitflags::bitflags;
use unicode_normalization::char::{
    canonical_combining_class, compose, decompose_canonical, decompose_compatible,
};

bitflags! {
    /// The normalization of names in a ZAP before they are hashed and compared (`zap_normflags`, `U8_TEXTPREP_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct NormFlags: u64 {
        /// Case-sensitive comparison.
        const CASE = 0x1;
        /// Conversion to upper case.
        const UPPER = 0x2;
        /// Conversion to lower case.
        const LOWER = 0x4;
        /// Canonical decomposition; form NFD if it is the only step.
        const CANONICAL_DECOMPOSITION = 0x10;
        /// Compatibility decomposition; form NFKD if it is the only step.
        const COMPATIBILITY_DECOMPOSITION = 0x20;
        /// Composition after a decomposition: forms NFC and NFKC.
        const COMPOSITION = 0x40;
        const _ = !0;
    }
}

impl NormFlags {
    /// Returns the form of a name that is hashed and compared. A name without a form (see [`Self::form`]) is
    /// normalized as far as possible, so that it can still be found.
    #[must_use]
    pub(crate) fn normalize(self, name: &[u8]) -> Vec<u8> {
        self.prepare(name).0
    }

    /// Returns the form of a name that is hashed and compared. Returns `None` if OpenZFS cannot store the name in a
    /// ZAP with these flags (`ENOTSUP`): the form is longer than the maximum length of a name, the last part is not
    /// UTF-8 and must be decomposed, or the flags contradict each other.
    #[must_use]
    pub fn form(self, name: &[u8]) -> Option<Vec<u8>> {
        let (form, is_whole) = self.prepare(name);
        let limit = if name.len() < NAME_BYTES { NAME_BYTES } else { LONG_NAME_BYTES };
        (is_whole && form.len() < limit).then_some(form)
    }

    /// Returns the form, and whether all parts of the name were normalized.
    fn prepare(self, name: &[u8]) -> (Vec<u8>, bool) {
        if (self - Self::CASE).is_empty() {
            return (name.to_vec(), true);
        }
        let decomposes = Self::CANONICAL_DECOMPOSITION | Self::COMPATIBILITY_DECOMPOSITION;
        let is_known = !self.contains(decomposes)
            && !self.contains(Self::UPPER | Self::LOWER)
            && (self.intersects(decomposes) || !self.contains(Self::COMPOSITION));
        // OpenZFS treats the final NUL as a part of the name, so it can be the last byte of a truncated character.
        let bytes = [name, b"\0"].concat();
        let mut rest = &bytes[..];
        let (mut out, mut is_whole) = (Vec::with_capacity(bytes.len()), true);
        while let [first, after @ ..] = rest {
            let is_alone = first.is_ascii() && after.first().is_none_or(u8::is_ascii);
            if is_alone || !self.intersects(decomposes) {
                let (unit, bytes) = Unit::split(rest);
                rest = &rest[bytes..];
                self.cased(unit).put(&mut out);
                continue;
            }
            is_whole = self.sequence(&mut rest, &mut out);
        }
        let end = out.iter().position(|byte| *byte == 0).unwrap_or(out.len());
        out.truncate(end);
        (out, is_known && is_whole)
    }

    fn cased(self, unit: Unit<'_>) -> Unit<'_> {
        match unit {
            Unit::Char(c) if self.contains(Self::UPPER) => Unit::Char(upper(c)),
            Unit::Char(c) if self.contains(Self::LOWER) => Unit::Char(lower(c)),
            other => other,
        }
    }

    /// Passes the parts of a unit, with their combining classes, to `push`.
    fn decomposed<'a>(self, unit: Unit<'a>, mut push: impl FnMut((u8, Unit<'a>))) {
        match unit {
            Unit::Char(c) if !is_in(&DECOMPOSED_SINCE, c) => {
                let push = |c| push((combining_class(c), Unit::Char(c)));
                if self.contains(Self::COMPATIBILITY_DECOMPOSITION) {
                    decompose_compatible(c, push)
                } else {
                    decompose_canonical(c, push)
                }
            }
            Unit::Char(c) => push((combining_class(c), unit)),
            other => push((0, other)),
        }
    }

    /// Normalizes the next sequence (`collect_a_seq`): a character with the marks after it, or the letters of a Hangul
    /// syllable. Returns whether the sequence consists of characters.
    fn sequence(self, rest: &mut &[u8], out: &mut Vec<u8>) -> bool {
        let (unit, bytes) = Unit::split(rest);
        *rest = &rest[bytes..];
        if let Unit::Stray(bytes) = unit {
            out.extend_from_slice(bytes);
            return false;
        }
        let mut units = Vec::with_capacity(4);
        let unit = self.cased(unit.as_syllable());
        self.decomposed(unit, |piece| units.push(piece));
        let first = units.len();
        // Letters with only a compatibility decomposition do not start a syllable.
        let mut hangul = match unit {
            Unit::Char('\u{ac00}'..='\u{d7a3}') if first == 3 => Hangul::Lvt,
            Unit::Char('\u{ac00}'..='\u{d7a3}') => Hangul::Lv,
            other => Hangul::None.followed_by(other),
        };
        loop {
            let (unit, bytes) = Unit::split(rest);
            let Unit::Char(c) = unit else { break };
            let next = hangul.followed_by(unit);
            if hangul.joins(next) {
                hangul = next;
                units.push((0, unit));
                *rest = &rest[bytes..];
                continue;
            }
            if combining_class(c) == 0 || hangul != Hangul::None {
                break;
            }
            let before = units.len();
            self.decomposed(unit, |piece| units.push(piece));
            if units.len() >= SEQUENCE_MAX {
                units.truncate(before);
                units.push((0, Unit::Char(GRAPHEME_JOINER)));
                break;
            }
            // The combining iota below has a letter as its upper case, which keeps the position of the mark.
            if self.contains(Self::UPPER)
                && let Some((_, last @ Unit::Char(IOTA_BELOW))) = units.last_mut()
            {
                *last = Unit::Char('\u{399}');
            }
            *rest = &rest[bytes..];
        }
        if units.len() > first {
            for marks in units.chunk_by_mut(|(class, _), (next, _)| *class != 0 && *next != 0) {
                marks.sort_by_key(|(class, _)| *class);
            }
        }
        if self.contains(Self::COMPOSITION) {
            compose_sequence(&units, rest).into_iter().for_each(|unit| unit.put(out));
        } else {
            units.iter().for_each(|(_, unit)| unit.put(out));
        }
        true
    }
}

/// The maximum length of a name, and of a long name, with its NUL in bytes (`ZAP_MAXNAMELEN`, `ZAP_MAXNAMELEN_NEW`).
const NAME_BYTES: usize = 256;
const LONG_NAME_BYTES: usize = 1024;

/// The length from which a sequence is cut (`U8_UPPER_LIMIT_IN_A_SEQ`), with a character that separates the rest.
const SEQUENCE_MAX: usize = 31;
const GRAPHEME_JOINER: char = '\u{34f}';
const IOTA_BELOW: char = '\u{345}';

/// The units of a name, whose length is determined by their first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit<'a> {
    /// A character.
    Char(char),
    /// Bytes of the length of a character that are not a character.
    Raw(&'a [u8]),
    /// A byte that cannot start a character, or a truncated unit.
    Stray(&'a [u8]),
}

impl<'a> Unit<'a> {
    /// Returns the next unit and its length in bytes. At the end this is an empty stray unit.
    fn split(rest: &'a [u8]) -> (Self, usize) {
        let wanted = match rest.first() {
            None => return (Self::Stray(rest), 0),
            Some(0..=0x7f) => 1,
            Some(0xc2..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..=0xf4) => 4,
            Some(_) => return (Self::Stray(&rest[..1]), 1),
        };
        let Some(bytes) = rest.get(..wanted) else { return (Self::Stray(rest), rest.len()) };
        let c = str::from_utf8(bytes).ok().and_then(|text| text.chars().next());
        (c.map_or(Self::Raw(bytes), Self::Char), wanted)
    }

    /// Interprets three bytes as a Hangul syllable if their lower bits match, as OpenZFS does.
    fn as_syllable(self) -> Self {
        let Self::Raw(&[first, second, third]) = self else { return self };
        let bits = u32::from(first & 0xf) << 12 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f);
        char::from_u32(bits).filter(|c| ('\u{ac00}'..='\u{d7a3}').contains(c)).map_or(self, Self::Char)
    }

    fn put(self, out: &mut Vec<u8>) {
        match self {
            Self::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Self::Raw(bytes) | Self::Stray(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// The state of a Hangul syllable: leading consonant, vowel, trailing consonant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangul {
    None,
    L,
    Lv,
    Lvt,
    V,
    T,
}

impl Hangul {
    fn followed_by(self, unit: Unit<'_>) -> Self {
        match (unit, self) {
            (Unit::Char(JAMO_L..='\u{1112}'), _) => Self::L,
            (Unit::Char(JAMO_V..='\u{1175}'), Self::L) => Self::Lv,
            (Unit::Char(JAMO_V..='\u{1175}'), _) => Self::V,
            (Unit::Char('\u{11a8}'..='\u{11c2}'), Self::Lv) => Self::Lvt,
            (Unit::Char('\u{11a8}'..='\u{11c2}'), _) => Self::T,
            _ => Self::None,
        }
    }

    /// Returns whether the letter that results in `next` belongs to the same syllable.
    fn joins(self, next: Self) -> bool {
        matches!((self, next), (Self::L, Self::Lv) | (Self::Lv, Self::Lvt))
    }
}

const JAMO_L: char = '\u{1100}';
const JAMO_V: char = '\u{1161}';

/// Composes a sequence (`do_composition`), and the following characters if they compose with its last one.
///
/// This differs from the algorithm of Unicode, and the differences are part of the format. A skipped mark does not
/// block others after a composition. Skipped marks are lost, and the last composed mark is repeated if the character
/// that separates a long sequence follows a composed character that could compose further.
fn compose_sequence<'a>(units: &[(u8, Unit<'a>)], rest: &mut &[u8]) -> Vec<Unit<'a>> {
    let Some(last) = units.len().checked_sub(1) else { return Vec::new() };
    let mut out = Vec::with_capacity(units.len());
    let mut i = 0;
    while i <= last {
        let (class, unit) = units[i];
        if i == last || class != 0 {
            out.push(unit);
            i += 1;
            continue;
        }
        let syllable = units[i..].iter().take(3).map(|(_, unit)| *unit);
        if let Some((syllable, length)) = hangul_syllable(syllable) {
            out.push(Unit::Char(syllable));
            i += length;
            continue;
        }
        let mut passed: Vec<usize> = Vec::new();
        let mut composed: Option<Unit<'_>> = None;
        let repeated = loop {
            i += 1;
            let (class, mark) = units[i];
            match pair(composed.unwrap_or(unit), mark) {
                Some(whole) => composed = Some(Unit::Char(whole)),
                None if class == 0 && (composed.is_none() || composed.is_some_and(takes_more)) => {
                    break Some(i - 1);
                }
                None if class == 0 => break None,
                None => passed.push(i),
            }
            if composed.is_none() {
                let is_blocked =
                    |at: usize| units[1..at].iter().any(|(class, _)| *class == 0 || *class >= units[at].0);
                while i < last && is_blocked(i + 1) {
                    i += 1;
                    passed.push(i);
                }
            }
            if i == last {
                i += 1;
                break None;
            }
        };
        match repeated {
            Some(at) => out.extend(composed.into_iter().chain([units[at].1])),
            None => {
                out.push(composed.unwrap_or(unit));
                out.extend(passed.into_iter().map(|at| units[at].1));
            }
        }
    }
    if units[last].0 == 0 {
        loop {
            let (next, bytes) = Unit::split(rest);
            let Some(whole) = out.last().and_then(|unit| pair(*unit, next)) else { break };
            out.pop();
            out.push(Unit::Char(whole));
            *rest = &rest[bytes..];
        }
    }
    out
}

/// Returns the syllable of the letters at the start of a sequence, and the number of letters.
fn hangul_syllable<'a>(mut letters: impl Iterator<Item = Unit<'a>>) -> Option<(char, usize)> {
    let (Unit::Char(l @ JAMO_L..='\u{1112}'), Unit::Char(v @ JAMO_V..='\u{1175}')) =
        (letters.next()?, letters.next()?)
    else {
        return None;
    };
    let lv = compose(l, v)?;
    match letters.next() {
        Some(Unit::Char(t @ '\u{11a8}'..='\u{11c2}')) => Some((compose(lv, t)?, 3)),
        _ => Some((lv, 2)),
    }
}

/// Returns the composition of two characters, except syllables.
fn pair(first: Unit<'_>, second: Unit<'_>) -> Option<char> {
    let (Unit::Char(first), Unit::Char(second)) = (first, second) else { return None };
    if ('\u{1100}'..='\u{11ff}').contains(&second) {
        return None;
    }
    compose(first, second).filter(|whole| !is_in(&DECOMPOSED_SINCE, *whole))
}

/// Returns whether a composed character composes with another mark.
fn takes_more(unit: Unit<'_>) -> bool {
    let mut marks = ('\u{300}'..=IOTA_BELOW).chain(['\u{cd5}', '\u{dca}']);
    marks.any(|mark| pair(unit, Unit::Char(mark)).is_some())
}

fn combining_class(c: char) -> u8 {
    if is_in(&COMBINING, c) { canonical_combining_class(c) } else { 0 }
}

/// Returns the upper case of a character if it is a single character.
fn upper(c: char) -> char {
    // Small Greek letters with iota below have their own upper case, in addition to the pair of letters of the full
    // mapping.
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

/// Returns the lower case of a character if it is a single character.
fn lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        // The full mapping of the dotted capital I includes a separate dot.
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

/// Characters with an upper case that was added later.
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
/// Characters with a lower case that was added later.
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
/// Characters with a decomposition that was added later.
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
/// Combining marks.
const COMBINING: [(u32, u32); 84] = [
    (0x300, 0x34e),
    (0x350, 0x36f),
    (0x483, 0x486),
    (0x591, 0x5bd),
    (0x5bf, 0x5bf),
    (0x5c1, 0x5c2),
    (0x5c4, 0x5c5),
    (0x5c7, 0x5c7),
    (0x610, 0x615),
    (0x64b, 0x65e),
    (0x670, 0x670),
    (0x6d6, 0x6dc),
    (0x6df, 0x6e4),
    (0x6e7, 0x6e8),
    (0x6ea, 0x6ed),
    (0x711, 0x711),
    (0x730, 0x74a),
    (0x7eb, 0x7f3),
    (0x93c, 0x93c),
    (0x94d, 0x94d),
    (0x951, 0x954),
    (0x9bc, 0x9bc),
    (0x9cd, 0x9cd),
    (0xa3c, 0xa3c),
    (0xa4d, 0xa4d),
    (0xabc, 0xabc),
    (0xacd, 0xacd),
    (0xb3c, 0xb3c),
    (0xb4d, 0xb4d),
    (0xbcd, 0xbcd),
    (0xc4d, 0xc4d),
    (0xc55, 0xc56),
    (0xcbc, 0xcbc),
    (0xccd, 0xccd),
    (0xd4d, 0xd4d),
    (0xdca, 0xdca),
    (0xe38, 0xe3a),
    (0xe48, 0xe4b),
    (0xeb8, 0xeb9),
    (0xec8, 0xecb),
    (0xf18, 0xf19),
    (0xf35, 0xf35),
    (0xf37, 0xf37),
    (0xf39, 0xf39),
    (0xf71, 0xf72),
    (0xf74, 0xf74),
    (0xf7a, 0xf7d),
    (0xf80, 0xf80),
    (0xf82, 0xf84),
    (0xf86, 0xf87),
    (0xfc6, 0xfc6),
    (0x1037, 0x1037),
    (0x1039, 0x1039),
    (0x135f, 0x135f),
    (0x1714, 0x1714),
    (0x1734, 0x1734),
    (0x17d2, 0x17d2),
    (0x17dd, 0x17dd),
    (0x18a9, 0x18a9),
    (0x1939, 0x193b),
    (0x1a17, 0x1a18),
    (0x1b34, 0x1b34),
    (0x1b44, 0x1b44),
    (0x1b6b, 0x1b73),
    (0x1dc0, 0x1dca),
    (0x1dfe, 0x1dff),
    (0x20d0, 0x20dc),
    (0x20e1, 0x20e1),
    (0x20e5, 0x20ef),
    (0x302a, 0x302f),
    (0x3099, 0x309a),
    (0xa806, 0xa806),
    (0xfb1e, 0xfb1e),
    (0xfe20, 0xfe23),
    (0x10a0d, 0x10a0d),
    (0x10a0f, 0x10a0f),
    (0x10a38, 0x10a3a),
    (0x10a3f, 0x10a3f),
    (0x1d165, 0x1d169),
    (0x1d16d, 0x1d172),
    (0x1d17b, 0x1d182),
    (0x1d185, 0x1d18b),
    (0x1d1aa, 0x1d1ad),
    (0x1d242, 0x1d244),
];
