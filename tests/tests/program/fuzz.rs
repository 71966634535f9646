//! The fuzz targets, for a moment each: the corpus as it is, the kept regressions, and that the canaries die.

use std::time::Duration;
use zstream_tests::fuzz::targets::{CANARIES, TARGETS};
use zstream_tests::fuzz::{self, Meter, Until};

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
