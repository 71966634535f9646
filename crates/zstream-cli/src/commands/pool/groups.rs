//! `zstream pool show --txgs`: the transaction groups that can still be opened.

use zstream::json::group as group_json;
use zstream::rescue::{Group, groups};
use zstream::text::Utc;

use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;
use crate::text::{Column, Count, line, table};

/// Prints the transaction groups, newest first. Fails if none is sound.
pub(crate) fn run(options: &PoolOptions, name: Option<&str>, json: bool) -> Result<(), Failure> {
    let found = groups(&options.place()?, name, &mut zstream::Control::new())?;
    if json {
        let lines: Vec<_> = found.iter().map(|group| format!("{}\n", group_json(group))).collect();
        output::print(&lines.concat())?;
    } else {
        let columns: Vec<_> =
            ["TXG", "TIME", "DATASETS", "LOST"].map(|name| Column::new(name.to_owned())).into();
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        output::print(&table(&columns, &rows, false))?;
    }
    match found.iter().any(Group::is_sound) {
        true => Ok(()),
        false => Err(Failure::new("no transaction group is sound")),
    }
}

fn row(group: &Group) -> Vec<String> {
    let (datasets, lost) = match &group.state {
        Ok(state) => {
            let lost = match &state.unreadable[..] {
                [] => "-".to_owned(),
                [first] => first.clone(),
                [first, rest @ ..] => format!("{first}; {} more", Count(rest.len() as u64, "dataset")),
            };
            (state.datasets.to_string(), lost)
        }
        Err(error) => ("-".to_owned(), format!("everything: {error}")),
    };
    vec![group.txg.to_string(), Utc(group.timestamp).to_string(), datasets, line(lost).to_string()]
}
