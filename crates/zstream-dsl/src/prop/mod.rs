//! Properties of datasets, with where they come from (`dsl_prop_get`, `zfs_prop_get`).
//!
//! What is set lies in a ZAP for each directory, and for each snapshot that has some:
//!
//! ```text
//! NAME           the value set here: a number, or text
//! NAME$recvd     the value that was received
//! NAME$inherit   the received value does not count: the one from above does
//! NAME$iuv       the value set here, where older software would not know it; NAME is then one that it knows
//! ```
//!
//! A value that is not there is looked for further up, if children take the property from above; then the
//! default counts. Names with a colon are of users and are always inherited. Other properties are not set
//! but found out ([`found out`](Props::get)) from what directories, datasets and object sets keep.

mod computed;
pub mod parse;
pub mod single;
pub mod space;
pub mod table;
pub mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::zap;
use zstream_format::object_type::ObjsetType;

use self::space::PoolSpace;
use self::table::{Kind, Property, Types};
use self::value::{Found, Source, Value};
use crate::bookmark::Bookmark;
use crate::dataset::{Dataset, Dir};
use crate::error::{Error, Result};
use crate::reader::{Mos, MosReader};

pub(crate) const RECEIVED: &str = "$recvd";
pub(crate) const INHERIT: &str = "$inherit";
pub(crate) const KNOWN_ELSEWHERE: &str = "$iuv";

/// What has properties.
#[derive(Debug)]
pub enum Subject {
    /// A filesystem, volume or snapshot.
    Dataset(Box<Dataset>),
    /// A bookmark, and the head it belongs to.
    Bookmark(Bookmark, Arc<Dir>),
}

/// Reads a setting that only the content of an object set says: `version`, `normalization`, `volsize`, the object of the table
/// `userquota@`, and their like. `zstream-zpl` has such a function, which knows filesystems and volumes.
pub type SettingOf = fn(&dyn ObjectSet, &str) -> PoolResult<Option<u64>>;

/// Gives the properties of one filesystem, volume, snapshot or bookmark.
pub struct Props {
    subject: Subject,
    types: Types,
    /// What its head is.
    head_types: Types,
    objset: Option<Arc<Objset>>,
    space: Option<PoolSpace>,
    setting_of: Option<SettingOf>,
}

impl std::fmt::Debug for Props {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Props({})", self.name())
    }
}

impl Props {
    /// The properties of `subject`. With the pool's `space`, `available` can be told. What only who has the key of an
    /// encrypted dataset can see is there if it is loaded by now.
    ///
    /// # Errors
    /// When its object set cannot be opened.
    pub fn new(subject: Subject, space: Option<PoolSpace>) -> Result<Self> {
        let Subject::Dataset(dataset) = &subject else {
            let types = Types::BOOKMARK;
            return Ok(Self { subject, types, head_types: types, objset: None, space, setting_of: None });
        };
        // What a receive has not begun to fill has no object set.
        let objset = if dataset.phys().root.is_hole() {
            None
        } else if is_locked(dataset)? {
            Some(dataset.objset_locked()?)
        } else {
            Some(dataset.objset()?)
        };
        let is_volume = objset.as_ref().is_some_and(|objset| objset.objset_type() == ObjsetType::ZVOL);
        let head_types = if is_volume { Types::VOLUME } else { Types::FILESYSTEM };
        let types = if dataset.is_snapshot() { Types::SNAPSHOT } else { head_types };
        Ok(Self { types, head_types, objset, space, subject, setting_of: None })
    }

    /// Gives the function that reads what only content says; without one, those properties are not known.
    #[must_use]
    pub fn with_settings(mut self, setting_of: SettingOf) -> Self {
        self.setting_of = Some(setting_of);
        self
    }

    /// A setting that the content of the object set says; none where it cannot be asked.
    fn setting(&self, name: &str) -> Option<Result<Option<u64>>> {
        let (setting_of, objset) = (self.setting_of?, self.objset.as_ref()?);
        Some(setting_of(&**objset, name).map_err(Error::from))
    }

