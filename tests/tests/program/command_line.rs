//! The program `zstream` as a whole: tokens, help, completions, manual pages, terminals.

use std::process::Command;

use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::{self, zstream};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every verb, as the help lists them.
fn verbs() -> Vec<String> {
    let help = text(&zstream(&["-h"], b"").stdout);
    let table = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs: Vec<String> = table
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|verb| verb != "help")
        .collect();
    assert!(verbs.len() > 8 && verbs[0] == "dump", "{verbs:?}");
    verbs
}

/// `zstream token`, output, message and exit code, as OpenZFS's with its kernel module. Listed are tokens that C's
/// `sscanf` reads in its own way, as docs/divergences.md says.
#[test]
fn token() {
    const READ_THERE_ONLY: [&str; 2] = ["plus-version", "hex-prefix"];
    const OTHER_REASON: [&str; 3] = ["no-payload", "bad-digit-inside", "signed-version"];
    for (name, token) in golden::token_cases() {
        let recorded = golden::expected(&format!("token/{name}")).unwrap();
        let ours = zstream(&["token", &token], b"");
        if READ_THERE_ONLY.contains(&&*name) {
            assert_eq!((recorded.code, ours.code), (0, 1), "{name}");
        } else if OTHER_REASON.contains(&&*name) {
            assert_eq!((recorded.code, ours.code), (1, 1), "{name}");
            assert_ne!(
                text(&ours.stderr),
                text(&recorded.stderr),
                "{name} is the same now: take it off the list"
            );
        } else {
            let shown = |o: Outcome| (o.code, text(&o.stdout), text(&o.stderr));
            assert_eq!(shown(ours), shown(recorded), "{name}");
        }
    }
    let none = zstream(&["token"], b"");
    assert_eq!((none.code, none.stdout.len()), (1, 0));
}

/// The exit code for a wrong command line: 2, but OpenZFS's 1 for the verbs that it has.
#[test]
fn usage() {
    for (args, code) in [
        (&[][..], 2),
        (&["no-such-verb"], 2),
        (&["verify", "--no-such-option"], 2),
        (&["dump", "--no-such-option"], 1),
        (&["decompress", "--no-such-option"], 1),
        (&["recompress", "--no-such-option", "lz4"], 1),
        (&["redup", "--no-such-option", "file"], 1),
        (&["token", "a", "b"], 1),
    ] {
        let outcome = zstream(args, b"");
        assert_eq!((outcome.code, text(&outcome.stdout)), (code, String::new()), "{args:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?}");
    }
}

/// Whether text has a command line of this verb, be it behind the options that name the source.
fn shows_verb(text: &str, verb: &str) -> bool {
    let lines = text.split("zstream ").skip(1);
    let mut verbs = lines.map(|line| {
        let mut words = line.split_whitespace().peekable();
        while words.next_if(|word| ["-d", "-f", "--key-file"].contains(word)).is_some() {
            words.next();
        }
        words.collect::<Vec<_>>()
    });
    verbs.any(|words| words.iter().take(2).any(|word| *word == verb))
}

/// The long help of each verb teaches by an example that is a command line of it.
#[test]
fn help_has_examples() {
    for verb in verbs() {
        let outcome = zstream(&[&verb, "--help"], b"");
        let help = text(&outcome.stdout);
        assert_eq!((outcome.code, text(&outcome.stderr)), (0, String::new()), "{verb}");
        let (_, examples) =
            help.split_once("Example").unwrap_or_else(|| panic!("no example for {verb}: {help}"));
        assert!(shows_verb(examples, &verb), "{verb}: {examples}");
    }
    let outcome = zstream(&["--version"], b"");
    assert_eq!(text(&outcome.stdout), format!("zstream {}\n", env!("CARGO_PKG_VERSION")));
}

/// Completions for every shell name every verb, and bash reads its own.
#[test]
fn completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = zstream(&["completions", shell], b"");
        let script = text(&outcome.stdout);
        assert_eq!(outcome.code, 0, "{shell}");
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: no {verb}");
        }
    }
    let script = zstream(&["completions", "bash"], b"").stdout;
    let bash = assert_cmd::Command::new("bash").arg("-n").write_stdin(script).output().unwrap();
    assert!(bash.status.success() && bash.stderr.is_empty(), "{}", text(&bash.stderr));
}

