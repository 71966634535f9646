//! Sessions of a shell that are written down as a person would show them, and are run as tests: pages of `docs/` and
//! the cases of `tests/cases/`.
//!
//! Every `console` block of a page is run; blocks of other languages are shown only. The blocks of one page are one
//! session: they run in order, in one new directory. A line that begins with `$ ` is a command (a backslash at its end
//! continues it), and the lines up to the next command are what it prints, standard output and standard error together.
//! A command must exit with 0; a page that shows a failure shows the code with `; echo $?`. In the output, `...` stands
//! for any text within a line, and a line `...` for any number of lines.
//!
//! `BLESS=1` writes what the commands print into the pages. Lines that a placeholder matches stay as they are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::installed;

const FENCE: &str = "```console\n";
const ANY: &str = "...";

/// A piece of a page: text that stays as it is, or one command with its output.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    Command { lines: &'a str, output: &'a str },
}

/// The pieces of a page, in order; joined they are the page.
fn pieces(page: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find(FENCE) {
        let (text, block) = rest.split_at(start + FENCE.len());
        let end = block.find("```").expect("the end of a block");
        pieces.push(Piece::Text(text));
        pieces.extend(commands(&block[..end]));
        rest = &block[end..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// The commands of a block.
fn commands(block: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        assert!(rest.starts_with("$ "), "a console block begins with a command: {rest}");
        let mut end = 0;
        for line in rest.split_inclusive('\n') {
            end += line.len();
            if !line.ends_with("\\\n") {
                break;
            }
        }
        let (lines, after) = rest.split_at(end);
        let length =
            if after.starts_with("$ ") { 0 } else { after.find("\n$ ").map_or(after.len(), |n| n + 1) };
        let (output, next) = after.split_at(length);
        found.push(Piece::Command { lines, output });
        rest = next;
    }
    found
}

/// True if a line of a page stands for this printed line.
fn line_matches(shown: &str, printed: &str) -> bool {
    let mut parts = shown.split(ANY);
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// True if the output on a page stands for what was printed.
fn matches(shown: &[&str], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((&ANY, rest)) => (0..=printed.len()).any(|n| matches(rest, &printed[n..])),
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, printed)| line_matches(first, line) && matches(rest, printed)),
    }
}

/// The output to be shown on a page for what was printed: lines with placeholders stay where they still match.
fn blessed(shown: &str, printed: &str) -> String {
    let keep = |line: &str| shown.lines().find(|s| *s != ANY && s.contains(ANY) && line_matches(s, line));
    printed.lines().map(|line| format!("{}\n", keep(line).unwrap_or(line))).collect()
}

/// Runs the commands of a page with the programs of a directory and these variables; gives the faults, and the page as it
/// would be true.
fn run(page: &str, programs: &Path, variables: &[(&str, &Path)]) -> (Vec<String>, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let search = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let (mut faults, mut text) = (Vec::new(), String::new());
    for piece in pieces(page) {
        let (lines, shown) = match piece {
            Piece::Text(piece) => {
                text += piece;
                continue;
            }
            Piece::Command { lines, output } => (lines, output),
        };
        text += lines;
        let result = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1\n{}", &lines[2..]))
            .env("PATH", &search)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env_remove("ZSTREAM_DEVICE")
            .envs(variables.iter().copied())
            .current_dir(dir.path())
            .stdin(std::process::Stdio::null())
            .output()
            .expect("a shell runs");
        let printed = String::from_utf8_lossy(&result.stdout);
        if !result.status.success() {
            faults.push(format!("{lines}{}\n{printed}", result.status));
        }
        let (expected, got): (Vec<_>, Vec<_>) = (shown.lines().collect(), printed.lines().collect());
        if matches(&expected, &got) {
            text += shown;
        } else {
            faults.push(format!("{lines}shown:\n{shown}printed:\n{printed}"));
            text += &blessed(shown, &printed);
        }
    }
    (faults, text)
}

/// Runs the sessions of all pages in a directory, and gives how many there are. Each is run with the program on its PATH, and
/// with these variables.
///
/// # Panics
/// A page is not true; the message names it, the command, and the difference.
pub fn assert_true(directory: &Path, variables: &[(&str, &Path)]) -> usize {
    let mut pages: Vec<(PathBuf, String)> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.clone(), std::fs::read_to_string(&path).expect("a page")))
        .filter(|(_, page)| page.contains(FENCE))
        .collect();
    pages.sort();
    let mut failures = String::new();
    let programs = installed("zstream");
    for (path, page) in &pages {
        let (faults, text) = run(page, programs.path(), variables);
        if faults.is_empty() {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        failures += &format!("== {name}\n{}\n", faults.join("\n"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, text).expect("the page is written");
        }
    }
    assert!(failures.is_empty(), "{failures}");
    pages.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages are taken apart without loss, and commands may have several lines.
    #[test]
    fn pages_are_taken_apart() {
        let page =
            "Text\n```console\n$ one \\\n  more\nout\n$ two\n$ three\na\nb\n```\n```sh\n$ not run\n```\n";
        let found = pieces(page);
        assert_eq!(found[1], Piece::Command { lines: "$ one \\\n  more\n", output: "out\n" });
        assert_eq!(found[2], Piece::Command { lines: "$ two\n", output: "" });
        assert_eq!(found[3], Piece::Command { lines: "$ three\n", output: "a\nb\n" });
        assert_eq!(found.len(), 5);
    }

    /// Placeholders stand for text, and for nothing else than the text where they are.
    #[test]
    fn placeholders_match() {
        for (shown, printed) in
            [("a ... c", "a b c"), ("...", "any"), ("guid ...", "guid 17"), ("... x ... y", "1 x 2 y")]
        {
            assert!(line_matches(shown, printed), "{shown}");
        }
        for (shown, printed) in
            [("a ... c", "a b d"), ("guid ...", "name 17"), ("a", "ab"), ("... x ... y", "1 x 2 z")]
        {
            assert!(!line_matches(shown, printed), "{shown}");
        }
        assert!(matches(&["first", "...", "last"], &["first", "1", "2", "last"]));
        assert!(!matches(&["first", "..."], &["other", "1"]));
        assert!(!matches(&["first"], &["first", "second"]));
    }

    /// A page that is not true is reported: another output, and a command that fails.
    #[test]
    fn untrue_pages_are_reported() {
        let page = "```console\n$ echo one; echo 17\ntwo\nnumber ...\n$ exit 3\n$ test -e left\n$ echo guid 5\nguid ...\n```\n";
        let (faults, text) = run(page, Path::new("/bin"), &[]);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(text.contains("\none\n17\n$ exit 3\n") && text.contains("\nguid ...\n"), "{text}");
    }
}
