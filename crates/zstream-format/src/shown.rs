//! Safe display of names and other text from input.
//!
//! Names of datasets, files and members, values of properties and quotations in errors are read from streams and images.
//! Some characters in them would move the cursor, colour the terminal, start a new line, or display other characters out of
//! order; those, and bytes that are not valid UTF-8, are shown as `\xNN`, byte by byte.

use std::fmt;

/// Returns `true` if a character is escaped: control characters (C0 and C1), invisible characters, and those that set the
/// direction or the end of a line.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Text from input that is displayed on one line, with [hidden](is_hidden) characters escaped.
///
/// ```
/// use zstream_format::shown::Shown;
/// assert_eq!(Shown::new(b"tank/fs\x1b[2J\n\xff").to_string(), r"tank/fs\x1b[2J\x0a\xff");
/// assert_eq!(Shown::new("na\u{ef}ve\u{202e}".as_bytes()).to_string(), "na\u{ef}ve\\xe2\\x80\\xae");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    bytes: &'a [u8],
    escapes_backslash: bool,
}

impl<'a> Shown<'a> {
    /// Creates a display of these bytes that does not escape backslashes.
    pub fn new(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { bytes: bytes.as_ref(), escapes_backslash: false }
    }

    /// Creates an unambiguous display of these bytes: backslashes are escaped, too.
    pub fn exact(bytes: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { bytes: bytes.as_ref(), escapes_backslash: true }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex =
            |f: &mut fmt::Formatter<'_>, bytes: &[u8]| bytes.iter().try_for_each(|b| write!(f, "\\x{b:02x}"));
        let is_escaped = |c: char| is_hidden(c) || (c == '\\' && self.escapes_backslash);
        for chunk in self.bytes.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(is_escaped) {
                let length = rest[at..].chars().next().map_or(1, char::len_utf8);
                f.write_str(&rest[..at])?;
                hex(f, &rest.as_bytes()[at..at + length])?;
                rest = &rest[at + length..];
            }
            f.write_str(rest)?;
            hex(f, chunk.invalid())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_escaped_and_nothing_else() {
        for c in '\0'..=char::MAX {
            let shown = Shown::new(c.to_string().as_bytes()).to_string();
            assert_eq!(shown == c.to_string(), !is_hidden(c), "{:x}", u32::from(c));
            assert!(!shown.chars().any(is_hidden));
        }
        for c in "\u{1b}\u{7}\n\r\t\u{7f}\u{85}\u{9b}\u{202e}\u{2066}\u{2069}\u{200e}\u{61c}\u{2028}\u{2029}"
            .chars()
        {
            assert!(is_hidden(c), "{:x}", u32::from(c));
        }
        assert_eq!(Shown::new(b"a\\b").to_string(), r"a\b");
        assert_eq!(Shown::exact(b"a\\b\xc3").to_string(), r"a\x5cb\xc3");
    }
}
