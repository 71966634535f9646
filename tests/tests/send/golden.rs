//! Streams made from the golden pool, held against those that `zfs send` made of it.

use std::num::NonZero;

use zstream_format::checksum::Checksum;
use zstream_format::flags::{BeginFlags, SpillFlags};
use zstream_format::record::Body;
use zstream_format::stream::StreamReader;
use zstream_format::token::ResumeToken;
use zstream_send::plan::Options;
use zstream_send::request::Request;
use zstream_send::{Progress, measure};
use zstream_tests::compare::{Comparison, as_golden};
use zstream_tests::golden;
use zstream_tests::sending::{Sending, resume, stream};

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

fn tank() -> Sending {
    let tank = Sending::open(&golden::pool("tank"));
    for dataset in ["tank/e-aes-256-gcm", "tank/e-aes-128-ccm"] {
        tank.unlock(dataset);
    }
    tank
}

#[test]
fn every_golden_stream_is_made_again() {
    let tank = tank();
    let commands = commands();
    assert_eq!(commands.len(), 41);
    let mut comparison = Comparison::default();
    for (name, args) in commands {
        let (found, sent) = stream(&tank.plan(&args));
        assert_eq!(sent.bytes, found.len() as u64, "{name}");
        comparison.add(&name, &as_golden(&name, &found), &golden::stream(&name));
    }
}

#[test]
fn pools_of_every_redundancy_give_their_streams() {
    let mut comparison = Comparison::default();
    for name in ["pmirror", "praidz1", "praidz2", "praidz3"] {
        let (found, _) = stream(&Sending::open(&golden::pool(name)).plan(&format!("{name}@s")));
        comparison.add(name, &found, &golden::stream(name));
    }
}

#[test]
fn resumed_and_saved_streams_are_made_again() {
    let tank = tank();
    let mut comparison = Comparison::default();
    for (name, token) in golden::tokens() {
        let mut plan = tank.plan("tank/fs@a");
        resume(&mut plan, &ResumeToken::parse(&token).unwrap());
        let resumed = format!("{name}-resumed");
        comparison.add(&resumed, &stream(&plan).0, &golden::stream(&resumed));
        let saved = format!("{name}-saved");
        let plan = tank.saved_plan(&format!("tank/rx/{name}"));
        comparison.add(&saved, &stream(&plan).0, &golden::stream(&saved));
    }
}

/// Without reading a block the sizes are known, to the byte.
#[test]
fn streams_are_measured_without_reading_data() {
    let tank = tank();
    for (name, args) in commands() {
        let plan = tank.plan(&args);
        let measured = measure(&plan, &Progress::default()).unwrap();
        assert_eq!(measured, stream(&plan).1, "{name}");
    }
}

/// Queues, batches and threads decide about nothing that is in the stream.
#[test]
fn any_number_of_threads_and_any_queues_give_the_same_bytes() {
    let tank = tank();
    for args in ["-L -e -c tank/fs@a", "tank/rs1m@s", "-i #redtwo tank/fs@b", "-w tank/e-aes-256-gcm@s"] {
        let mut plan = tank.plan(args);
        plan.options.threads = 1;
        let (alone, _) = stream(&plan);
        for (threads, queue_bytes, fill) in [(2, 16 << 20, 20), (8, 1, 1), (3, 1 << 20, 1000), (2, 0, 0)] {
            plan.options.threads = threads;
            (plan.options.queue_bytes, plan.options.traversal_queue_bytes) = (queue_bytes, queue_bytes / 16);
            (plan.options.queue_fill, plan.options.traversal_queue_fill) = (fill, fill);
            assert!(stream(&plan).0 == alone, "{args}, {threads} threads, a queue of {queue_bytes} bytes");
        }
    }
}

/// Called from all threads of rayon's pool at once, sends end, though the traversal needs that pool.
#[test]
fn threads_of_a_pool_may_send() {
    let tank = tank();
    let (alone, _) = stream(&tank.plan("tank/fs@a"));
    let streams = rayon::broadcast(|_| stream(&tank.plan("tank/fs@a")).0);
    assert!(streams.iter().all(|stream| *stream == alone));
}

/// The bodies of a stream's records; END without what says how the others were.
fn bodies(stream: &[u8]) -> Vec<Body> {
    let (mut reader, mut bodies) = (StreamReader::new(stream), Vec::new());
    while let Some(record) = reader.next().unwrap() {
        let mut body = record.header.body().unwrap();
        if let Body::End(end) = &mut body {
            end.checksum = Checksum::ZERO;
        }
        bodies.push(body);
    }
    bodies
}

#[test]
fn options_change_what_they_name_and_nothing_else() {
    let tank = tank();
    let is_unmodified =
        |body: &Body| matches!(body, Body::Spill(spill) if spill.flags.contains(SpillFlags::UNMODIFIED));
    let mut left_out = 0;
    for args in ["-i @a tank/fs@b", "-i @a tank/fs@c", "-w -i @s tank/e-aes-256-gcm@t"] {
        let mut expected = bodies(&stream(&tank.plan(args)).0);
        let mut plan = tank.plan(args);
        plan.options.freerecords_flag = false;
        plan.options.unmodified_spill_blocks = false;
        let found = bodies(&stream(&plan).0);
        let Body::Begin(begin) = &mut expected[0] else { panic!("{:?}", expected[0]) };
        assert!(begin.flags.contains(BeginFlags::FREERECORDS));
        begin.flags.remove(BeginFlags::FREERECORDS);
        left_out += expected.iter().filter(|body| is_unmodified(body)).count();
        expected.retain(|body| !is_unmodified(body));
        assert_eq!(found, expected, "{args}");
    }
    assert!(left_out > 0, "no stream has an unmodified spill block");
}

/// The guess takes all blocks to be of one size, each with a record and without a block pointer.
#[test]
fn the_block_size_of_estimates_can_be_set() {
    let tank = tank();
    let job = Request::new("tank/fs@a").resolve(&tank.dsl, &mut |_| {}).unwrap();
    let estimate = |bytes: Option<u64>| {
        let options = Options { estimate_record_bytes: bytes.and_then(NonZero::new), ..Options::default() };
        job.steps[0].estimate(tank.source(), options, &Progress::default()).unwrap()
    };
    let uncompressed = job.steps[0].dataset.phys().uncompressed_bytes;
    assert_eq!(estimate(None), estimate(Some(128 << 10)));
    let by_record = 312 - 128;
    assert_eq!(
        estimate(Some(4096)) - estimate(Some(1 << 20)),
        (uncompressed / 4096 - (uncompressed >> 20)) * by_record
    );
}
