//! Streams made from the golden pool, held against those that `zfs send` made of it.

use zstream_format::token::ResumeToken;
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
