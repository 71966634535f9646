//! Resume tokens, good and bad, against what OpenZFS's `zstream token` said about them.

use zstream_format::token::{self, ResumeToken};
use zstream_tests::golden::{self, Outcome};

/// What OpenZFS takes for a token only because `scanf` reads more than digits.
const STRICTER_HERE: &[&str] = &["plus-version", "hex-prefix"];

/// What is refused in other words: `scanf` takes a sign, and half a byte of hex.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("no-payload", "resume token is corrupt (invalid format)"),
    ("bad-digit-inside", "resume token is corrupt (payload is not hex-encoded)"),
    ("signed-version", "resume token is corrupt (invalid format)"),
];

/// Every token is printed as there, or refused with the same words.
#[test]
fn printed_or_refused_as_openzfs_does() {
    let mut differences = Vec::new();
    for (name, text) in golden::token_cases() {
        let real = golden::expected(&format!("token/{name}")).expect("a recording");
        let words = OTHER_WORDS.iter().find(|(other, _)| *other == name);
        let said = words.map(|(_, words)| format!("Unable to parse resume token: {words}\n").into_bytes());
        let (stdout, stderr, code) = match token::decode(&text) {
            Ok(decoded) => (token::print(&decoded.list), String::new(), 0),
            Err(error) => (Vec::new(), format!("Unable to parse resume token: {error}\n"), 1),
        };
        let found = Outcome { stdout, stderr: stderr.into_bytes(), code };
        let real = Outcome { stderr: said.unwrap_or(real.stderr), ..real };
        if STRICTER_HERE.contains(&&name[..]) {
            assert!(found.code == 1 && real.code == 0, "{name}");
        } else if found != real {
            differences.push(format!("{name}: {found:?}, there {real:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A real token taken apart and put together again is the same text.
#[test]
fn parsed_and_written_again() {
    for (name, text) in golden::tokens() {
        let parsed = ResumeToken::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(parsed.encode().expect("the same token"), text, "{name}");
    }
}

/// What `zfs send -nvt` prints of each token stands in the recording.
#[test]
fn contents_as_zfs_send_prints_them() {
    let recorded = golden::text("tokens.decoded.txt");
    for (name, text) in golden::tokens() {
        let printed = ResumeToken::parse(&text).expect("a real token").print_contents();
        let printed = String::from_utf8(printed).expect("text");
        assert!(recorded.contains(&printed), "{name}:\n{printed}\nis not in\n{recorded}");
    }
}
