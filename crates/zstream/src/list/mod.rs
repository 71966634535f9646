//! Datasets of a pool ([`select`]) and their properties ([`PropertyName::of`]), as rows of tables ([`rows()`]).

mod rows;

use std::cmp::Ordering;
use std::collections::HashSet;

use zstream_dmu::ids::ObjectId;
use zstream_dsl::Named;
use zstream_dsl::dataset::Dir;
use zstream_dsl::error::Error as DslError;
use zstream_dsl::prop::{
    Kind, PROPERTIES, PoolSpace, Property, PropertyValue, Props, Single, Subject, Types, Value,
};
use zstream_zpl::settings::setting;

pub use self::rows::{PropertyRow, Row, SortKey, property_rows, rows};
use crate::control::{Control, Warning};
use crate::error::{Error, Result};
use crate::place::keys::TriedKeys;
use crate::place::{Keys, OpenNames, OpenPool};
use crate::text::Column;

/// A selection of datasets of a pool.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Selection<'a> {
    /// Names of datasets; if empty, all datasets of the pool.
    pub names: &'a [String],
    /// The types to include.
    pub types: Types,
    /// A name of another type is an error.
    pub strict: bool,
    /// The recursion depth below each name; 0 for none.
    pub depth: usize,
}

/// The name of a property.
#[derive(Clone, Debug)]
pub enum PropertyName {
    /// A native property.
    Native(&'static Property),
    /// A user property: its name contains a colon.
    User(String),
    /// A property of a single user, group, project or snapshot: its name contains an `@`.
    Single(Single),
}

/// The columns of `zfs list -o space`.
const SPACE: [&str; 7] = [
    "name",
    "available",
    "used",
    "usedbysnapshots",
    "usedbydataset",
    "usedbyrefreservation",
    "usedbychildren",
];

impl PropertyName {
    /// The properties of these names; `space` stands for those that show where space is used.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_all<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Vec<Self>, String> {
        let names =
            names.into_iter().flat_map(|name| if name == "space" { SPACE.to_vec() } else { vec![name] });
        names.map(Self::parse).collect()
    }

    /// Its column in a table: at least as wide as its heading and its longest possible value.
    #[must_use]
    pub fn column(&self) -> Column {
        let (heading, right, values) = match self {
            Self::Native(property) => {
                let values = match &property.kind {
                    Kind::Number { .. } => 5,
                    Kind::Index { names, .. } => names.iter().map(|(_, name)| name.len()).max().unwrap_or(0),
                    _ => 0,
                };
                (property.column.to_owned(), property.is_right_aligned(), values)
            }
            Self::User(_) | Self::Single(_) => (self.name().to_ascii_uppercase(), false, 0),
        };
        Column { width: values.max(heading.len()), heading, right }
    }

    /// The property of this name.
    ///
    /// # Errors
    /// There is no such property, in the words of `zfs`.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.contains('@') {
            return Single::parse(name).map(Self::Single);
        }
        if name.contains(':') {
            return Ok(Self::User(name.to_owned()));
        }
        Property::find(name).map(Self::Native).ok_or_else(|| format!("invalid property '{name}'"))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Native(property) => property.name,
            Self::User(name) => name,
            Self::Single(single) => single.name(),
        }
    }

    /// Its value for a dataset, and the source of that.
    ///
    /// # Errors
    /// The pool cannot be read.
    pub fn of(&self, props: &Props) -> Result<Option<PropertyValue>> {
        Ok(match self {
            Self::Native(property) => props.get(property)?,
            Self::User(name) => props.user(name)?,
            Self::Single(single) => props.single(single)?,
        })
    }

    /// A value as text, as [`show`](Self::show); `-` if there is none.
    #[must_use]
    pub fn show_found(&self, found: Option<&PropertyValue>, literal: bool) -> String {
        found.map_or_else(|| "-".to_owned(), |found| self.show(&found.value, literal))
    }

    /// A value as text: exact, or human-readable.
    #[must_use]
    pub fn show(&self, value: &Value, literal: bool) -> String {
        let property = match self {
            Self::Native(property) => Some(*property),
            Self::User(_) => None,
            Self::Single(single) => return single.show(value, literal),
        };
        if literal { value.literal(property) } else { value.pretty(property) }
    }
}

