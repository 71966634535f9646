//! Shared code of `list` and `get`: their options, and tables of text.

use zstream::list::{PropertyName, Selection, by_name};
use zstream::{Cause, Error, OpenPool};
use zstream_dmu::error::Fault;
use zstream_dsl::error::{Error as DatasetError, Kind as Named};
use zstream_dsl::prop::{Kind, Property, Props, Types};

use crate::failure::Failure;
use crate::pool::{PoolOptions, Unreadable, warnings};

/// The options that `list` and `get` share.
#[derive(Debug, clap::Args)]
pub(crate) struct TableOptions {
    /// For scripts: omit the heading, separate columns by a single tab
    #[arg(short = 'H')]
    pub(crate) script: bool,
    /// Print exact numbers, and times in seconds since 1970
    #[arg(short = 'p')]
    pub(crate) literal: bool,
    /// Print JSON in the format of `zfs list -j` and `zfs get -j`
    #[arg(short = 'j', long, conflicts_with = "script")]
    pub(crate) json: bool,
    /// With --json: print numbers as numbers, exact; implies -p
    #[arg(long, requires = "json")]
    pub(crate) json_int: bool,
    /// Types to show, separated by commas: filesystem, snapshot, volume, bookmark, all
    #[arg(short = 't', value_name = "TYPE,...", value_parser = parse_types)]
    pub(crate) types: Option<Types>,
    /// Include all descendants
    #[arg(short = 'r')]
    pub(crate) recursive: bool,
    /// Limit the recursion to this depth; 1 shows the direct children only
    #[arg(short = 'd', value_name = "DEPTH")]
    pub(crate) depth: Option<usize>,
}

impl TableOptions {
    /// True if numbers are printed exact.
    pub(crate) fn is_literal(&self) -> bool {
        self.literal || self.json_int
    }
}

/// Pools that are open, each with the names that are in it, and true if all were found.
pub(crate) type Opened = (Vec<(OpenPool, Vec<String>)>, bool);

