//! `zstream pool replay`: replays intent logs.

use zstream::{ReplayOptions, Replayed, replay};

use crate::change::command_line;
use crate::failure::Failure;
use crate::output;
use crate::pool::{PoolOptions, warnings};
use crate::text::{Count, line};

/// The options of `zstream pool replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replay in memory only, and show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Show each record
    #[arg(short, long)]
    verbose: bool,
    /// Replay even if another host may have the pool imported
    #[arg(short)]
    force: bool,
    /// Filesystems and volumes; without any, all of the pool that have records and whose keys are available
    #[arg(value_name = "DATASET")]
    datasets: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let mut how = ReplayOptions::default();
        (how.force, how.dry_run, how.records) = (self.force, self.dry_run, self.verbose);
        let place = options.place_to_write()?;
        let replayed = replay(&place, &self.datasets, &how, options, &command_line(), &mut warnings())?;
        output::print(&self.text(&replayed))?;
        let locked = replayed.iter().filter_map(|replayed| Some((&replayed.name, replayed.locked.as_ref()?)));
        let lines: Vec<String> =
            locked.map(|(name, reason)| format!("{name}: the log was not replayed: {reason}")).collect();
        if lines.is_empty() { Ok(()) } else { Err(Failure::lines(&lines)) }
    }

    fn text(&self, replayed: &[Replayed]) -> String {
        let tense = if self.dry_run { "would be replayed" } else { "replayed" };
        let mut text = String::new();
        for Replayed { name, records, descriptions, locked, .. } in replayed {
            if locked.is_some() {
                continue;
            }
            text += &format!("{}: {} {tense}\n", line(name), Count(*records, "record"));
            descriptions.iter().for_each(|record| text += &format!("  {}\n", line(record)));
        }
        if replayed.is_empty() {
            text += "no intent log has records\n";
        }
        text
    }
}