/// A page for the program and one for each verb, with the text of the help.
#[test]
fn manual_pages() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(zstream(&["man", dir.path().to_str().unwrap()], b"").code, 0);
    let page = |name: &str| std::fs::read_to_string(dir.path().join(format!("{name}.1"))).unwrap();
    assert!(page("zstream").contains("zstream\\-dump"), "the program's page lists the verbs");
    for verb in verbs() {
        let page = page(&format!("zstream-{verb}"));
        assert!(page.contains(".TH") && page.contains("Example"), "{verb}");
    }
    let outcome = zstream(&["man", "/no/such/directory"], b"");
    assert!(outcome.code == 1 && text(&outcome.stderr).starts_with("zstream: cannot write manual pages"));
}

/// Runs a command line of a shell on a terminal of its own, which util-linux's `script` provides; what it showed, and
/// its exit code. `None` where there is no `script`.
fn on_a_terminal(line: &str) -> Option<(i32, String)> {
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", line, "/dev/null"]);
    match command.stdin(std::process::Stdio::null()).output() {
        Ok(output) => Some((output.status.code().expect("an exit code"), text(&output.stdout))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("SKIPPED: no `script` to make a terminal with");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A stream is neither written to a terminal nor read from one.
#[test]
fn terminals() {
    let (ours, file) = (program::path().display(), golden::stream_path("vol-incr"));
    let file = file.display();
    let send = format!("{ours} -d {} send", golden::image("tank.img").display());
    for (line, refusal) in [
        (format!("{send} tank/vol@s"), "cannot write a stream to a terminal"),
        (format!("{ours} recompress off < {file}"), "cannot write a stream to a terminal"),
        (format!("{ours} decompress < {file}"), "cannot write a stream to a terminal"),
        (format!("{ours} redup {file}"), "cannot write a stream to a terminal"),
        (format!("{ours} dump"), "cannot read a stream from a terminal"),
        (format!("{ours} recompress off > /dev/null"), "cannot read a stream from a terminal"),
    ] {
        let Some((code, shown)) = on_a_terminal(&line) else { return };
        assert_eq!(code, 1, "{line}: {shown}");
        assert!(shown.contains(refusal) && shown.lines().count() == 1, "{line}: {shown}");
    }
    let (code, shown) = on_a_terminal(&format!("{ours} dump {file}")).unwrap();
    assert!(code == 0 && shown.contains("SUMMARY:"), "text is for terminals: {shown}");
    let (code, shown) = on_a_terminal(&format!("{send} -nP tank/vol@s")).unwrap();
    assert!(code == 0 && shown.ends_with("size\t207632\r\n"), "a dry run writes no stream: {shown}");
}

/// Work of less than a second shows no progress, work of more shows how far it is: bytes of how many for a file,
/// bytes for a pipe. Standard error that is no terminal never gets to see it.
#[test]
fn progress() {
    let (ours, file) = (program::path().display(), golden::stream_path("vol-incr"));
    let file = file.display();
    let send = format!("{ours} -d {} send", golden::image("tank.img").display());
    let later = "(sleep 2.5; cat > /dev/null)";
    let slow = format!("(head -c 20000 {file}; sleep 1.3; tail -c +20001 {file})");
    for (line, shows) in [
        (format!("{ours} recompress off < {file} > /dev/null"), None),
        (format!("{slow} | {ours} recompress off > /dev/null"), Some("44.27 KiB ")),
        (format!("{slow} | {ours} recompress off 2>&1 > /dev/null | cat"), None),
        (format!("{send} tank/vol@s > /dev/null"), None),
        // Of how many bytes is an estimate.
        (format!("{send} tank/rs1m@s | {later}"), Some("/2.20 MiB [")),
        // The line of a second has more spaces than its heading.
        (format!("{send} -v tank/rs1m@s | {later}"), Some("   tank/rs1m@s")),
        (format!("{send} -P tank/rs1m@s 2>/dev/null | {later}"), None),
    ] {
        let Some(mut outcome) = on_a_terminal(&line) else { return };
        // A machine that is busy may make little work take long.
        for _ in 0..3 {
            if shows.is_none() && !outcome.1.is_empty() {
                outcome = on_a_terminal(&line).expect("there was a terminal before");
            }
        }
        let (code, shown) = outcome;
        assert_eq!(code, 0, "{line}: {shown}");
        match shows {
            Some(words) => assert!(shown.contains(words), "{line}: {shown}"),
            None => assert_eq!(shown, "", "{line}"),
        }
    }
}
