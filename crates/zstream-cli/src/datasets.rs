//! What `list` and `get` share: which datasets are asked for, in which order, and tables of text.

use std::cmp::Ordering;

use zstream_dsl::dataset::Dir;
use zstream_dsl::find::Found as Named;
use zstream_dsl::prop::single::Single;
use zstream_dsl::prop::space::PoolSpace;
use zstream_dsl::prop::table::{Kind, Property, Types};
use zstream_dsl::prop::value::{Found, Value};
use zstream_dsl::prop::{Props, Subject};

use crate::failure::Failure;
use crate::pool::{GivenKey, OpenPool, PoolOptions};

/// What to show of a pool.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// Names of datasets; all of the pool where there are none.
    pub(crate) names: &'a [String],
    /// Which kinds.
    pub(crate) types: Types,
    /// Whether a name of another kind is an error.
    pub(crate) strict: bool,
    /// How far to go below each name; 0 for not at all.
    pub(crate) depth: usize,
}

/// The options that `list` and `get` have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct TableOptions {
    /// For scripts: no heading, columns separated by one tab
    #[arg(short = 'H')]
    pub(crate) script: bool,
    /// Numbers in full, times in seconds since 1970
    #[arg(short = 'p')]
    pub(crate) literal: bool,
    /// Print one JSON object, as `zfs` does with -j
    #[arg(short = 'j', long, conflicts_with = "script")]
    pub(crate) json: bool,
    /// The kinds of datasets: filesystem, snapshot, volume, bookmark, all; several with commas
    #[arg(short = 't', value_name = "TYPE,...", value_parser = parse_types)]
    pub(crate) types: Option<Types>,
    /// Everything below the datasets named too
    #[arg(short = 'r')]
    pub(crate) recursive: bool,
    /// So many levels below the datasets named; 1 for what is directly below
    #[arg(short = 'd', value_name = "DEPTH")]
    pub(crate) depth: Option<usize>,
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

/// A property that was asked for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// One that ZFS has.
    Native(&'static Property),
    /// One of users: a name with a colon.
    User(String),
    /// One of a single user, group, project or snapshot: a name with an `@`.
    Single(Single),
}

impl Wanted {
    /// The property of this name.
    pub(crate) fn parse(name: &str) -> Result<Self, String> {
        if name.contains('@') {
            return Single::parse(name).map(Self::Single);
        }
        if name.contains(':') {
            return Ok(Self::User(name.to_owned()));
        }
        Property::find(name).map(Self::Native).ok_or_else(|| format!("invalid property '{name}'"))
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Native(property) => property.name,
            Self::User(name) => name,
            Self::Single(single) => single.name(),
        }
    }

    /// Its heading.
    pub(crate) fn heading(&self) -> String {
        match self {
            Self::Native(property) => property.column.to_owned(),
            Self::User(_) | Self::Single(_) => self.name().to_ascii_uppercase(),
        }
    }

    /// Whether its column is aligned to the right.
    pub(crate) fn is_right_aligned(&self) -> bool {
        matches!(self, Self::Native(property) if property.is_right_aligned())
    }

    /// The least width of its column: that of its heading, or of the longest value it can have.
    pub(crate) fn width(&self) -> usize {
        let values = match self {
            Self::Native(Property { kind: Kind::Number { .. }, .. }) => 5,
            Self::Native(Property { kind: Kind::Index { names, .. }, .. }) => {
                names.iter().map(|(_, name)| name.len()).max().unwrap_or(0)
            }
            _ => 0,
        };
        values.max(self.heading().len())
    }

    /// Its value for a dataset.
    pub(crate) fn of(&self, props: &Props) -> Result<Option<Found>, Failure> {
        Ok(match self {
            Self::Native(property) => props.get(property)?,
            Self::User(name) => props.user(name)?,
            Self::Single(single) => props.single(single)?,
        })
    }

    /// A value as text: in full, or for people.
    pub(crate) fn show(&self, value: &Value, literal: bool) -> String {
        let property = match self {
            Self::Native(property) => Some(*property),
            Self::User(_) => None,
            Self::Single(single) => return single.show(value, literal),
        };
        if literal { value.literal(property) } else { value.pretty(property) }
    }
}

