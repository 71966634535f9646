//! `zstream get`: properties of datasets and their sources, as `zfs get` prints them.

use zstream::json::JsonProperty;
use zstream::list::{PropertyName as Wanted, PropertyRow as Row, Selection, property_rows, select_in_all};
use zstream_dsl::prop::{PropertyValue, Props};

use crate::datasets::{TableOptions, fields};
use crate::failure::Failure;
use crate::output;
use crate::pool::{Incomplete, PoolOptions};
use crate::text::{Column, table};

/// All columns.
const FIELDS: [&str; 5] = ["name", "property", "value", "received", "source"];

/// Shows properties of datasets and their sources
///
/// The output has the format of `zfs get`; times are in UTC, and `mounted` is always `no`. Unknown values are
/// shown as `-`. The space used by users and groups of an encrypted filesystem is unknown without its key
/// (--key-file, before the verb).
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  zstream -d disk.img get all tank/home
  zstream -d disk.img get -r -s local,received compression,recordsize tank
  zstream -d disk.img --key-file key get userused@1000,userquota@1000 tank/home
  zstream token $(zstream -d disk.img get -H -o value receive_resume_token tank/home)")]
pub(crate) struct Args {
    #[command(flatten)]
    table: TableOptions,
    /// Columns, separated by commas, or `all`
    #[arg(short = 'o', value_name = "FIELD,...", value_delimiter = ',',
        value_parser = ["all", "name", "property", "value", "received", "source"],
        default_values = ["name", "property", "value", "source"])]
    fields: Vec<String>,
    /// Show only values from these sources, separated by commas
    #[arg(short = 's', value_name = "SOURCE,...", value_delimiter = ',',
        value_parser = ["local", "default", "inherited", "received", "temporary", "none"])]
    sources: Vec<String>,
    /// Properties, separated by commas, or `all`
    #[arg(value_name = "PROPERTY,...")]
    properties: String,
    /// Datasets; all datasets of the pool if not given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let (all, names): (Vec<&str>, Vec<&str>) =
            self.properties.split(',').partition(|name| *name == "all");
        let wanted = names.into_iter().map(Wanted::parse).collect::<Result<Vec<_>, _>>();
        let wanted = wanted.map_err(|error| Failure::usage(format_args!("bad property list: {error}")))?;
        let selection = Selection::of_get(&self.names, self.table.types, self.table.depth());
        let incomplete = Incomplete::default();
        let opened = pool.open_all(&self.names, &incomplete)?;
        let datasets = select_in_all(&opened, &selection, pool, &mut incomplete.control())?;
        let mut rows = property_rows(&datasets, !all.is_empty(), &wanted, &mut incomplete.control());
        rows.retain(|row| {
            self.sources.is_empty() || self.sources.iter().any(|kind| kind == row.source().kind())
        });
        output::print(&if self.table.json { self.json(&rows) } else { self.text(&datasets, &rows) })?;
        incomplete.judge()
    }

    fn text(&self, datasets: &[Props], rows: &[Row<'_>]) -> String {
        let fields = fields(&self.fields, &FIELDS);
        let column = |field: &&str| {
            let width = match *field {
                "name" => datasets.iter().map(|props| props.name().len()).max().unwrap_or(0),
                "value" => rows.iter().map(|row| row.property.column().width).max().unwrap_or(0),
                _ => 0,
            };
            Column { width, ..Column::new(field.to_ascii_uppercase()) }
        };
        let columns: Vec<Column> = fields.iter().map(column).collect();
        let literal = self.table.is_literal();
        let cell = |row: &Row<'_>, field: &str| match (field, &row.found) {
            ("name", _) => row.dataset.name().to_owned(),
            ("property", _) => row.property.name().to_owned(),
            ("value", found) => row.property.show_found(found.as_ref(), literal),
            ("received", Some(PropertyValue { received: Some(value), .. })) => {
                row.property.show(value, literal)
            }
            ("source", Some(found)) => found.source.to_string(),
            _ => "-".to_owned(),
        };
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| fields.iter().map(|field| cell(row, field)).collect()).collect();
        table(&columns, &rows, self.table.script)
    }

    fn json(&self, rows: &[Row<'_>]) -> String {
        let of_one = rows.chunk_by(|a, b| a.dataset.name() == b.dataset.name());
        let property =
            |row: &Row<'_>| JsonProperty::new(&row.property, row.found.as_ref(), self.table.is_literal());
        let datasets: Vec<_> =
            of_one.map(|rows| (rows[0].dataset, rows.iter().map(property).collect())).collect();
        zstream::json::datasets("zfs get", &datasets, self.table.json_int)
    }
}
