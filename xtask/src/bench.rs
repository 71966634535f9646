//! Benchmarks.

use crate::run::{Outcome, cargo, run};
use crate::{bench_check, bench_kinds, bench_put, bench_recv, bench_send, bench_verify};

/// A benchmark: its name, how it is run, and one line of help.
type Bench = (&'static str, fn() -> Outcome, &'static str);

/// Every benchmark.
const BENCHES: &[Bench] = &[
    ("micro", micro, "criterion: the kernels and codecs of zstream-format"),
    ("verify", bench_verify::bench, "`zstream verify` beside OpenZFS's `zstream dump`, on 1 GiB"),
    ("check", bench_check::check, "`zstream pool check` beside OpenZFS's `zdb -bcc`, on a pool of 3 GiB"),
    (
        "extract",
        bench_check::extract,
        "`zstream extract` of 1 GiB, from a pool and from a stream, beside `cp`",
    ),
    (
        "put",
        bench_put::bench,
        "`zstream put` of 100,000 small files and of 2 GiB beside `tar`, plain, with lz4 and zstd",
    ),
    (
        "recv",
        bench_recv::bench,
        "`zstream recv` of 1 GiB beside `dd` of the stream into a file; in a virtual machine, beside `zfs receive`",
    ),
    (
        "kinds",
        bench_kinds::bench,
        "raidz2, dRAID, deduplication and cloned blocks beside plain pools, all ours",
    ),
    ("send", bench_send::bench, "`zstream send` beside OpenZFS's `zdb -B`, on a pool of 3 GiB"),
];

/// `bench [NAME]`
pub(crate) fn task(args: &[String]) -> Outcome {
    let chosen: Vec<&Bench> = match args {
        [] => BENCHES.iter().collect(),
        [name] => BENCHES.iter().filter(|(n, ..)| n == name).collect(),
        _ => return Err("one name at most".into()),
    };
    if chosen.is_empty() {
        let table: String = BENCHES.iter().map(|(n, _, about)| format!("\n  {n:8} {about}")).collect();
        return Err(format!("no such benchmark; there are:{table}"));
    }
    chosen.iter().try_for_each(|(_, bench, _)| bench())
}

/// `micro`
fn micro() -> Outcome {
    run(cargo(&["bench", "-p", "zstream-format", "--benches"]))
}
