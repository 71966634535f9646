//! Text output of lists, in the two forms of libnvpair.
//!
//! `zstream dump` prints a BEGIN record and `zfs send -nvt` prints a resume token with `nvlist_print`:
//!
//! ```text
//! nvlist version: 0
//! <TAB>name = text
//! <TAB>number = 0x1f                 unsigned numbers in hexadecimal, signed ones in decimal
//! <TAB>flag = 1
//! <TAB>list = (embedded nvlist)
//! <TAB>nvlist version: 0
//! <TAB><TAB>inner = 0x0
//! <TAB>(end list)
//!
//! ```
//!
//! `zdb -l` prints a label and `zstream token` prints a resume token with `dump_nvlist`:
//!
//! ```text
//! name: 'text'
//! number: 31
//! flag
//! list:
//!     inner: 0
//! ```

use std::fmt::{self, Write as _};

use super::{NvList, NvString, NvValue};

impl NvList {
    /// Returns the list as `nvlist_print` writes it, byte for byte: strings are copied without regard to their
    /// character set. The output ends with a newline.
    #[must_use]
    pub fn print(&self) -> Vec<u8> {
        let mut printer = Printer(Vec::new());
        printer.list(self, 0);
        printer.0
    }

    /// Returns the list as `dump_nvlist` writes it, with every line indented by `indent` spaces, and nested lists by
    /// 4 more.
    ///
    /// `dump_nvlist` does not support doubles, times and boolean arrays, and prints `bad config type` instead.
    #[must_use]
    pub fn dump(&self, indent: usize) -> Vec<u8> {
        let mut printer = Printer(Vec::new());
        printer.dump(self, indent);
        printer.0
    }
}

impl fmt::Display for NvList {
    /// Writes the output of [`NvList::print`], with bytes that are not valid UTF-8 as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        NvString::from(self.print()).fmt(f)
    }
}

struct Printer(Vec<u8>);

impl fmt::Write for Printer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Printer {
    /// Appends formatted text. Writing to a `Vec` cannot fail, and neither can formatting the values here.
    fn add(&mut self, text: fmt::Arguments<'_>) {
        let _ = self.write_fmt(text);
    }

    fn indent(&mut self, depth: usize) {
        self.0.resize(self.0.len() + depth, b'\t');
    }

    fn list(&mut self, list: &NvList, depth: usize) {
        self.indent(depth);
        self.add(format_args!("nvlist version: {}\n", list.version));
        for pair in list {
            let name = pair.name.as_bytes();
            match &pair.value {
                NvValue::List(inner) => {
                    self.begin(name, depth, "(embedded nvlist)\n");
                    self.list(inner, depth + 1);
                    self.bracket("end", name, None, depth + 1);
                    self.0.push(b'\n');
                }
                NvValue::ListArray(lists) => {
                    self.begin(name, depth, "(array of embedded nvlists)\n");
                    for (index, inner) in lists.iter().enumerate() {
                        self.bracket("start", name, Some(index), depth + 1);
                        self.list(inner, depth + 1);
                        self.bracket("end", name, Some(index), depth + 1);
                    }
                    self.0.push(b'\n');
                }
                // libnvpair prints only the newline of an array without elements.
                value if value.data_type().is_array() && value.element_count() == 0 => self.0.push(b'\n'),
                value => {
                    self.begin(name, depth, "");
                    self.value(value);
                    self.0.push(b'\n');
                }
            }
        }
    }

    fn begin(&mut self, name: &[u8], depth: usize, what: &str) {
        self.indent(depth + 1);
        self.0.extend_from_slice(name);
        self.add(format_args!(" = {what}"));
    }

    /// Writes `(start name[0])` or `(end name)`.
    fn bracket(&mut self, what: &str, name: &[u8], index: Option<usize>, depth: usize) {
        self.indent(depth);
        self.add(format_args!("({what} "));
        self.0.extend_from_slice(name);
        if let Some(index) = index {
            self.add(format_args!("[{index}]"));
        }
        self.0.extend_from_slice(b")\n");
    }

    fn value(&mut self, value: &NvValue) {
        match value {
            NvValue::Boolean => self.add(format_args!("1")),
            NvValue::BooleanValue(value) => self.add(format_args!("{}", u8::from(*value))),
            NvValue::Byte(value) => self.add(format_args!("{value:#04x}")),
            NvValue::Int8(value) => self.add(format_args!("{value}")),
            NvValue::Uint8(value) => self.add(format_args!("{value:#x}")),
            NvValue::Int16(value) => self.add(format_args!("{value}")),
            NvValue::Uint16(value) => self.add(format_args!("{value:#x}")),
            NvValue::Int32(value) => self.add(format_args!("{value}")),
            NvValue::Uint32(value) => self.add(format_args!("{value:#x}")),
            NvValue::Int64(value) => self.add(format_args!("{value}")),
            NvValue::Uint64(value) => self.add(format_args!("{value:#x}")),
            NvValue::Hrtime(value) => self.add(format_args!("{value:#x}")),
            NvValue::Double(value) => self.double(*value),
            NvValue::String(text) => self.0.extend_from_slice(text.as_bytes()),
            NvValue::ByteArray(values) => {
                self.each(values, |printer, value| printer.add(format_args!("{value:#04x}")));
            }
            NvValue::Int8Array(values) => self.decimal(values),
            NvValue::Int16Array(values) => self.decimal(values),
            NvValue::Int32Array(values) => self.decimal(values),
            NvValue::Int64Array(values) => self.decimal(values),
            NvValue::Uint8Array(values) => self.hex(values),
            NvValue::Uint16Array(values) => self.hex(values),
            NvValue::Uint32Array(values) => self.hex(values),
            NvValue::Uint64Array(values) => self.hex(values),
            NvValue::BooleanArray(values) => {
                self.each(values, |printer, value| printer.add(format_args!("{}", u8::from(*value))));
            }
            NvValue::StringArray(texts) => {
                self.each(texts, |printer, text| printer.0.extend_from_slice(text.as_bytes()));
            }
            // Unreachable: `list` prints lists, which have lines of their own.
            NvValue::List(_) | NvValue::ListArray(_) => {}
        }
    }

