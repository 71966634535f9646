//! Prompts for the key of a dataset on the terminal, without echo.
//!
//! The terminal is in raw mode and sends no signals meanwhile, so that Ctrl-C leaves a terminal with echo. Line
//! editing is done here.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

use zstream::Secret;

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

/// An upper limit of the length of a key: a passphrase has up to 512 bytes.
const LINE_BYTES_MAX: usize = 4096;

/// Prompts for the key of a dataset.
///
/// # Errors
/// Standard input is not a terminal, or nothing was entered.
pub(crate) fn ask(name: &str) -> Result<Secret, String> {
    if !can_ask() {
        return Err(format!("{name} is encrypted: name its key file with --key-file"));
    }
    ask_for(name, "Key")
}

/// True if standard input is a terminal.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal()
}

/// Prompts twice for a new key of a dataset.
///
/// # Errors
/// Standard input is not a terminal, nothing was entered, or the keys differ.
pub(crate) fn ask_new(name: &str) -> Result<Secret, String> {
    if !can_ask() {
        return Err(format!(
            "cannot prompt for the new key of {name} without a terminal: use -o keylocation=file:///PATH"
        ));
    }
    let key = ask_for(name, "New key")?;
    if ask_for(name, "Repeat the new key")? == key {
        return Ok(key);
    }
    Err(format!("the new keys of {name} do not match"))
}

/// Prompts on the terminal.
fn ask_for(name: &str, what: &str) -> Result<Secret, String> {
    let stdin = io::stdin();
    let failed = |error: io::Error| format!("cannot prompt for the key of {name}: {error}");
    let before = termios::tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut hidden: Termios = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    hidden.special_codes[SpecialCodeIndex::VMIN] = 1;
    hidden.special_codes[SpecialCodeIndex::VTIME] = 0;
    // Before it is asked: who answers at once is neither shown nor lost.
    termios::tcsetattr(&stdin, OptionalActions::Flush, &hidden).map_err(|error| failed(error.into()))?;
    let asked = write!(io::stderr(), "{what} of {name}: ");
    let line = asked.and_then(|()| line(stdin.lock(), &Keys::of(&before)));
    let restored = termios::tcsetattr(&stdin, OptionalActions::Flush, &before);
    eprintln!();
    restored.map_err(|error| failed(error.into()))?;
    let line = line.map_err(failed)?;
    line.ok_or_else(|| format!("no key of {name} was entered"))
}

/// The special keys, as the terminal defines them.
#[derive(Clone, Copy, Debug)]
struct Keys {
    erase: u8,
    kill: u8,
    end: u8,
    /// The keys that would send a signal.
    breaks: [u8; 3],
}

impl Keys {
    fn of(termios: &Termios) -> Self {
        let code = |index| termios.special_codes[index];
        Self {
            erase: code(SpecialCodeIndex::VERASE),
            kill: code(SpecialCodeIndex::VKILL),
            end: code(SpecialCodeIndex::VEOF),
            breaks: [SpecialCodeIndex::VINTR, SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP].map(code),
        }
    }
}

/// The typed line; none if it was interrupted, or ended before anything was typed.
fn line(input: impl BufRead, keys: &Keys) -> io::Result<Option<Secret>> {
    let mut line = Secret::new(Vec::with_capacity(LINE_BYTES_MAX));
    for byte in input.bytes() {
        match byte? {
            b'\n' | b'\r' => return Ok(Some(line)),
            // A terminal without such a key has 0 there.
            0 => {}
            byte if keys.breaks.contains(&byte) => return Ok(None),
            byte if byte == keys.end => break,
            byte if byte == keys.kill => line.clear(),
            byte if byte == keys.erase => erase(&mut line),
            byte if line.len() < LINE_BYTES_MAX => line.push(byte),
            _ => {}
        }
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Removes the last character, which may be several bytes of UTF-8.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Keys = Keys { erase: 0x7f, kill: 0x15, end: 4, breaks: [3, 0x1c, 0x1a] };

    fn typed(bytes: &str) -> Option<String> {
        line(bytes.as_bytes(), &KEYS).unwrap().map(|line| String::from_utf8(line.to_vec()).unwrap())
    }

    #[test]
    fn lines_are_edited() {
        assert_eq!(typed("horse\nbehind").as_deref(), Some("horse"));
        assert_eq!(typed("hö\u{7f}orsé\u{7f}e\r").as_deref(), Some("horse"));
        assert_eq!(typed("\u{7f}no\u{15}horse\n").as_deref(), Some("horse"));
        assert_eq!(typed("horse\u{4}").as_deref(), Some("horse"));
        assert_eq!(typed("\n").as_deref(), Some(""));
        assert_eq!(typed(&"x".repeat(9000)).unwrap().len(), LINE_BYTES_MAX);
    }

    #[test]
    fn who_breaks_off_gives_no_key() {
        for broken in ["", "\u{4}", "half\u{3}\n", "half\u{1a}"] {
            assert_eq!(typed(broken), None);
        }
    }
}
