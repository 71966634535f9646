//! Text that arrives in pieces, without hidden characters.

use std::fmt::Write as _;

use zstream_format::shown::{Shown, is_hidden};

/// Escapes hidden characters in text that arrives in pieces, except line ends and tabs.
#[derive(Debug, Default)]
pub struct Escapes {
    /// The start of an incomplete character.
    rest: Vec<u8>,
}

impl Escapes {
    /// The text of one more piece. Hidden characters are written as in JSON, in whose strings they may be; bytes that are not UTF-8,
    /// which JSON does not have, as `\xNN`.
    pub fn pass(&mut self, bytes: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut out = String::with_capacity(all.len());
        let mut at = 0;
        for chunk in all.utf8_chunks() {
            for c in chunk.valid().chars() {
                if is_hidden(c) && c != '\n' && c != '\t' {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        // Writing to a `String` does not fail.
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                } else {
                    out.push(c);
                }
            }
            at += chunk.valid().len() + chunk.invalid().len();
            let may_go_on = at == all.len()
                && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if may_go_on {
                self.rest = chunk.invalid().to_vec();
            } else {
                let _ = write!(out, "{}", Shown::new(chunk.invalid()));
            }
        }
        out
    }

    /// The text of an incomplete character at the end.
    pub fn end(&mut self) -> String {
        Shown::new(&std::mem::take(&mut self.rest)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of any length the same comes out, and never a control character that went in.
    #[test]
    fn what_is_hidden_is_escaped_in_pieces_of_any_length() {
        let text = "a\u{e9}\u{1b}[2J\t\u{7f}\u{9b}\u{202e}\u{e0041}\u{10400}\n".as_bytes();
        let text = [text, b"\xc3", text, b"\xf0\x90", b"z\xe2\x80"].concat();
        let once = |at: usize| {
            let mut escapes = Escapes::default();
            text.chunks(at).map(|piece| escapes.pass(piece)).collect::<String>() + &escapes.end()
        };
        let whole = once(text.len());
        let first = "a\u{e9}\\u001b[2J\t\\u007f\\u009b\\u202e\\udb40\\udc41\u{10400}\n";
        assert_eq!(whole, format!("{first}\\xc3{first}\\xf0\\x90z\\xe2\\x80"));
        for at in 1..text.len() {
            assert_eq!(once(at), whole, "pieces of {at}");
        }
    }
}