/// The datasets of a selection. Those that the key in the file given unlocks are unlocked.
pub(crate) fn select(
    open: &OpenPool,
    options: &PoolOptions,
    selection: &Selection<'_>,
) -> Result<Vec<Props>, Failure> {
    let space = PoolSpace::of(&open.pool)?;
    let mut visitor = Visitor { space, selection, keys: GivenKey::of(options), found: Vec::new() };
    if selection.names.is_empty() {
        visitor.dir(&open.dsl.root()?, 0)?;
    }
    for name in selection.names {
        let props = visitor.found.len();
        match open
            .dsl
            .find(name)
            .map_err(|error| Failure::new(format_args!("cannot open '{name}': {error}")))?
        {
            Named::Dataset(dataset) if !dataset.is_snapshot() => visitor.dir(&dataset.dir().clone(), 0)?,
            Named::Dataset(dataset) => visitor.add(Subject::Dataset(Box::new(dataset)))?,
            Named::Bookmark(bookmark) => {
                let head = name.split('#').next().unwrap_or_default();
                visitor.add(Subject::Bookmark(bookmark, open.dsl.dir(head)?))?;
            }
        }
        if visitor.found.len() == props && selection.strict && selection.depth == 0 {
            return Err(Failure::new(format_args!(
                "cannot open '{name}': operation not applicable to datasets of this type"
            )));
        }
    }
    visitor.keys.judge()?;
    let mut found = visitor.found;
    // Names may overlap.
    found.sort_by(by_name);
    found.dedup_by(|a, b| a.name() == b.name());
    Ok(found)
}

struct Visitor<'a> {
    space: Option<PoolSpace>,
    selection: &'a Selection<'a>,
    keys: GivenKey<'a>,
    found: Vec<Props>,
}

impl Visitor<'_> {
    fn add(&mut self, subject: Subject) -> Result<(), Failure> {
        if let Subject::Dataset(dataset) = &subject {
            self.keys.unlock(dataset)?;
        }
        let props = Props::new(subject, self.space)?;
        if self.selection.types.intersects(props.types()) {
            self.found.push(props);
        }
        Ok(())
    }

    /// A head, and what is below it.
    fn dir(&mut self, dir: &std::sync::Arc<Dir>, depth: usize) -> Result<(), Failure> {
        let head = dir.head()?;
        if depth < self.selection.depth {
            if self.selection.types.contains(Types::SNAPSHOT) {
                for snapshot in head.snapshots()? {
                    self.add(Subject::Dataset(Box::new(snapshot)))?;
                }
            }
            if self.selection.types.contains(Types::BOOKMARK) {
                for bookmark in head.bookmarks()? {
                    self.add(Subject::Bookmark(bookmark, dir.clone()))?;
                }
            }
            for child in dir.children()? {
                let last = child.name().rsplit('/').next().unwrap_or_default();
                // ZFS hides its own.
                if child.phys().head.is_some() && !last.contains(['$', '%']) {
                    self.dir(&child, depth + 1)?;
                }
            }
        }
        self.add(Subject::Dataset(Box::new(head)))
    }
}

/// The order of `zfs list`: by name, the snapshots of a dataset behind it by age.
pub(crate) fn by_name(a: &Props, b: &Props) -> Ordering {
    fn key(props: &Props) -> (&str, bool, u64, &str) {
        match props.name().split_once('@') {
            Some((head, snapshot)) => (head, true, props.creation_txg(), snapshot),
            None => (props.name(), false, 0, ""),
        }
    }
    key(a).cmp(&key(b))
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) heading: String,
    /// Its least width.
    pub(crate) width: usize,
    /// Whether it is aligned to the right.
    pub(crate) right: bool,
}

/// Rows as text: with a heading in columns two spaces apart, or, for scripts, without one and with tabs.
pub(crate) fn table(columns: &[Column], rows: &[Vec<String>], script: bool) -> String {
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
