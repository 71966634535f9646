//! `zstream dump` against what OpenZFS's printed.

use std::io::Read as _;

use zstream_format::order::ByteOrder;
use zstream_format::record::{Begin, Body, Header, TRAILER_OFFSET};
use zstream_format::stream::StreamWriter;
use zstream_tests::edit::{rechained, records};
use zstream_tests::golden::{self, Outcome};
use zstream_tests::program::{self, zstream};

/// The recordings by the options they were made with.
const RECORDED: [(&str, &[&str]); 5] =
    [("dump", &[]), ("dump-v", &["-v"]), ("dump-vv", &["-vv"]), ("dump-d", &["-d"]), ("dump-C", &["-C"])];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output is the same to the byte; only streams that end too early have another exit code.
#[test]
fn every_stream_and_option() {
    for name in golden::streams() {
        let path = golden::stream_path(&name);
        for (kind, options) in RECORDED {
            let case = format!("{kind}/{name}");
            let args = [&["dump"], options, &[path.to_str().unwrap()]].concat();
            let Outcome { stdout, stderr, code } = zstream(&args, b"");
            match golden::expected(&case) {
                Some(recorded) => assert_eq!(text(&stdout), text(&recorded.stdout), "{case}"),
                None => assert_eq!(Some(golden::sha256(&stdout)), golden::expected_sha256(&case), "{case}"),
            }
            if name.ends_with("-saved") {
                assert_eq!(code, 1, "{case}");
                assert!(text(&stderr).contains("it ends without an END record"), "{case}: {}", text(&stderr));
            } else {
                assert_eq!((code, text(&stderr)), (0, String::new()), "{case}");
            }
        }
    }
}

/// A pipe gives what a file gives, with and without checksums, and so does the program's old name.
#[test]
fn from_standard_input_and_under_the_old_name() {
    for name in ["tree-R", "e-aes-256-gcm-raw", "fs-redacted", "fs-full-Lec"] {
        let stream = golden::stream(name);
        let recorded = golden::expected(&format!("dump-v/{name}")).unwrap();
        for args in [&["dump", "-v"][..], &["dump", "-v", "-"], &["dump", "-vC"]] {
            assert_eq!(zstream(args, &stream), recorded, "{name} {args:?}");
        }
        assert_eq!(program::named("zstreamdump", &["-v"], &stream), recorded, "{name}");
    }
}

/// What OpenZFS prints of damaged streams is printed here too, but the exit code is 1 and standard error says where.
/// Listed are those that differ in what is printed, as docs/divergences.md says.
#[test]
fn damaged_streams() {
    const OTHER_OUTPUT: [&str; 5] =
        ["cut-in-header", "cut-in-payload", "cut-in-package", "nvlist-cut", "flip-package-nvlist"];
    for (name, bytes) in golden::damaged() {
        let recorded = golden::expected(&format!("damaged/{name}")).unwrap();
        let Outcome { stdout, stderr, code } = zstream(&["dump", "-v"], &bytes);
        if OTHER_OUTPUT.contains(&&*name) {
            assert_ne!(text(&stdout), text(&recorded.stdout), "{name} is the same now: take it off the list");
        } else {
            assert_eq!(text(&stdout), text(&recorded.stdout), "{name}");
        }
        if name == "second-stream" {
            assert_eq!(code, 0, "{name}");
            continue;
        }
        let message = text(&stderr);
        assert_eq!((code, message.lines().count()), (1, 1), "{name}: {message}");
        assert!(
            message.starts_with("zstream: ") && message.contains("stream offset 0x"),
            "{name}: {message}"
        );
    }
}

/// A stream of the other byte order, whose headers say the same, prints the same but for the checksums.
#[test]
fn other_byte_order() {
    for name in ["vol-incr", "fs-redacted", "e-aes-128-ccm-raw-incr"] {
        let mut pieces = records(&golden::stream(name));
        pieces.iter_mut().for_each(|(header, _)| header.byteswap());
        let swapped = zstream(&["dump", "-v"], &rechained(&pieces).unwrap());
        let without_sums = |outcome: &[u8]| -> Vec<String> {
            text(outcome)
                .lines()
                .filter(|line| !line.starts_with("END checksum"))
                .map(str::to_owned)
                .collect()
        };
        let recorded = golden::expected(&format!("dump-v/{name}")).unwrap();
        assert_eq!((swapped.code, text(&swapped.stderr)), (0, String::new()), "{name}");
        assert_eq!(without_sums(&swapped.stdout), without_sums(&recorded.stdout), "{name}");
    }
}

/// The end of a name of more than 224 bytes lies where other records have their checksum.
#[test]
fn long_name() {
    let mut pieces = records(&golden::stream("vol-incr"));
    let Some(Body::Begin(mut begin)) = pieces[0].0.body() else { panic!("no BEGIN") };
    let name = [b'n'; 255];
    begin.to_name = Begin::name_field(&name).unwrap();
    pieces[0].0.set_body(begin);
    let stream = rechained(&pieces).unwrap();
    assert_ne!(stream[TRAILER_OFFSET..][..8], [0; 8]);
    let outcome = zstream(&["dump"], &stream);
    assert_eq!((outcome.code, text(&outcome.stderr)), (0, String::new()));
    assert!(text(&outcome.stdout).contains(&format!("\ttoname = {}\n", "n".repeat(255))));
}

