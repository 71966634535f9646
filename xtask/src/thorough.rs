//! The long runs: what the tests sample, taken whole.

use crate::run::{Outcome, cargo, find, run};

/// The tests that sample and take more when they are asked to, by parts of their names.
const SAMPLING: &[&str] = &[
    "hostile_",
    "interrupted::",
    "check_sweep::",
    "two_writers_at_once",
    "failing_steps::",
    "loops::",
    "bombs::",
    "many_snapshots::",
    "very_many_names",
];
/// Those of them that need OpenZFS's `zdb` too.
const SAMPLING_WITH_ZDB: &[&str] = &[
    "a_crash_at_every_write",
    "interop_long_random_histories",
    "interop_random_histories",
    "interop_lists_of_remapped_blocks",
];

/// `thorough [FILTER...]`
pub(crate) fn task(args: &[String]) -> Outcome {
    let mut filters: Vec<&str> = args.iter().map(String::as_str).collect();
    if filters.is_empty() {
        filters.extend(SAMPLING);
        filters.extend(SAMPLING_WITH_ZDB);
    }
    if find("zdb").is_none() {
        println!("SKIPPED: OpenZFS's zdb is not installed; not run: {}", SAMPLING_WITH_ZDB.join(", "));
        filters.retain(|filter| !SAMPLING_WITH_ZDB.contains(filter));
    }
    let mut tests =
        cargo(&["test", "--release", "--locked", "--package", "zstream-tests", "--no-fail-fast", "--"]);
    tests.args(["--include-ignored", "--nocapture"]).args(filters);
    tests.env("ZSTREAM_THOROUGH", "1000").env("ZSTREAM_TEST_SECONDS", "100000");
    run(tests)
}
