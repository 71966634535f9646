//! Datasets of a pool ([`select`]) and their properties ([`PropertyName::of`]).

use std::cmp::Ordering;
use std::collections::HashSet;

use zstream_dmu::ids::ObjectId;
use zstream_dsl::dataset::Dir;
use zstream_dsl::error::Error as DslError;
use zstream_dsl::find::Found as Named;
use zstream_dsl::prop::single::Single;
use zstream_dsl::prop::space::PoolSpace;
use zstream_dsl::prop::table::{PROPERTIES, Property, Types};
use zstream_dsl::prop::value::{Found, Value};
use zstream_dsl::prop::{Props, Subject};
use zstream_zpl::settings::setting;

use crate::control::{Control, Warning};
use crate::error::{Error, Result};
use crate::place::keys::TriedKeys;
use crate::place::{Keys, OpenPool};

/// A selection of datasets of a pool.
#[derive(Clone, Copy, Debug)]
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

impl PropertyName {
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
    pub fn of(&self, props: &Props) -> Result<Option<Found>> {
        Ok(match self {
            Self::Native(property) => props.get(property)?,
            Self::User(name) => props.user(name)?,
            Self::Single(single) => props.single(single)?,
        })
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
pub fn all_properties(props: &Props) -> Result<Vec<(PropertyName, Found)>> {
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
