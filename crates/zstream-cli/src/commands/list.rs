//! `zstream list`: the datasets of a pool and their properties, as `zfs list` prints them.

use std::cmp::Ordering;
use std::io::Write as _;

use zstream::list::{PropertyName as Wanted, Selection, by_name};
use zstream_dsl::prop::{Props, Types, Value};

use crate::datasets::{Column, Shown as _, TableOptions, all_or_failure, found_in_all, opened, table};
use crate::failure::Failure;
use crate::json;
use crate::output;
use crate::pool::{PoolOptions, Unreadable};

/// The options of `zstream list`.
#[derive(Debug, clap::Args)]
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
        let columns = self.wanted()?;
        let opened = opened(pool, &self.names)?;
        let heads = Types::FILESYSTEM | Types::VOLUME;
        let types = self.table.types.unwrap_or(
            if self.names.is_empty() || self.table.recursive || self.table.depth.is_some() {
                heads
            } else {
                Types::all()
            },
        );
        let depth = match self.table.depth {
            Some(depth) => depth,
            None if self.table.recursive || self.names.is_empty() => usize::MAX,
            // Types that exist only below a name are searched for there.
            None if !types.intersects(heads) => 1,
            None => 0,
        };
        let selection = Selection { names: &self.names, types, strict: true, depth };
        let unreadable = Unreadable::default();
        let (mut rows, is_all) = found_in_all(&opened, &selection, pool, &unreadable)?;
        let sorted_by = self.ascending.iter().chain(&self.descending);
        let shown: Vec<&Wanted> = columns.iter().chain(sorted_by).collect();
        rows.retain(|props| match shown.iter().try_for_each(|wanted| wanted.of(props).map(drop)) {
            Ok(()) => true,
            Err(error) => {
                unreadable.report(props.name(), &error);
                false
            }
        });
        self.sort(&mut rows)?;
        let text =
            if self.table.json { self.json_text(&rows, &columns)? } else { self.text(&rows, &columns)? };
        let mut out = output::text()?;
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))?;
        unreadable.judge()?;
        all_or_failure(is_all)
    }

    fn wanted(&self) -> Result<Vec<Wanted>, Failure> {
        const SPACE: [&str; 7] = [
            "name",
            "available",
            "used",
            "usedbysnapshots",
            "usedbydataset",
            "usedbyrefreservation",
            "usedbychildren",
        ];
        let names = self.columns.iter().map(String::as_str);
        let names = names.flat_map(|name| if name == "space" { SPACE.to_vec() } else { vec![name] });
        let wanted: Result<Vec<_>, _> = names.map(Wanted::parse).collect();
        wanted.map_err(|error| Failure::usage(format_args!("bad property list: {error}")))
    }

    fn text(&self, rows: &[Props], wanted: &[Wanted]) -> Result<String, Failure> {
        let columns: Vec<Column> = wanted
            .iter()
            .map(|wanted| Column {
                heading: wanted.heading(),
                width: wanted.width(),
                right: wanted.is_right_aligned(),
            })
            .collect();
        let row = |props: &Props| {
            let cell = |wanted: &Wanted| {
                let found = wanted.of(props)?;
                Ok(found.map_or_else(
                    || "-".to_owned(),
                    |found| wanted.show(&found.value, self.table.is_literal()),
                ))
            };
            wanted.iter().map(cell).collect::<Result<Vec<_>, Failure>>()
        };
        let rows = rows.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        Ok(table(&columns, &rows, self.table.script))
    }

    fn json_text(&self, rows: &[Props], wanted: &[Wanted]) -> Result<String, Failure> {
        let mut datasets = Vec::new();
        for props in rows {
            let mut values = Vec::new();
            for wanted in wanted.iter().filter(|wanted| wanted.name() != "name") {
                let found = wanted.of(props)?;
                values.push(json::Property::new(wanted, found.as_ref(), self.table.is_literal()));
            }
            datasets.push((props, values));
        }
        Ok(json::datasets("zfs list", &datasets, self.table.json_int))
    }

    fn sort(&self, rows: &mut Vec<Props>) -> Result<(), Failure> {
        let keys: Vec<(&Wanted, bool)> = self
            .ascending
            .iter()
            .map(|wanted| (wanted, false))
            .chain(self.descending.iter().map(|wanted| (wanted, true)))
            .collect();
        let mut keyed = Vec::new();
        for props in rows.drain(..) {
            let values: Result<Vec<Option<Value>>, Failure> =
                keys.iter().map(|(wanted, _)| Ok(wanted.of(&props)?.map(|found| found.value))).collect();
            keyed.push((values?, props));
        }
        keyed.sort_by(|(a, left), (b, right)| {
            let by_keys = a.iter().zip(b).zip(&keys).map(|((a, b), (_, reverse))| match (a, b) {
                (Some(a), Some(b)) if *reverse => b.cmp(a),
                (Some(a), Some(b)) => a.cmp(b),
                // Datasets without a value come last in either direction.
                (a, b) => b.is_some().cmp(&a.is_some()),
            });
            by_keys.fold(Ordering::Equal, Ordering::then).then_with(|| by_name(left, right))
        });
        rows.extend(keyed.into_iter().map(|(_, props)| props));
        Ok(())
    }
}
