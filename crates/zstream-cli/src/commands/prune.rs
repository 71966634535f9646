//! `zstream prune`: destroys old snapshots by the rules of `restic forget`.

use zstream::{Keep, Policy, PruneRequest, Within};

use crate::change::command_line;
use crate::failure::Failure;
use crate::output;
use crate::pool::{PoolOptions, warnings};

/// Destroys the snapshots that a policy does not keep
///
/// The rules and their names are those of `restic forget`. A snapshot stays if one rule keeps it. Each rule of a period
/// keeps the newest snapshot of each of the last N periods that have one; if there are fewer than N, the oldest snapshot
/// of all is kept too. N may be `unlimited`. Periods are those of the calendar in the local time zone (TZ), weeks begin on
/// Monday, and the time of a snapshot is its creation. Each dataset is treated by itself. Snapshots that have holds or
/// clones are always kept. Everything is destroyed in one transaction group, or nothing. To keep the source of the next
/// increment, run `sync` with --bookmark or --hold.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run tank/home
  zstream -d disk.img prune -r --keep-within 2d --keep-yearly unlimited tank")]
pub(crate) struct Args {
    /// Keep the last N snapshots
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_last: Keep,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_hourly: Keep,
    /// The same for days
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_daily: Keep,
    /// The same for weeks
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_weekly: Keep,
    /// The same for months
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_monthly: Keep,
    /// The same for years
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    keep_yearly: Keep,
    /// Keep all snapshots of this time before the newest one, such as 1y6m or 7d12h
    #[arg(long, value_name = "DURATION")]
    keep_within: Option<Within>,
    /// Keep snapshots that have a hold with this tag; can be repeated
    #[arg(long, value_name = "TAG")]
    keep_tag: Vec<String>,
    /// Include all descendants
    #[arg(short = 'r')]
    recursive: bool,
    /// Destroy nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print one JSON object
    ///
    /// Keys: dry_run, destroyed, freed_bytes, datasets: a list of dataset and snapshots, which have snapshot, guid (a
    /// string), creation, keep, reasons, freed_bytes.
    #[arg(long)]
    json: bool,
    /// Filesystems and volumes
    #[arg(value_name = "DATASET", required = true)]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let mut policy = Policy::default();
        (policy.last, policy.hourly, policy.daily) = (self.keep_last, self.keep_hourly, self.keep_daily);
        (policy.weekly, policy.monthly, policy.yearly) =
            (self.keep_weekly, self.keep_monthly, self.keep_yearly);
        (policy.within, policy.tags) = (self.keep_within, self.keep_tag.clone());
        let mut request = PruneRequest::default();
        (request.names, request.policy) = (self.names.clone(), policy);
        (request.recursive, request.dry_run) = (self.recursive, self.dry_run);
        let pruned = request.run(&options.place_to_write()?, &command_line(), &mut warnings())?;
        let text = if self.json { format!("{}\n", zstream::json::prune(&pruned)) } else { pruned.text() };
        let printed = output::print(&text);
        if self.dry_run {
            return printed;
        }
        output::warn_unprinted(printed);
        Ok(())
    }
}