    /// What the properties are of.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.subject {
            Subject::Dataset(dataset) => dataset.name(),
            Subject::Bookmark(bookmark, _) => &bookmark.name,
        }
    }

    /// What it is: one kind.
    #[must_use]
    pub fn types(&self) -> Types {
        self.types
    }

    /// The transaction group it was created in.
    #[must_use]
    pub fn creation_txg(&self) -> u64 {
        match &self.subject {
            Subject::Dataset(dataset) => dataset.phys().creation_txg.0,
            Subject::Bookmark(bookmark, _) => bookmark.creation_txg.0,
        }
    }

    /// Whether it can have this property.
    #[must_use]
    pub fn applies(&self, property: &Property) -> bool {
        let of_heads = property.types & (Types::FILESYSTEM | Types::VOLUME);
        // Snapshots of volumes do not have what only filesystems have.
        property.types.intersects(self.types)
            && (!self.types.contains(Types::SNAPSHOT)
                || of_heads.is_empty()
                || of_heads.intersects(self.head_types)
                || property.name == "volsize")
    }

    /// A native property; none where it does not apply, or is not to be known.
    ///
    /// # Errors
    /// When what it comes from cannot be read.
    pub fn get(&self, property: &Property) -> Result<Option<Found>> {
        if !self.applies(property) {
            return Ok(None);
        }
        if let Some(found) = self.computed(property)? {
            return Ok(found);
        }
        let Subject::Dataset(dataset) = &self.subject else { return Ok(None) };
        let found = lookup(dataset, property.name, property.inherited)?;
        let received = found.received.map(|value| convert(&value, property)).transpose()?;
        let (value, source) = match found.value {
            Some((value, source)) => (convert(&value, property)?, source),
            None => (default(property), Source::Default),
        };
        let found = Found { value, source, received };
        Ok(Some(if property.name == "mountpoint" { mountpoint(dataset.name(), found) } else { found }))
    }

    /// A user's property; none where it is not set.
    ///
    /// # Errors
    /// When the ZAPs cannot be read.
    pub fn user(&self, name: &str) -> Result<Option<Found>> {
        let Subject::Dataset(dataset) = &self.subject else { return Ok(None) };
        let text = |value: &zap::Value| value.text().map(|text| Value::Text(text.to_owned()));
        let found = lookup(dataset, name, true)?;
        let received = found.received.as_ref().map(text).transpose()?;
        let Some((value, source)) = found.value else { return Ok(None) };
        Ok(Some(Found { value: text(&value)?, source, received }))
    }

    /// Names of the users' properties that are set here or above, sorted.
    ///
    /// # Errors
    /// When the ZAPs cannot be read.
    pub fn user_names(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let Subject::Dataset(dataset) = &self.subject else { return Ok(names) };
        let mut dir = Some(dataset.dir().clone());
        let mut zaps = vec![dataset.phys().props];
        while let Some(at) = dir {
            zaps.push(at.phys().props);
            dir = at.parent().cloned();
        }
        for zap in zaps {
            for (key, _) in dataset.dsl().read().entries(zap)? {
                let name = key.split('$').next().unwrap_or_default();
                if name.contains(':') {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names)
    }
}

/// Whether a dataset is encrypted and its key is not loaded.
fn is_locked(dataset: &Dataset) -> Result<bool> {
    Ok(dataset.phys().root.uses_crypt() && !dataset.is_unlocked()?)
}

/// A number as it is set, received or inherited (`dsl_prop_get_integer`), without looking at what the dataset really has;
/// none where the default counts.
///
/// # Errors
/// When the ZAPs cannot be read, or the value is text.
pub fn stored_number<M: Mos>(dataset: &Dataset<M>, name: &str) -> Result<Option<u64>> {
    Ok(lookup(dataset, name, true)?.value.map(|(value, _)| value.u64()).transpose()?)
}

/// What one directory or snapshot says of a property.
struct Here {
    /// The value that counts, and whether it was received.
    value: Option<(zap::Value, bool)>,
    /// The value that was received, whether it counts or not.
    received: Option<zap::Value>,
}

impl MosReader<'_> {
    /// What a table of properties says of one.
    fn property(self, props: Option<ObjectId>, name: &str) -> Result<Here> {
        let received = self.lookup(props, &format!("{name}{RECEIVED}"))?;
        let mut value = self.lookup(props, &format!("{name}{KNOWN_ELSEWHERE}"))?;
        if value.is_none() {
            value = self.lookup(props, name)?;
        }
        let mut value = value.map(|value| (value, false));
        if value.is_none() && received.is_some() && self.lookup(props, &format!("{name}{INHERIT}"))?.is_none()
        {
            value = received.clone().map(|value| (value, true));
        }
        Ok(Here { value, received })
    }

    /// What counts of a number that is not inherited; 0 where none is set.
    pub(crate) fn number_property(self, dir: ObjectId, name: &str) -> Result<u64> {
        Ok(self.own_number(self.dir(dir)?.props, name)?.unwrap_or(0))
    }

    /// What counts of a number in a table of properties; none where none is set.
    fn own_number(self, props: Option<ObjectId>, name: &str) -> Result<Option<u64>> {
        Ok(self.property(props, name)?.value.map(|(value, _)| value.u64()).transpose()?)
    }

    /// What counts of an inherited property of a directory, set here or above; none where nothing is.
    pub(crate) fn inherited(self, dir: ObjectId, name: &str) -> Result<Option<zap::Value>> {
        for (_, phys) in self.line_up(dir)? {
            if let Some((value, _)) = self.property(phys.props, name)?.value {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl<M: Mos> Dir<M> {
    /// What counts of an inherited property, set here or above; none where nothing is.
    ///
    /// # Errors
    /// When the properties cannot be read.
    pub fn inherited(&self, name: &str) -> Result<Option<zap::Value>> {
        self.dsl().read().inherited(self.object(), name)
    }

    /// What counts of a number that is not inherited; none where none is set.
    ///
    /// # Errors
    /// When the properties cannot be read, or the value is text.
    pub fn own_number(&self, name: &str) -> Result<Option<u64>> {
        self.dsl().read().own_number(self.phys().props, name)
    }

    /// The names of the properties that were received here, sorted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn received_names(&self) -> Result<Vec<String>> {
        let entries = self.dsl().read().entries(self.phys().props)?;
        Ok(entries.iter().filter_map(|(name, _)| name.strip_suffix(RECEIVED).map(str::to_owned)).collect())
    }

    /// Whether a property is set here, and not by a receive.
    ///
    /// # Errors
    /// When the properties cannot be read.
    pub fn is_set_here(&self, name: &str) -> Result<bool> {
        Ok(self.dsl().read().lookup(self.phys().props, name)?.is_some())
    }
}

/// What ZAPs say of a property.
#[derive(Debug, Default)]
struct Stored {
    value: Option<(zap::Value, Source)>,
    received: Option<zap::Value>,
}

/// Looks a property up, from the dataset upwards (`dsl_prop_get_ds`, `dsl_prop_get_dd`).
fn lookup<M: Mos>(dataset: &Dataset<M>, name: &str, inherited: bool) -> Result<Stored> {
    let mut stored = Stored::default();
    let mut at = Some(dataset.dir().clone());
    let mut zap = if dataset.is_snapshot() {
        dataset.phys().props
    } else {
        let dir = dataset.dir();
        at = dir.parent().cloned();
        dir.phys().props
    };
    let mut from: Option<String> = None;
    loop {
        let Here { value, received } = dataset.dsl().read().property(zap, name)?;
        if from.is_none() {
            stored.received = received;
        }
        if let Some((value, is_received)) = value {
            let here = if is_received { Source::Received } else { Source::Local };
            stored.value = Some((value, from.map_or(here, Source::Inherited)));
            return Ok(stored);
        }
        match at {
            Some(dir) if inherited => {
                zap = dir.phys().props;
                from = Some(dir.name().to_owned());
                at = dir.parent().cloned();
            }
            _ => return Ok(stored),
        }
    }
}

/// A stored value as one of this property.
fn convert(value: &zap::Value, property: &Property) -> Result<Value> {
    Ok(match property.kind {
        Kind::Number { .. } => Value::Number(value.u64()?),
        Kind::Index { .. } => index(property, value.u64()?),
        Kind::Text { .. } => Value::Text(value.text()?.to_owned()),
    })
}

/// The name of an index property, or the number where it has no name.
fn index(property: &Property, number: u64) -> Value {
    Value::Text(property.index_name(number).map_or_else(|| number.to_string(), str::to_owned))
}

fn default(property: &Property) -> Value {
    match property.kind {
        Kind::Number { default } => Value::Number(default),
        Kind::Index { default, .. } => index(property, default),
        Kind::Text { default } => Value::Text(default.to_owned()),
    }
}

/// An inherited mount point is one below that of the dataset it comes from.
fn mountpoint(name: &str, mut found: Found) -> Found {
    let below = match &found.source {
        Source::Inherited(from) => name.get(from.len() + 1..).unwrap_or_default(),
        Source::Default => name,
        _ => "",
    };
    if let Value::Text(path) = &mut found.value
        && path.starts_with('/')
        && !below.is_empty()
    {
        *path = format!("{}/{below}", path.trim_end_matches('/'));
    }
    found
}
