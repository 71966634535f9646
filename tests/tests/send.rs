//! Streams made from the golden pool, held against those that `zfs send` made of it.

use zstream_format::stream::StreamReader;
use zstream_tests::golden;
use zstream_tests::sending::{Sending, stream};

/// Commands that make one substream, with their names.
fn commands() -> Vec<(String, String)> {
    let text = golden::text("COMMANDS");
    let commands = text.lines().map(|line| line.split_once(": zfs send ").unwrap());
    let is_package =
        |args: &str| args.split_whitespace().any(|word| ["-R", "-I", "-p", "-h"].contains(&word));
    commands
        .filter(|(_, args)| !is_package(args))
        .map(|(name, args)| (name.to_owned(), args.to_owned()))
        .collect()
}

/// Where two streams part, told by record.
fn difference(found: &[u8], expected: &[u8]) -> String {
    let (mut ours, mut theirs) = (StreamReader::new(found), StreamReader::new(expected));
    let mut payloads = (Vec::new(), Vec::new());
    for record in 0.. {
        let next = |reader: &mut StreamReader<&[u8]>, payload: &mut Vec<u8>| match reader.next() {
            Ok(Some(record)) => {
                *payload = record.payload.to_vec();
                format!("{:?}", record.header)
            }
            other => format!("{other:?}"),
        };
        let (a, b) = (next(&mut ours, &mut payloads.0), next(&mut theirs, &mut payloads.1));
        if a != b || payloads.0 != payloads.1 {
            let at = payloads.0.iter().zip(&payloads.1).position(|(a, b)| a != b);
            return format!("record {record}:\n  {a}\n  {b}\n  payloads differ from {at:?} on");
        }
    }
    unreachable!()
}

#[test]
fn every_golden_stream_is_made_again() {
    let tank = Sending::open(&golden::pool("tank"));
    for dataset in ["tank/e-aes-256-gcm", "tank/e-aes-128-ccm"] {
        tank.unlock(dataset);
    }
    let commands = commands();
    assert_eq!(commands.len(), 41);
    let mut differ = Vec::new();
    for (name, args) in commands {
        let (found, _) = stream(&tank.plan(&args));
        let expected = golden::stream(&name);
        if found != expected {
            differ.push(format!("{name}: {}", difference(&found, &expected)));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
