//! Names as text.

/// A file's name for a line of text: what is not UTF-8 and what would move the cursor as `\xNN`.
#[must_use]
pub fn file_name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let hex = |out: &mut String, bytes: &[u8]| {
        out.extend(bytes.iter().map(|byte| format!("\\x{byte:02x}")));
    };
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char.is_control() || char == '\\' {
                true => hex(&mut out, char.encode_utf8(&mut [0; 4]).as_bytes()),
                false => out.push(char),
            }
        }
        hex(&mut out, chunk.invalid());
    }
    out
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
