//! Names, numbers, times and tables as text.
//!
//! Names and values come from outside: none of these lets one write over other text, or pass for another one.

mod escapes;
mod file;
mod table;
mod time;

use std::fmt;

use zstream_format::shown::Shown;

pub use self::escapes::Escapes;
pub use self::file::{long_line, mode, owner};
pub use self::table::{Column, table};
pub use self::time::{Clock, Utc};

/// A file name for a line of text: invalid UTF-8, hidden characters and the backslash are shown as `\xNN`.
#[must_use]
pub fn file_name(bytes: &[u8]) -> String {
    Shown::exact(bytes).to_string()
}

/// A number of bytes with the unit that leaves it short, as `zfs list` shows sizes.
#[derive(Clone, Copy, Debug)]
pub struct Size(
    /// The number.
    pub u64,
);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = (self.0.max(1).ilog2() / 10).min(6) as usize;
        if unit == 0 {
            return write!(f, "{}B", self.0);
        }
        let value = self.0 as f64 / f64::from(unit as u32 * 10).exp2();
        let digits = if value < 9.995 {
            2
        } else if value < 99.95 {
            1
        } else {
            0
        };
        write!(f, "{value:.digits$}{}", ["", "K", "M", "G", "T", "P", "E"][unit])
    }
}

/// `1 record`, `2 records`.
#[derive(Clone, Copy, Debug)]
pub struct Count(
    /// The number.
    pub u64,
    /// The noun in the singular; its plural ends with an s.
    pub &'static str,
);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// A name as stored by ZFS: invalid UTF-8 and hidden characters are shown as `\xNN`.
#[must_use]
pub fn name(bytes: &[u8]) -> String {
    Shown::new(bytes).to_string()
}

/// Text that may have names from outside in it, as one line.
#[must_use]
pub fn line(text: impl fmt::Display) -> String {
    Shown::new(&text.to_string()).to_string()
}

/// A line of columns that are separated by tabs. A tab in a column is escaped, as all that is hidden; see [`line()`].
#[must_use]
pub fn columns(cells: &[impl AsRef<str>]) -> String {
    cells.iter().map(|cell| line(cell.as_ref())).collect::<Vec<_>>().join("\t")
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

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("tank/a\nb\tc"), r"tank/a\x0ab\x09c");
        assert_eq!(columns(&["full", "tank/a\nb\tc", "17"]), "full\ttank/a\\x0ab\\x09c\t17");
    }

    #[test]
    fn sizes_keep_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (10_240, "10.0K"),
            (1 << 20, "1.00M"),
            (u64::MAX, "16.0E"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
