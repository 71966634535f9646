//! Receives that are cut off at every byte, get every byte wrong, or lose power at every write: nothing but the sender's
//! snapshot ever becomes one, the pool stays clean, and what can be resumed is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zstream_dmu::device::{Device, FileDevice};
use zstream_dmu::testing::{Loss, OverlayDevice, Recorder};
use zstream_format::errno::Errno;
use zstream_recv::Target;
use zstream_recv::error::Result;
use zstream_tests::created::{open, open_writable, write_options};
use zstream_tests::lab::Lab;
use zstream_tests::receiving::{self, check, target};
use zstream_tests::samples::record_places;
use zstream_tests::sending::{Sending, resume, stream};
use zstream_tests::state::{State, difference, whole};

/// How long the attempts at one stream may take; of more than fit every n-th is made. `ZSTREAM_TEST_SECONDS` is for more.
fn budget() -> Duration {
    let seconds = std::env::var("ZSTREAM_TEST_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// A pool that receives, written to in memory only, again and again from the same start.
struct Trial {
    lab: Lab,
    base: Arc<dyn Device>,
    before: State,
    /// How the stream is sent, again too where it was interrupted.
    words: &'static str,
    stream: Vec<u8>,
    to: Target,
    /// The pool after the whole stream.
    after: State,
}

/// Tests of a full stream, of an increment of what is there, and of compressed blocks.
macro_rules! of_each_stream {
    ($($test:ident),*) => {
        $(mod $test {
            use super::Trial;
            #[test]
            fn full() {
                super::$test(&Trial::new("a/fs@1", "b/new@1"));
            }
            #[test]
            fn increment() {
                super::$test(&Trial::new("-i @1 a/fs@2", "b/fs@2"));
            }
            #[test]
            fn compressed() {
                super::$test(&Trial::new("-c a/fs@1", "b/new@1"));
            }
        })*
    };
}

of_each_stream!(
    a_stream_that_ends_at_any_byte_leaves_the_pool_as_it_was,
    a_stream_that_ends_at_any_record_goes_on_from_there,
    a_stream_with_any_byte_wrong_is_no_snapshot,
    a_receive_that_loses_power_anywhere_leaves_a_clean_pool
);

impl Trial {
    fn new(words: &'static str, to: &str) -> Self {
        let lab = Lab::new(&["a", "b"]);
        lab.does("a", &["create -o recordsize=4K a/fs"]);
        let noise: Vec<u8> =
            (0..9000_u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u8).collect();
        lab.put("a", "a/fs", "noise", &noise);
        lab.put("a", "a/fs", "text", b"text\n");
        lab.does("a", &["snapshot a/fs@1"]);
        lab.put("a", "a/fs", "noise", &noise[100..7000]);
        lab.put("a", "a/fs", "more", &noise[..5000]);
        lab.does("a", &["snapshot a/fs@2"]);
        lab.recv("b", "b/fs", &lab.send("a", "a/fs@1"));
        let base: Arc<dyn Device> = Arc::new(FileDevice::open(&lab.image("b")).unwrap());
        let before = whole(&Sending::of(open(&[Arc::clone(&base)]).unwrap()));
        let (stream, to) = (lab.send("a", words), target(to));
        let mut trial = Self { lab, base, before, words, stream, to, after: State::new() };
        let device = trial.overlay();
        receive(&device, &trial.stream, &trial.to).unwrap();
        trial.after = whole(&reading(&device));
        trial
    }

    fn overlay(&self) -> Arc<dyn Device> {
        Arc::new(OverlayDevice::new(Arc::clone(&self.base)))
    }

    /// Sends the rest of what was received in part, and receives it; the pool is then as after the whole stream.
    fn finish(&self, device: &Arc<dyn Device>, what: &str) {
        let to = Target { resumable: true, ..self.to.clone() };
        let token =
            reading(device).dsl.dataset(&to.dataset).unwrap().resume_token().unwrap().expect("a token");
        let source = self.lab.reading("a");
        let mut plan = source.plan(self.words);
        resume(&mut plan, &token);
        receive(device, &stream(&plan).0, &to).unwrap_or_else(|error| panic!("{what}: {error}"));
        same_content(&whole(&reading(device)), &self.after, what);
    }
}

fn reading(device: &Arc<dyn Device>) -> Sending {
    Sending::of(open(&[Arc::clone(device)]).unwrap())
}

fn receive(device: &Arc<dyn Device>, stream: &[u8], to: &Target) -> Result<()> {
    let pool = open_writable(&[Arc::clone(device)], &write_options()).unwrap();
    receiving::receive(pool, stream, to, &[]).map(drop)
}

/// Compares snapshots and what heads hold; what a dataset takes depends on how its blocks came together.
fn same_content(found: &State, expected: &State, what: &str) {
    let kept = |state: &State| -> State {
        let last = |what: &str| what.rsplit(' ').next().unwrap_or_default().to_owned();
        state
            .iter()
            .map(|(name, what)| (name.clone(), if name.contains('@') { what.clone() } else { last(what) }))
            .collect()
    };
    assert_eq!(difference(&kept(found), &kept(expected)), "", "{what}");
}

/// Takes as many of `all` as there is time for, evenly, starting somewhere else each time.
fn each_in_time(all: &[usize], mut act: impl FnMut(usize, bool)) {
    let started = Instant::now();
    for at in all.iter().take(3) {
        act(*at, true);
    }
    let each = started.elapsed() / 3;
    let step = (each.as_nanos() * all.len() as u128 / budget().as_nanos()) as usize + 1;
    let mut made = 0;
    for at in all.iter().skip(step / 2).step_by(step) {
        made += 1;
        act(*at, made % 16 == 0);
    }
    println!("{made} of {}, {:.1} ms each", all.len(), each.as_secs_f64() * 1e3);
    assert!(made >= 20.min(all.len() / step), "only {made} of {}", all.len());
}

fn a_stream_that_ends_at_any_byte_leaves_the_pool_as_it_was(trial: &Trial) {
    let len = trial.stream.len();
    assert!((15_000..70_000).contains(&len), "{} is {len} bytes", trial.words);
    let mut all = record_places(&trial.stream);
    all.extend(1..len);
    let borders = record_places(&trial.stream).len();
    for cuts in [&all[1..borders], &all[borders..]] {
        each_in_time(cuts, |cut, checks| {
            let what = format!("{} cut at {cut} of {len}", trial.words);
            let device = trial.overlay();
            let error = receive(&device, &trial.stream[..cut], &trial.to).expect_err(&what);
            assert_eq!(error.errno(), Errno::ZFS_ERR_STREAM_TRUNCATED, "{what}: {error}");
            let after = reading(&device);
            assert_eq!(difference(&whole(&after), &trial.before), "", "{what}");
            if checks {
                check(&after, &what);
            }
        });
    }
}

fn a_stream_that_ends_at_any_record_goes_on_from_there(trial: &Trial) {
    let to = Target { resumable: true, ..trial.to.clone() };
    let mut points = BTreeSet::new();
    for border in record_places(&trial.stream).into_iter().skip(2) {
        for cut in [border, border + 200, border + 312] {
            let cut = cut.min(trial.stream.len() - 1);
            let what = format!("{} cut at {cut}", trial.words);
            let device = trial.overlay();
            receive(&device, &trial.stream[..cut], &to).expect_err(&what);
            let after = reading(&device);
            check(&after, &what);
            let token = after.dsl.dataset(&to.dataset).unwrap().resume_token().unwrap().expect("a token");
            points.insert((token.object, token.offset));
            trial.finish(&device, &what);
            check(&reading(&device), &what);
        }
    }
    assert!(points.len() > 5, "{points:?}");
}

fn a_stream_with_any_byte_wrong_is_no_snapshot(trial: &Trial) {
    for resumable in [false, true] {
        let to = Target { resumable, ..trial.to.clone() };
        let all: Vec<usize> = (0..trial.stream.len()).collect();
        each_in_time(&all, |at, checks| {
            let bit = 1_u8 << (at % 8);
            let what = format!("{} with byte {at} ^ {bit:#x}", trial.words);
            let mut damaged = trial.stream.clone();
            damaged[at] ^= bit;
            let device = trial.overlay();
            receive(&device, &damaged, &to).expect_err(&what);
            let after = reading(&device);
            let state = whole(&after);
            if checks {
                check(&after, &what);
            }
            if !resumable {
                assert_eq!(difference(&state, &trial.before), "", "{what}");
                return;
            }
            let snapshots =
                |state: &State| state.keys().filter(|name| name.contains('@')).cloned().collect::<Vec<_>>();
            assert_eq!(snapshots(&state), snapshots(&trial.before), "{what}");
            if checks && !difference(&state, &trial.before).is_empty() {
                trial.finish(&device, &what);
            }
        });
    }
}

/// The power goes at every write: the pool opens and is clean. It is as before, or as after, or holds a part, which the next
/// receive clears away, or with `-s` goes on from.
fn a_receive_that_loses_power_anywhere_leaves_a_clean_pool(trial: &Trial) {
    for resumable in [false, true] {
        let to = Target { resumable, ..trial.to.clone() };
        let recorder = Recorder::new();
        let device = recorder.over(trial.overlay());
        receive(&device, &trial.stream, &to).unwrap();
        let events = recorder.len();
        let after = whole(&reading(&device));
        let mut seen = [0; 3];
        let cuts: Vec<usize> = (0..=events).collect();
        each_in_time(&cuts, |cut, _| {
            for loss in [Loss::Nothing, Loss::All, Loss::Torn(cut as u64)] {
                let what = format!("{} -s {resumable}, {loss:?} before event {cut} of {events}", trial.words);
                let crashed = recorder.crashed(cut, loss);
                let found = Sending::of(open(&crashed).unwrap_or_else(|error| panic!("{what}: {error}")));
                check(&found, &what);
                let state = whole(&found);
                let device = &crashed[0];
                if difference(&state, &trial.before).is_empty() {
                    seen[0] += 1;
                } else if difference(&state, &after).is_empty() {
                    seen[1] += 1;
                } else {
                    seen[2] += 1;
                    let snapshots = state.keys().filter(|name| name.contains('@')).count();
                    assert_eq!(
                        snapshots,
                        trial.before.keys().filter(|name| name.contains('@')).count(),
                        "{what}"
                    );
                    if resumable {
                        trial.finish(device, &what);
                    } else {
                        receive(device, &trial.stream, &to).unwrap_or_else(|error| panic!("{what}: {error}"));
                        same_content(&whole(&reading(device)), &trial.after, &what);
                    }
                    check(&reading(device), &what);
                }
            }
        });
        assert!(seen.iter().all(|times| *times > 0), "{}: {seen:?}", trial.words);
    }
}