impl<'a> Selection<'a> {
    /// The selection of `zfs list`: filesystems and volumes by default, or what is named. A `depth` of [`usize::MAX`] is
    /// the option `-r`.
    #[must_use]
    pub fn of_list(names: &'a [String], types: Option<Types>, depth: Option<usize>) -> Self {
        let heads = Types::FILESYSTEM | Types::VOLUME;
        let is_below = names.is_empty() || depth.is_some();
        let types = types.unwrap_or(if is_below { heads } else { Types::all() });
        let depth = match depth {
            Some(depth) => depth,
            None if names.is_empty() => usize::MAX,
            // Types that exist only below a name are searched for there.
            None if !types.intersects(heads) => 1,
            None => 0,
        };
        Self { names, types, strict: true, depth }
    }

    /// The selection of `zfs get`: all types by default.
    #[must_use]
    pub fn of_get(names: &'a [String], types: Option<Types>, depth: Option<usize>) -> Self {
        let depth = depth.unwrap_or(if names.is_empty() { usize::MAX } else { 0 });
        Self { names, types: types.unwrap_or(Types::all()), strict: false, depth }
    }
}

/// The datasets of a selection, without the names that do not exist or are of another type: each of them is reported as
/// [`Warning::Omitted`]. Otherwise as [`select`].
///
/// # Errors
/// As [`select`], except for names.
pub fn select_existing(
    open: &OpenPool,
    selection: &Selection<'_>,
    keys: &dyn Keys,
    control: &mut Control<'_>,
) -> Result<Vec<Props>> {
    let mut names = Vec::new();
    for name in selection.names {
        match open.dsl.find(name) {
            Ok(_) => names.push(name.clone()),
            Err(error) => {
                let error = Error::Open { name: name.clone(), source: error.into() };
                control.warn(Warning::Omitted(Box::new(error)));
            }
        }
    }
    // Without names, all datasets are meant.
    while names.len() == selection.names.len() || !names.is_empty() {
        match select(open, &Selection { names: &names, ..*selection }, keys, control) {
            Err(Error::OtherKind { name }) if !names.is_empty() => {
                names.retain(|other| *other != name);
                control.warn(Warning::Omitted(Box::new(Error::OtherKind { name })));
            }
            found => return found,
        }
    }
    Ok(Vec::new())
}

/// The datasets of a selection in all pools that are open ([`PoolPlace::open_all`](crate::PoolPlace::open_all)): the names are those of each pool.
/// Otherwise as [`select_existing`].
///
/// # Errors
/// As [`select_existing`].
pub fn select_in_all(
    opened: &[OpenNames],
    selection: &Selection<'_>,
    keys: &dyn Keys,
    control: &mut Control<'_>,
) -> Result<Vec<Props>> {
    let mut all = Vec::new();
    for OpenNames { open, names } in opened {
        all.extend(select_existing(open, &Selection { names, ..*selection }, keys, control)?);
    }
    all.sort_by(by_name);
    Ok(all)
}

/// The datasets of a selection. Datasets that an available key opens are unlocked. Of a damaged pool, the datasets that
/// can be read: the others are omitted, each with [`Warning::Unreadable`].
///
/// # Errors
/// A name does not exist or, in a strict selection, has another type; an available key opens none of the datasets;
/// the pool cannot be read.
pub fn select(
    open: &OpenPool,
    selection: &Selection<'_>,
    keys: &dyn Keys,
    control: &mut Control<'_>,
) -> Result<Vec<Props>> {
    let space = PoolSpace::of(&open.pool)?;
    let (found, unreadable, seen) = (Vec::new(), Vec::new(), HashSet::new());
    let mut visitor = Visitor { space, selection, keys: TriedKeys::new(keys), found, unreadable, seen };
    if selection.names.is_empty() {
        visitor.dir(&open.dsl.root()?, 0)?;
    }
    for name in selection.names {
        let props = visitor.found.len();
        visitor.seen.clear();
        match open.dsl.find(name).map_err(|error| Error::Open { name: name.clone(), source: error.into() })? {
            Named::Dataset(dataset) if !dataset.is_snapshot() => visitor.dir(&dataset.dir().clone(), 0)?,
            Named::Dataset(dataset) => visitor.add(Subject::Dataset(Box::new(dataset)))?,
            Named::Bookmark(bookmark) => {
                let head = name.split('#').next().unwrap_or_default();
                visitor.add(Subject::Bookmark(bookmark, open.dsl.dir(head)?))?;
            }
        }
        if visitor.found.len() == props
            && selection.strict
            && selection.depth == 0
            && visitor.unreadable.is_empty()
        {
            return Err(Error::OtherKind { name: name.clone() });
        }
    }
    visitor.keys.judge(control)?;
    for error in visitor.unreadable {
        control.warn(Warning::Unreadable(error.into()));
    }
    let mut found = visitor.found;
    // Names may overlap.
    found.sort_by(by_name);
    found.dedup_by(|a, b| a.name() == b.name());
    Ok(found)
}