/// Streams from before 2015 have no checksums but that of END.
#[test]
fn without_trailers() {
    let pieces = records(&golden::stream("vol-incr"));
    let mut writer = StreamWriter::new(Vec::new()).trailers(zstream_format::stream::Trailers::Never);
    pieces.iter().for_each(|(header, payload)| writer.write(header, payload).unwrap());
    let outcome = zstream(&["dump", "-vv"], &writer.finish().unwrap());
    assert_eq!((outcome.code, text(&outcome.stderr)), (0, String::new()));
    let zeros = text(&outcome.stdout).lines().filter(|line| *line == "    checksum = 0/0/0/0").count();
    assert_eq!(zeros, pieces.len() - 1);
}

/// `-C` computes no checksum: a wrong one is not seen. The shape is judged all the same.
#[test]
fn no_checksums() {
    let mut stream = golden::stream("vol-incr");
    stream[20_000] ^= 1;
    assert_eq!(zstream(&["dump"], &stream).code, 1);
    let unchecked = zstream(&["dump", "-C"], &stream);
    assert_eq!(Some(unchecked), golden::expected("dump-C/vol-incr"));
    stream.truncate(40_000);
    assert_eq!(zstream(&["dump", "-C"], &stream).code, 1);
    // from a file, where payloads are not read but skipped
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &stream).unwrap();
    assert_eq!(zstream(&["dump", "-C", file.path().to_str().unwrap()], b"").code, 1);
}

/// A list that cannot be read does not keep the records behind it from being shown.
#[test]
fn unreadable_nvlist() {
    let mut pieces = records(&golden::stream("tree-R"));
    pieces[0].1[40] ^= 0xff;
    let outcome = zstream(&["dump"], &rechained(&pieces).unwrap());
    assert_eq!(outcome.code, 1);
    assert!(text(&outcome.stderr).contains("record 0 BEGIN"), "{}", text(&outcome.stderr));
    assert!(text(&outcome.stdout).contains("Total DRR_BEGIN records = 5 "), "{}", text(&outcome.stdout));
}

/// All eleven record types have their line. WRITE_BYREF is in no stream of today, so its sample is the one in the
/// sheet of the format.
#[test]
fn write_byref() {
    let mut pieces = records(&golden::stream("vol-incr"));
    let order = ByteOrder::Little;
    let byref = zstream_format::record::WriteByref {
        object: 8.into(),
        offset: 0,
        length: 16384,
        to_guid: 0xdeb1_3372_32f9_2a3e.into(),
        ref_guid: 0xdeb1_3372_32f9_2a3e.into(),
        ref_object: 7.into(),
        ref_offset: 0,
        checksum_type: zstream_format::algorithm::ChecksumType::SHA256,
        flags: zstream_format::flags::WriteFlags::CHECKSUM_DEDUP,
        pad: [0; 6],
        key_checksum: Default::default(),
        key_prop: 0xf000b001f,
    };
    pieces.insert(2, (Header::new(byref, order), Vec::new()));
    pieces[2].0.set_trailer(zstream_format::checksum::Checksum([1, 0, 0, 0]));
    let outcome = zstream(&["dump", "-v"], &rechained(&pieces).unwrap());
    assert_eq!(outcome.code, 0);
    let line = "WRITE_BYREF object = 8 checksum type = 8 props = f000b001f offset = 0 length = 16384 \
                toguid = deb1337232f92a3e refguid = deb1337232f92a3e refobject = 7 refoffset = 0\n";
    assert!(text(&outcome.stdout).contains(line), "{}", text(&outcome.stdout));
    assert!(text(&outcome.stdout).contains("Total DRR_WRITE_BYREF records = 1 (0 bytes)"));
}

/// A file that is not there, a directory, and two files.
#[test]
fn bad_files() {
    for (args, message) in [
        (&["dump", "/no/such/file"][..], "cannot open /no/such/file: No such file"),
        (&["dump", "/"], "cannot open /: "),
        (&["dump", "a", "b"], "unexpected argument 'b'"),
        (&["dump", "-x"], "unexpected argument '-x'"),
    ] {
        let outcome = zstream(args, b"");
        assert_eq!((outcome.code, text(&outcome.stdout)), (1, String::new()), "{args:?}");
        assert!(text(&outcome.stderr).contains(message), "{args:?}: {}", text(&outcome.stderr));
    }
}

/// Whoever reads the output may go away: no message, but no success either.
#[test]
fn reader_goes_away() {
    let mut child = std::process::Command::new(program::path())
        .args(["dump", "-d"])
        .arg(golden::stream_path("rs1m"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), String::new()));
}

/// Blocks of less than 512 bytes do not exist: `dump` and `verify` refuse them, as OpenZFS's development branch does.
#[test]
fn undersized_writes_are_refused() {
    let stream = golden::stream("tree-R");
    let records = records(&stream);
    let is_plain = |header: &Header| match header.body() {
        Some(Body::Write(write)) => !write.is_compressed(),
        _ => false,
    };
    let at = records.iter().position(|(header, _)| is_plain(header)).expect("a plain block");
    for len in [0, 1, 8, 511] {
        let mut records = records.clone();
        let Some(Body::Write(mut write)) = records[at].0.body() else { unreachable!("a WRITE") };
        write.logical_size = len;
        records[at].0.set_body(write);
        records[at].1.truncate(write.payload_len() as usize);
        records[at].1.resize(write.payload_len() as usize, 0);
        let bad = rechained(&records).expect("a stream");
        for args in [&["dump"][..], &["dump", "-C"], &["dump", "-d"], &["verify", "-"]] {
            let outcome = zstream(args, &bad);
            let told = text(&outcome.stdout) + &text(&outcome.stderr);
            assert_eq!(outcome.code, 1, "{args:?}, {len} bytes: {told}");
            assert!(told.contains(&format!("drr_logical_size is {len}, expected at least 512")), "{told}");
        }
    }
}
