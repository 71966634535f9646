//! Verbs for pools in object storage: `zstream pool generations` and `zstream pool gc`, and the objects in
//! `zstream pool check`.

use std::time::{Duration, UNIX_EPOCH};

use zstream::text::Utc;
use zstream_dsl::prop::nice_bytes;
use zstream_object::{GRACE_DEFAULT, Places};

use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;
use crate::text::{Column, Count, table};

/// The arguments of `zstream pool gc`.
#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    /// Time for which generations can be opened after the next one, such as 7d, 12h, 30m or 0; two minutes at least
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = duration)]
    grace: Duration,
    /// Delete nothing, print what would be deleted
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Reads a number with a unit: s, m, h, d or w.
fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number with the unit s, m, h, d or w, such as 7d";
    let (number, seconds) = match text.split_at_checked(text.len().saturating_sub(1)) {
        _ if text == "0" => ("0", 1),
        Some((number, "s")) => (number, 1),
        Some((number, "m")) => (number, 60),
        Some((number, "h")) => (number, 3600),
        Some((number, "d")) => (number, 24 * 3600),
        Some((number, "w")) => (number, 7 * 24 * 3600),
        _ => return Err(EXPECTED.to_owned()),
    };
    let number: u32 = number.parse().map_err(|_| EXPECTED)?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// The URLs of the pool. Fails without any.
fn urls(options: &PoolOptions) -> Result<Vec<String>, Failure> {
    match options.urls()? {
        urls if urls.is_empty() => {
            Err(Failure::usage("this verb is for a pool in object storage, which -d names by its URL"))
        }
        urls => Ok(urls),
    }
}

impl Gc {
    pub(super) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        debug_assert_eq!(duration("7d"), Ok(GRACE_DEFAULT));
        if options.has_generation() {
            return Err(Failure::usage("--generation is for reading a pool only"));
        }
        let places = Places::new();
        for url in urls(options)? {
            let done = places.collect(&url, self.grace, self.dry_run).map_err(Failure::new)?;
            let would = if self.dry_run { "would delete" } else { "deleted" };
            say!(
                "{url}: {would} {} of {} and {} ({}), {} written again; {} left",
                done.generations,
                Count(done.generations + done.kept, "generation"),
                Count(done.objects, "object"),
                nice_bytes(done.bytes),
                nice_bytes(done.compacted_bytes),
                nice_bytes(done.left_bytes)
            )?;
        }
        Ok(())
    }
}

/// Prints the generations, the newest first.
pub(super) fn generations(options: &PoolOptions) -> Result<(), Failure> {
    let places = Places::new();
    for url in urls(options)? {
        let found = places.generations(&url).map_err(Failure::new)?;
        if found.is_empty() {
            return Err(Failure::new(format_args!("{url} has no pool")));
        }
        let columns: Vec<_> = ["GENERATION", "TIME"].map(|name| Column::new(name.to_owned())).into();
        let rows: Vec<Vec<String>> = found
            .iter()
            .map(|generation| {
                let time = generation.committed.duration_since(UNIX_EPOCH).unwrap_or_default();
                vec![generation.number.to_string(), Utc(time.as_secs()).to_string()]
            })
            .collect();
        output::print(&table(&columns, &rows, false))?;
    }
    Ok(())
}

/// Checks the objects of the newest generation, if the pool is in object storage. With `is_quiet`, prints only what is
/// lost, to standard error.
pub(super) fn check(options: &PoolOptions, is_quiet: bool) -> Result<(), Failure> {
    if options.has_generation() {
        return Ok(());
    }
    let places = Places::new();
    let mut lost = 0;
    for url in options.urls()? {
        let check = places.check(&url).map_err(Failure::new)?;
        for object in &check.lost {
            lost += 1;
            eprintln!(
                "zstream: {url}/{} is lost or cut: it has {} at {:#x}",
                object.name,
                nice_bytes(object.bytes),
                object.address
            );
        }
        if !is_quiet {
            say!(
                "{url}: generation {}, {} with {}; {} ({}) without use, which `pool gc` deletes",
                check.generation,
                Count(check.objects, "object"),
                nice_bytes(check.bytes),
                Count(check.orphans, "object"),
                nice_bytes(check.orphan_bytes)
            )?;
        }
    }
    match lost {
        0 => Ok(()),
        count => Err(Failure::new(format_args!("{} lost", Count(count, "object")))),
    }
}
