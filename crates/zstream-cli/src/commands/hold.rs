//! `zstream hold`, `release` and `holds`: holds, which prevent the destruction of snapshots, as in `zfs`.

use std::io::Write as _;

use zstream::Error;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::prop::time;

use crate::change::change;
use crate::datasets::{all_or_failure, opened};
use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;

/// The options of `zstream hold` and `zstream release`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Include the snapshots of that name in all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Tag of the hold
    #[arg(value_name = "TAG")]
    tag: String,
    /// Snapshots
    #[arg(value_name = "SNAPSHOT", required = true)]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn hold(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, self.first(), |pool| Ok(zstream::hold(pool, &self.tag, &self.names, self.recursive)?))
    }

    pub(crate) fn release(&self, options: &PoolOptions) -> Result<(), Failure> {
        change(options, self.first(), |pool| {
            Ok(zstream::release(pool, &self.tag, &self.names, self.recursive)?)
        })
    }

    fn first(&self) -> &str {
        self.names.first().map(String::as_str).unwrap_or_default()
    }
}

/// The options of `zstream holds`.
#[derive(Debug, clap::Args)]
pub(crate) struct Holds {
    /// Include the snapshots of that name in all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// For scripts: omit the heading, separate columns by a single tab
    #[arg(short = 'H')]
    script: bool,
    /// Print times in seconds since 1970
    #[arg(short = 'p')]
    literal: bool,
    /// Snapshots
    #[arg(value_name = "SNAPSHOT", required = true)]
    names: Vec<String>,
}

impl Holds {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (pools, mut is_all) = opened(options, &self.names)?;
        let mut rows = Vec::new();
        let mut add = |snapshot: &Dataset| -> zstream_dsl::error::Result<()> {
            for hold in snapshot.holds()? {
                let when = if self.literal { hold.time.to_string() } else { time(hold.time, false) };
                rows.push([snapshot.name().to_owned(), hold.tag, when]);
            }
            Ok(())
        };
        for (open, name) in pools.iter().flat_map(|(open, names)| names.iter().map(move |name| (open, name)))
        {
            let snapshot = match open.dsl.dataset(name) {
                Ok(snapshot) => snapshot,
                Err(error) if error.is_not_found() => {
                    eprintln!("zstream: {}", Error::Open { name: name.clone(), source: error.into() });
                    is_all = false;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(short) = snapshot.snapshot_name() else {
                return Err(Failure::usage(format_args!("{name} is not the name of a snapshot")));
            };
            if self.recursive {
                snapshot
                    .dir()
                    .walk(&mut |dir| dir.head()?.snapshot(short)?.as_ref().map_or(Ok(()), &mut add))?;
            } else {
                add(&snapshot)?;
            }
        }
        for row in &mut rows {
            *row = row.each_ref().map(crate::text::line);
        }
        let width = |column: usize, heading: &str| {
            rows.iter().map(|row| row[column].len()).chain([heading.len()]).max().unwrap_or_default()
        };
        let (names, tags) = (width(0, "NAME"), width(1, "TAG"));
        let mut text = String::new();
        if !self.script {
            text += &format!("{:names$}  {:tags$}  TIMESTAMP\n", "NAME", "TAG");
        }
        for [name, tag, when] in &rows {
            text += &if self.script {
                format!("{name}\t{tag}\t{when}\n")
            } else {
                format!("{name:names$}  {tag:tags$}  {when}\n")
            };
        }
        let mut out = output::text()?;
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
        all_or_failure(is_all)
    }
}