    /// Writes a double with C's `0x%f`, as libnvpair does.
    fn double(&mut self, value: f64) {
        let sign = if value.is_nan() && value.is_sign_negative() { "-" } else { "" };
        match value {
            value if value.is_nan() => self.add(format_args!("0x{sign}nan")),
            value => self.add(format_args!("0x{value:.6}")),
        }
    }

    fn each<T>(&mut self, values: &[T], one: impl Fn(&mut Self, &T)) {
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b' ');
            }
            one(self, value);
        }
    }

    fn decimal<T: fmt::Display>(&mut self, values: &[T]) {
        self.each(values, |printer, value| printer.add(format_args!("{value}")));
    }

    fn hex<T: fmt::LowerHex>(&mut self, values: &[T]) {
        self.each(values, |printer, value| printer.add(format_args!("{value:#x}")));
    }

    /// Writes one line of a dump: indentation, name, `[index]` for an array, and the rest.
    fn dump_line(&mut self, indent: usize, name: &[u8], index: Option<usize>, rest: fmt::Arguments<'_>) {
        self.0.resize(self.0.len() + indent, b' ');
        self.0.extend_from_slice(name);
        if let Some(index) = index {
            self.add(format_args!("[{index}]"));
        }
        self.add(rest);
        self.0.push(b'\n');
    }

    fn dump_numbers<T: fmt::Display>(&mut self, indent: usize, name: &[u8], values: &[T]) {
        for (index, value) in values.iter().enumerate() {
            self.dump_line(indent, name, Some(index), format_args!(": {value}"));
        }
    }

    fn dump_text(&mut self, indent: usize, name: &[u8], index: Option<usize>, text: &NvString) {
        self.dump_line(indent, name, index, format_args!(": '"));
        // The text goes between the quote and the newline.
        self.0.pop();
        self.0.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(b"'\n");
    }

    fn dump(&mut self, list: &NvList, indent: usize) {
        for pair in list {
            let name = pair.name.as_bytes();
            let mut one = |value: &dyn fmt::Display| {
                self.dump_line(indent, name, None, format_args!(": {value}"));
            };
            match &pair.value {
                NvValue::Boolean => self.dump_line(indent, name, None, format_args!("")),
                NvValue::BooleanValue(value) => one(value),
                NvValue::Byte(value) | NvValue::Uint8(value) => one(value),
                NvValue::Int8(value) => one(value),
                NvValue::Int16(value) => one(value),
                NvValue::Uint16(value) => one(value),
                NvValue::Int32(value) => one(value),
                NvValue::Uint32(value) => one(value),
                NvValue::Int64(value) => one(value),
                NvValue::Uint64(value) => one(value),
                NvValue::String(text) => self.dump_text(indent, name, None, text),
                NvValue::ByteArray(values) | NvValue::Uint8Array(values) => {
                    self.dump_numbers(indent, name, values);
                }
                NvValue::Int8Array(values) => self.dump_numbers(indent, name, values),
                NvValue::Int16Array(values) => self.dump_numbers(indent, name, values),
                NvValue::Uint16Array(values) => self.dump_numbers(indent, name, values),
                NvValue::Int32Array(values) => self.dump_numbers(indent, name, values),
                NvValue::Uint32Array(values) => self.dump_numbers(indent, name, values),
                NvValue::Int64Array(values) => self.dump_numbers(indent, name, values),
                NvValue::Uint64Array(values) => self.dump_numbers(indent, name, values),
                NvValue::StringArray(texts) => {
                    for (index, text) in texts.iter().enumerate() {
                        self.dump_text(indent, name, Some(index), text);
                    }
                }
                NvValue::List(inner) => {
                    self.dump_line(indent, name, None, format_args!(":"));
                    self.dump(inner, indent + 4);
                }
                NvValue::ListArray(lists) => {
                    for (index, inner) in lists.iter().enumerate() {
                        self.dump_line(indent, name, Some(index), format_args!(":"));
                        self.dump(inner, indent + 4);
                    }
                }
                NvValue::Hrtime(_) | NvValue::Double(_) | NvValue::BooleanArray(_) => {
                    let number = pair.value.data_type().number();
                    self.add(format_args!("bad config type {number} for "));
                    self.0.extend_from_slice(name);
                    self.0.push(b'\n');
                }
            }
        }
    }
}
