//! The fuzz targets, for a moment each: the corpus as it is, the kept inputs, and that the canaries die.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;
use zstream_tests::fuzz::targets::{CANARIES, TARGETS};
use zstream_tests::fuzz::{self, Meter, Until};
use zstream_tests::program;

/// Memory is not measured here: tests run side by side.
const UNMEASURED: Meter = Meter { current: || 0, peak: || 0, reset: || () };

/// In one test, because panics are caught with a hook that the whole process shares.
#[test]
fn targets_hold_and_canaries_die() {
    for target in TARGETS {
        let outcome = fuzz::run(target, 1, Until::Time(Duration::from_millis(50)), UNMEASURED);
        assert!(
            outcome.as_ref().is_ok_and(|n| *n > 0),
            "{}: {:?}",
            target.name,
            outcome.err().map(|f| f.message)
        );
    }
    for canary in CANARIES.iter().filter(|c| c.name != "canary-memory") {
        assert!(fuzz::run(canary, 1, Until::Iterations(20_000), UNMEASURED).is_err(), "{}", canary.name);
    }
}

/// Every target has its program in `fuzz/`, and every program there its target.
#[test]
fn coverage_guided_programs_are_the_targets() {
    let fuzz = program::root().join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let (_, programs) = manifest.split_once("[[bin]]").unwrap();
    let quoted = |line: &str| Some(line.strip_prefix("name = \"")?.strip_suffix('"')?.to_owned());
    let programs: BTreeSet<String> = programs.lines().filter_map(quoted).collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(programs, targets);
    for name in programs {
        let source = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains("zstream_fuzz::target!()"), "{name}");
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