struct Visitor<'a> {
    space: Option<PoolSpace>,
    selection: &'a Selection<'a>,
    keys: TriedKeys<'a>,
    found: Vec<Props>,
    unreadable: Vec<DslError>,
    /// The directories below the present name.
    seen: HashSet<ObjectId>,
}

impl Visitor<'_> {
    /// Keeps what can be read, and the reason where it cannot.
    fn readable<T>(&mut self, result: Result<T, DslError>) -> Option<T> {
        result.map_err(|error| self.unreadable.push(error)).ok()
    }

    fn add(&mut self, subject: Subject) -> Result<()> {
        if let Subject::Dataset(dataset) = &subject {
            self.keys.unlock(dataset)?;
        }
        let Some(props) = self.readable(Props::new(subject, self.space)) else { return Ok(()) };
        let props = props.with_settings(setting);
        if self.selection.types.intersects(props.types()) {
            self.found.push(props);
        }
        Ok(())
    }

    /// A head and its descendants.
    fn dir(&mut self, dir: &std::sync::Arc<Dir>, depth: usize) -> Result<()> {
        if !self.seen.insert(dir.object()) {
            self.unreadable.push(dir.is_another());
            return Ok(());
        }
        let Some(head) = self.readable(dir.head()) else { return Ok(()) };
        if depth < self.selection.depth {
            if self.selection.types.contains(Types::SNAPSHOT) {
                let (snapshots, unreadable) = head.readable_snapshots();
                self.unreadable.extend(unreadable);
                for snapshot in snapshots {
                    self.add(Subject::Dataset(Box::new(snapshot)))?;
                }
            }
            if self.selection.types.contains(Types::BOOKMARK) {
                for bookmark in self.readable(head.bookmarks()).unwrap_or_default() {
                    self.add(Subject::Bookmark(bookmark, dir.clone()))?;
                }
            }
            let (children, unreadable) = dir.readable_children();
            self.unreadable.extend(unreadable);
            for child in children {
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

/// The order of `zfs list`: by name, with the snapshots of a dataset after it by age.
#[must_use]
pub fn by_name(a: &Props, b: &Props) -> Ordering {
    fn key(props: &Props) -> (&str, bool, u64, &str) {
        match props.name().split_once('@') {
            Some((head, snapshot)) => (head, true, props.creation_txg(), snapshot),
            None => (props.name(), false, 0, ""),
        }
    }
    key(a).cmp(&key(b))
}

/// All properties of a dataset that have a value, user properties last.
///
/// # Errors
/// The pool cannot be read.
pub(crate) fn all_properties(props: &Props) -> Result<Vec<(PropertyName, PropertyValue)>> {
    let mut all = Vec::new();
    for property in PROPERTIES.iter().filter(|property| !property.hidden) {
        if let Some(found) = props.get(property)? {
            all.push((PropertyName::Native(property), found));
        }
    }
    for name in props.user_names()? {
        if let Some(found) = props.user(&name)? {
            all.push((PropertyName::User(name), found));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_are_those_of_zfs() {
        let (heads, name) = (Types::FILESYSTEM | Types::VOLUME, ["tank".to_owned()]);
        let list = |names, types, depth| {
            let selection = Selection::of_list(names, types, depth);
            (selection.types, selection.depth)
        };
        assert_eq!(list(&[], None, None), (heads, usize::MAX));
        assert_eq!(list(&[], None, Some(1)), (heads, 1));
        assert_eq!(list(&name, None, None), (Types::all(), 0));
        assert_eq!(list(&name, None, Some(usize::MAX)), (heads, usize::MAX));
        assert_eq!(list(&name, Some(Types::SNAPSHOT), None), (Types::SNAPSHOT, 1));
        assert_eq!(list(&name, Some(Types::all()), None), (Types::all(), 0));
        assert_eq!(Selection::of_get(&name, None, None).depth, 0);
        assert_eq!(Selection::of_get(&[], None, None).depth, usize::MAX);
    }

    #[test]
    fn space_stands_for_several_properties() {
        let names: Vec<_> = PropertyName::parse_all(["type", "space"]).unwrap();
        let names: Vec<_> = names.iter().map(PropertyName::name).collect();
        assert_eq!(names[..3], ["type", "name", "available"]);
        assert_eq!(PropertyName::parse_all(["type", "nosuch"]).unwrap_err(), "invalid property 'nosuch'");
    }
}