/// Opens the pools of these names; without names, the only pool. The names in pools that do not exist are reported, unless there is
/// no other name.
pub(crate) fn opened(options: &PoolOptions, names: &[String]) -> Result<Opened, Failure> {
    if names.is_empty() {
        return Ok((vec![(options.open(None)?, Vec::new())], true));
    }
    let mut by_pool: Vec<(&str, Vec<String>)> = Vec::new();
    for name in names {
        let pool = options.pool_of(name);
        match by_pool.iter_mut().find(|(other, _)| *other == pool) {
            Some((_, names)) => names.push(name.clone()),
            None => by_pool.push((pool, vec![name.clone()])),
        }
    }
    let (place, count) = (options.place()?, by_pool.len());
    let (mut pools, mut lost) = (Vec::new(), None);
    for (_, names) in by_pool {
        match place.open(names.first().map(String::as_str), &mut warnings()) {
            Ok(open) => pools.push((open, names)),
            Err(Error::Pool(Cause::Pool(error)))
                if count > 1 && matches!(error.fault(), Fault::NoSuchPool { .. }) =>
            {
                for name in names {
                    let source = DatasetError::not_found(Named::Dataset, &name).into();
                    eprintln!("zstream: {}", Error::Open { name, source });
                }
                lost = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match lost {
        Some(_) if pools.is_empty() => Err(Failure::reported()),
        lost => Ok((pools, lost.is_none())),
    }
}

/// The datasets of a selection in all pools that are open, and true if all names were found; see [`opened`].
pub(crate) fn found_in_all(
    opened: &Opened,
    selection: &Selection<'_>,
    options: &PoolOptions,
    unreadable: &Unreadable,
) -> Result<(Vec<Props>, bool), Failure> {
    let (pools, all_opened) = opened;
    let mut is_all = *all_opened;
    let mut all = Vec::new();
    for (open, names) in pools {
        let (datasets, is_found) = found(open, &Selection { names, ..*selection }, options, unreadable)?;
        all.extend(datasets);
        is_all &= is_found;
    }
    all.sort_by(by_name);
    Ok((all, is_all))
}

/// The datasets of a selection, and true if all names were found. A name that does not exist, or is of another type, is reported, and the
/// others are shown, as `zfs` does.
fn found(
    open: &OpenPool,
    selection: &Selection<'_>,
    options: &PoolOptions,
    unreadable: &Unreadable,
) -> Result<(Vec<Props>, bool), Failure> {
    let mut names = Vec::new();
    for name in selection.names {
        match open.dsl.find(name) {
            Ok(_) => names.push(name.clone()),
            Err(error) => eprintln!("zstream: {}", Error::Open { name: name.clone(), source: error.into() }),
        }
    }
    // Without names, all datasets are meant.
    while names.len() == selection.names.len() || !names.is_empty() {
        let selected = Selection { names: &names, ..*selection };
        match zstream::list::select(open, &selected, options, &mut unreadable.control()) {
            Err(Error::OtherKind { name }) if !names.is_empty() => {
                eprintln!("zstream: {}", Error::OtherKind { name: name.clone() });
                names.retain(|other| *other != name);
            }
            found => return Ok((found?, names.len() == selection.names.len())),
        }
    }
    Ok((Vec::new(), false))
}

/// The outcome of a verb that showed what it found.
pub(crate) fn all_or_failure(is_all: bool) -> Result<(), Failure> {
    if is_all { Ok(()) } else { Err(Failure::reported()) }
}

/// `-t`: kinds separated by commas.
fn parse_types(text: &str) -> Result<Types, String> {
    text.split(',').try_fold(Types::empty(), |types, name| {
        Ok(types
            | match name {
                "filesystem" | "fs" => Types::FILESYSTEM,
                "snapshot" | "snap" => Types::SNAPSHOT,
                "volume" | "vol" => Types::VOLUME,
                "bookmark" => Types::BOOKMARK,
                "all" => Types::all(),
                other => return Err(format!("invalid type '{other}'")),
            })
    })
}

/// The layout of a property in a table.
pub(crate) trait Shown {
    /// Its heading.
    fn heading(&self) -> String;
    /// True if its column is aligned to the right.
    fn is_right_aligned(&self) -> bool;
    /// The minimum width of its column: that of its heading, or of its longest possible value.
    fn width(&self) -> usize;
}

impl Shown for PropertyName {
    fn heading(&self) -> String {
        match self {
            Self::Native(property) => property.column.to_owned(),
            Self::User(_) | Self::Single(_) => self.name().to_ascii_uppercase(),
        }
    }

    fn is_right_aligned(&self) -> bool {
        matches!(self, Self::Native(property) if property.is_right_aligned())
    }

    fn width(&self) -> usize {
        let values = match self {
            Self::Native(Property { kind: Kind::Number { .. }, .. }) => 5,
            Self::Native(Property { kind: Kind::Index { names, .. }, .. }) => {
                names.iter().map(|(_, name)| name.len()).max().unwrap_or(0)
            }
            _ => 0,
        };
        values.max(self.heading().len())
    }
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) heading: String,
    /// Its minimum width.
    pub(crate) width: usize,
    /// True if it is aligned to the right.
    pub(crate) right: bool,
}

/// Rows as text: with a heading in columns two spaces apart, or, for scripts, without one and with tabs.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], script: bool) -> String {
    let shown = |row: &Vec<String>| row.iter().map(crate::text::line).collect::<Vec<_>>();
    let rows: &[Vec<String>] = &rows.iter().map(shown).collect::<Vec<_>>();
    let mut text = String::new();
    if script {
        for row in rows {
            text += &row.join("\t");
            text.push('\n');
        }
        return text;
    }
    if rows.is_empty() {
        return text;
    }
    let headings: Vec<String> = columns.iter().map(|column| column.heading.clone()).collect();
    let width = |at: usize, column: &Column| {
        let cells = rows.iter().chain([&headings]).filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(column.width)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(|(at, column)| width(at, column)).collect();
    for row in [&headings].into_iter().chain(rows) {
        for (at, ((cell, column), &width)) in row.iter().zip(columns).zip(&widths).enumerate() {
            if at > 0 {
                text += "  ";
            }
            if column.right {
                text += &format!("{cell:>width$}");
            } else if at + 1 < columns.len() {
                text += &format!("{cell:<width$}");
            } else {
                text += cell;
            }
        }
        text.push('\n');
    }
    text
}
