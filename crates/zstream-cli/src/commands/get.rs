//! `zstream get`: properties of datasets and their sources, as `zfs get` prints them.

use std::io::Write as _;

use zstream::list::{PropertyName as Wanted, Selection, all_properties};
use zstream_dsl::prop::{PropertyValue, Props, Source, Types};

use crate::datasets::{Column, Shown as _, TableOptions, all_or_failure, found_in_all, opened, table};
use crate::failure::Failure;
use crate::json;
use crate::output;
use crate::pool::{PoolOptions, Unreadable};

/// The options of `zstream get`.
#[derive(Debug, clap::Args)]
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

/// A property of a dataset.
struct Row<'a> {
    props: &'a Props,
    wanted: Wanted,
    found: Option<PropertyValue>,
}

impl Args {
    pub(crate) fn run(&self, pool: &PoolOptions) -> Result<(), Failure> {
        let names = || self.properties.split(',');
        let all = names().any(|name| name == "all");
        let wanted: Result<Vec<_>, _> = names().filter(|name| *name != "all").map(Wanted::parse).collect();
        let wanted = wanted.map_err(|error| Failure::usage(format_args!("bad property list: {error}")))?;
        let opened = opened(pool, &self.names)?;
        let depth = match self.table.depth {
            Some(depth) => depth,
            None if self.table.recursive || self.names.is_empty() => usize::MAX,
            None => 0,
        };
        let types = self.table.types.unwrap_or(Types::all());
        let unreadable = Unreadable::default();
        let selection = Selection { names: &self.names, types, strict: false, depth };
        let (datasets, is_all) = found_in_all(&opened, &selection, pool, &unreadable)?;
        let mut rows = Vec::new();
        for props in &datasets {
            if all {
                match all_properties(props) {
                    Ok(all) => rows.extend(all.into_iter().map(|(wanted, found)| Row {
                        props,
                        wanted,
                        found: Some(found),
                    })),
                    Err(error) => unreadable.report(props.name(), &error),
                }
            }
            for wanted in &wanted {
                match wanted.of(props) {
                    Ok(found) => rows.push(Row { props, found, wanted: wanted.clone() }),
                    Err(error) => unreadable.report(props.name(), &error),
                }
            }
        }
        rows.retain(|row| self.shows(row.found.as_ref()));
        let text = if self.table.json { self.json_text(&rows) } else { self.text(&datasets, &rows) };
        let mut out = output::text()?;
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
        unreadable.judge()?;
        all_or_failure(is_all)
    }

    fn shows(&self, found: Option<&PropertyValue>) -> bool {
        let source = match found.map_or(&Source::None, |found| &found.source) {
            Source::None => "none",
            Source::Default => "default",
            Source::Local => "local",
            Source::Inherited(_) => "inherited",
            Source::Received => "received",
        };
        self.sources.is_empty() || self.sources.iter().any(|wanted| wanted == source)
    }

    fn text(&self, datasets: &[Props], rows: &[Row<'_>]) -> String {
        let all = ["name", "property", "value", "received", "source"];
        let fields: Vec<&str> = if self.fields.iter().any(|field| field == "all") {
            all.to_vec()
        } else {
            self.fields.iter().map(String::as_str).collect()
        };
        let column = |field: &&str| {
            let width = match *field {
                "name" => datasets.iter().map(|props| props.name().len()).max().unwrap_or(0),
                "value" => rows.iter().map(|row| row.wanted.width()).max().unwrap_or(0),
                _ => 0,
            };
            Column { heading: field.to_ascii_uppercase(), width, right: false }
        };
        let columns: Vec<Column> = fields.iter().map(column).collect();
        let cell = |row: &Row<'_>, field: &str| match (field, &row.found) {
            ("name", _) => row.props.name().to_owned(),
            ("property", _) => row.wanted.name().to_owned(),
            ("value", Some(found)) => row.wanted.show(&found.value, self.table.is_literal()),
            ("received", Some(PropertyValue { received: Some(value), .. })) => {
                row.wanted.show(value, self.table.is_literal())
            }
            ("source", Some(found)) => found.source.to_string(),
            _ => "-".to_owned(),
        };
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| fields.iter().map(|field| cell(row, field)).collect()).collect();
        table(&columns, &rows, self.table.script)
    }

    fn json_text(&self, rows: &[Row<'_>]) -> String {
        let mut datasets: Vec<(&Props, Vec<json::Property>)> = Vec::new();
        for row in rows {
            let property = json::Property::new(&row.wanted, row.found.as_ref(), self.table.is_literal());
            match datasets.last_mut() {
                Some((props, properties)) if props.name() == row.props.name() => properties.push(property),
                _ => datasets.push((row.props, vec![property])),
            }
        }
        json::datasets("zfs get", &datasets, self.table.json_int)
    }
}
