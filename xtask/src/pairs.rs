//! Two programs that do the same, measured in turns, so that whatever else the machine does falls on both.
//!
//! Shown are the medians, and the medians of the ratios within a pair.

use std::path::{Path, PathBuf};

use crate::measure::{Usage, measure};
use crate::run::root;

/// How often both run.
pub(crate) const PAIRS: usize = 5;

/// Runs of ours and of theirs.
pub(crate) struct Pairs(Vec<(Usage, Usage)>);

impl Pairs {
    /// Measures both, each given by its path and arguments.
    pub(crate) fn measure(ours: (&Path, &[&str]), theirs: (&Path, &[&str])) -> Result<Self, String> {
        Self::measure_after(&|| {}, ours, theirs)
    }

    /// The same, with something to be done before each run.
    pub(crate) fn measure_after(
        prepare: &dyn Fn(),
        ours: (&Path, &[&str]),
        theirs: (&Path, &[&str]),
    ) -> Result<Self, String> {
        Self::measure_some(PAIRS, prepare, ours, theirs)
    }

    /// The same, so many times.
    pub(crate) fn measure_some(
        pairs: usize,
        prepare: &dyn Fn(),
        ours: (&Path, &[&str]),
        theirs: (&Path, &[&str]),
    ) -> Result<Self, String> {
        let one = |(program, args): (&Path, &[&str])| {
            prepare();
            measure(program, args)
        };
        (0..pairs).map(|_| Ok((one(ours)?, one(theirs)?))).collect::<Result<_, String>>().map(Self)
    }

    /// Takes runs that were measured elsewhere: ours and theirs.
    pub(crate) fn of(runs: impl IntoIterator<Item = (Usage, Usage)>) -> Self {
        Self(runs.into_iter().collect())
    }

    /// Our time on the clock, in seconds.
    pub(crate) fn wall(&self) -> f64 {
        self.median(|(ours, _)| ours.wall.as_secs_f64())
    }

    /// Our time on the clock as a share of theirs.
    pub(crate) fn wall_ratio(&self) -> f64 {
        self.median(|(ours, theirs)| ours.wall.as_secs_f64() / theirs.wall.as_secs_f64())
    }

    /// Our time on the cores as a share of theirs.
    pub(crate) fn cpu_ratio(&self) -> f64 {
        self.median(|(ours, theirs)| ours.cpu.as_secs_f64() / theirs.cpu.as_secs_f64())
    }

    /// The most memory that ours took, in bytes.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.0.iter().map(|(ours, _)| ours.peak_bytes).max().unwrap_or(0)
    }

    /// Prints the figures under their title and the names of both.
    pub(crate) fn print(&self, title: &str, ours: &str, theirs: &str) {
        let line = |name: &str, [ours, theirs]: [f64; 2], unit: &str, ratio: Option<f64>| {
            let ratio = ratio.map(|ratio| format!("{ratio:>8.2}")).unwrap_or_default();
            println!(
                "  {name:8}{:>22} {:>22}{ratio}",
                format!("{ours:.3} {unit}"),
                format!("{theirs:.3} {unit}")
            );
        };
        println!("\n{title}, {} pairs\n{:>32} {theirs:>22}   ratio", self.0.len(), ours);
        let theirs = |of: fn(&Usage) -> f64| self.median(|(_, theirs)| of(theirs));
        let ours = |of: fn(&Usage) -> f64| self.median(|(ours, _)| of(ours));
        let both = |of: fn(&Usage) -> f64| [ours(of), theirs(of)];
        line("wall", both(|usage| usage.wall.as_secs_f64()), "s", Some(self.wall_ratio()));
        line("CPU", both(|usage| usage.cpu.as_secs_f64()), "s", Some(self.cpu_ratio()));
        line("memory", both(|usage| mib(usage.peak_bytes)), "MiB", None);
    }

    fn median(&self, of: impl Fn(&(Usage, Usage)) -> f64) -> f64 {
        median(self.0.iter().map(of))
    }
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The middle of some values.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
