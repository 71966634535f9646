//! `zstream list`: the datasets of a pool and their properties, as `zfs list` prints them.

use zstream::json::JsonProperty;
use zstream::list::{PropertyName as Wanted, Row, Selection, SortKey, rows, select_in_all};

use crate::datasets::TableOptions;
use crate::failure::Failure;
use crate::output;
use crate::pool::{Incomplete, PoolOptions};
use crate::text::table;

/// Lists the datasets of a pool
///
/// The output has the format of `zfs list`; times are in UTC. `available` is shown as `-` if the pool has special
/// or dedup vdevs or an expanded raidz.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img list -t all
  zstream -d disk.img list -Hp -o name,used -S used -r tank/home")]
pub(crate) struct Args {
    #[command(flatten)]
    table: TableOptions,
    /// Columns: properties separated by commas, or `space`
    #[arg(short = 'o', value_name = "PROPERTY,...", value_delimiter = ',',
        default_values = ["name", "used", "available", "referenced", "mountpoint"])]
    columns: Vec<String>,
    /// Sort by this property, ascending; can be repeated
    #[arg(short = 's', value_name = "PROPERTY", value_parser = Wanted::parse)]
    ascending: Vec<Wanted>,
    /// Sort by this property, descending; can be repeated, and ranks after those of -s
    #[arg(short = 'S', value_name = "PROPERTY", value_parser = Wanted::parse)]
    descending: Vec<Wanted>,
    /// Datasets; all datasets of the pool if not given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let columns = Wanted::parse_all(self.columns.iter().map(String::as_str))
            .map_err(|error| Failure::usage(format_args!("bad property list: {error}")))?;
        let key = |descending| move |property: &Wanted| SortKey { property: property.clone(), descending };
        let (ascending, descending) =
            (self.ascending.iter().map(key(false)), self.descending.iter().map(key(true)));
        let keys: Vec<_> = ascending.chain(descending).collect();
        let selection = Selection::of_list(&self.names, self.table.types, self.table.depth());
        let incomplete = Incomplete::default();
        let opened = pool.open_all(&self.names, &incomplete)?;
        let datasets = select_in_all(&opened, &selection, pool, &mut incomplete.control())?;
        let rows = rows(datasets, &columns, &keys, &mut incomplete.control());
        output::print(&if self.table.json {
            self.json(&rows, &columns)
        } else {
            self.text(&rows, &columns)
        })?;
        incomplete.judge()
    }

    fn text(&self, rows: &[Row], columns: &[Wanted]) -> String {
        let literal = self.table.is_literal();
        let row = |row: &Row| {
            let cells = columns.iter().zip(&row.values);
            cells.map(|(wanted, found)| wanted.show_found(found.as_ref(), literal)).collect()
        };
        let cells: Vec<_> = rows.iter().map(row).collect();
        table(&columns.iter().map(Wanted::column).collect::<Vec<_>>(), &cells, self.table.script)
    }

    fn json(&self, rows: &[Row], columns: &[Wanted]) -> String {
        let literal = self.table.is_literal();
        let row = |row: &Row| {
            let cells = columns.iter().zip(&row.values).filter(|(wanted, _)| wanted.name() != "name");
            cells.map(|(wanted, found)| JsonProperty::new(wanted, found.as_ref(), literal)).collect()
        };
        let datasets: Vec<_> = rows.iter().map(|it| (&it.dataset, row(it))).collect();
        zstream::json::datasets("zfs list", &datasets, self.table.json_int)
    }
}
