//! Streams of every kind that are cut short, continued from the pool by the token of what is left, and joined: the whole
//! stream again, to the byte.
//!
//! What the real `zfs send -t` gives for tokens of partial receives is in `send.rs` and `packages.rs`.

use zstream_format::edit::resume::{Next, find, join};
use zstream_send::Progress;
use zstream_send::job;
use zstream_send::plan::{Options, StreamForm};
use zstream_send::request::{Request, resume};
use zstream_tests::edit::is_package;
use zstream_tests::golden;
use zstream_tests::sending::Sending;

/// Hundredths of a stream at which it is cut.
const CUTS: [usize; 7] = [3, 13, 29, 47, 66, 85, 98];

fn bytes(sending: &Sending, job: &job::Sending) -> Vec<u8> {
    let mut out = Vec::new();
    job.send(&mut out, sending.source(), Options::default(), &Progress::default(), &mut |_| {}).unwrap();
    out
}

/// A request of the words that the recorded commands of one snapshot have.
fn request(args: &str) -> Request {
    let mut request = Request::new("");
    let mut words = args.split(' ');
    while let Some(word) = words.next() {
        match word {
            "-L" => request.form.large_blocks = true,
            "-e" => request.form.embedded = true,
            "-c" => request.form.compressed = true,
            "-w" => {
                request.form = StreamForm { large_blocks: true, embedded: true, compressed: true, raw: true }
            }
            "-i" => request.from = words.next().map(str::to_owned),
            "--redact" => request.redact = words.next().map(str::to_owned),
            name => request.target = name.to_owned(),
        }
    }
    request
}

#[test]
fn cut_streams_go_on() {
    let tank = Sending::open(&golden::pool("tank"));
    for dataset in ["tank/e-aes-256-gcm", "tank/e-aes-128-ccm"] {
        tank.unlock(dataset);
    }
    let (mut streams, mut joined, mut places) = (0, 0, std::collections::BTreeSet::new());
    let commands = golden::text("COMMANDS");
    for line in commands.lines() {
        let (name, args) = line.split_once(": zfs send ").unwrap();
        // A head has no name that a token could lead back to.
        if is_package(&golden::stream(name)) || !args.contains('@') {
            continue;
        }
        let whole = bytes(&tank, &request(args).resolve(&tank.dsl, &mut |_| {}).unwrap());
        streams += 1;
        for cut in CUTS.map(|part| whole.len() * part / 100) {
            let Next::Resume(point) = find(&whole[..cut]).next else { continue };
            let job = resume(&point.token, StreamForm::default(), &tank.dsl)
                .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            let rest = bytes(&tank, &job);
            let mut out = Vec::new();
            join(&whole[..cut], &rest[..], &mut out, false)
                .unwrap_or_else(|error| panic!("{name} cut to {cut}: {error:?}"));
            assert!(out == whole, "{name} cut to {cut}");
            joined += 1;
            places.insert((name, point.token.object, point.token.offset));
        }
    }
    assert_eq!(streams, 40);
    assert!(joined > 200 && places.len() > 100, "{joined} of {} places", places.len());
}
