//! Names as text.

use zstream_format::shown::Shown;

/// A file name for a line of text: invalid UTF-8, hidden characters and the backslash are shown as `\xNN`.
#[must_use]
pub fn file_name(bytes: &[u8]) -> String {
    Shown::exact(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hostile name cannot write over other lines, nor pass for another one.
    #[test]
    fn names_stay_on_their_line() {
        assert_eq!(file_name("naïve".as_bytes()), "naïve");
        assert_eq!(file_name(b"a\x1b[2J\n\xff\\"), r"a\x1b[2J\x0a\xff\x5c");
    }
}
