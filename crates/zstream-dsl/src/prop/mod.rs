//! Properties of datasets, with their sources (`dsl_prop_get`, `zfs_prop_get`).
//!
//! Properties that were set are in a ZAP for each directory, and for each snapshot that has some:
//!
//! ```text
//! NAME           the value set here: a number, or text
//! NAME$recvd     the value that was received
//! NAME$inherit   the received value is ignored: the one from above applies
//! NAME$iuv       the value set here, if it is unknown to older software; NAME is then a known one
//! ```
//!
//! If a value is missing and the property is inherited, it is taken from the directories above, or else from the
//! default. Names with a colon are user properties and are always inherited. Other properties are computed
//! ([`get`](Props::get)) from directories, datasets and object sets.

mod computed;
pub(crate) mod parse;
pub(crate) mod single;
pub(crate) mod space;
pub(crate) mod table;
pub(crate) mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use zstream_dmu::error::Result as PoolResult;
use zstream_dmu::ids::ObjectId;
use zstream_dmu::object_set::ObjectSet;
use zstream_dmu::objset::Objset;
use zstream_dmu::zap;
use zstream_format::object_type::ObjsetType;

pub use self::parse::{Parsed, parse, parse_assignment};
pub use self::single::Single;
pub use self::space::PoolSpace;
pub use self::table::{Kind, PROPERTIES, Property, Types};
pub use self::value::{PropertyValue, Source, Value, nice_bytes, nice_number, time};
use crate::bookmark::Bookmark;
use crate::dataset::{Dataset, Dir};
use crate::error::{Error, Result};
use crate::reader::{Mos, MosReader};

pub(crate) const RECEIVED: &str = "$recvd";
pub(crate) const INHERIT: &str = "$inherit";
pub(crate) const KNOWN_ELSEWHERE: &str = "$iuv";

/// A dataset or bookmark with properties.
#[derive(Debug)]
pub enum Subject {
    /// A filesystem, volume or snapshot.
    Dataset(Box<Dataset>),
    /// A bookmark and its head.
    Bookmark(Bookmark, Arc<Dir>),
}

/// A function that reads a setting from the content of an object set: `version`, `normalization`, `volsize`, the limit
/// `userquota@1000`, and the like. `zstream-zpl` has one for filesystems and volumes.
pub type SettingOf = fn(&dyn ObjectSet, &str) -> PoolResult<Option<u64>>;

/// The properties of one filesystem, volume, snapshot or bookmark.
pub struct Props {
    subject: Subject,
    types: Types,
    /// The kind of its head.
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
    /// Opens the properties of `subject`. The pool's `space` is needed for `available`. Properties in the encrypted
    /// content of a dataset are known if the key is already loaded.
    ///
    /// # Errors
    /// Fails if its object set cannot be opened.
    pub fn new(subject: Subject, space: Option<PoolSpace>) -> Result<Self> {
        let Subject::Dataset(dataset) = &subject else {
            let types = Types::BOOKMARK;
            return Ok(Self { subject, types, head_types: types, objset: None, space, setting_of: None });
        };
        // A dataset in an early state of a receive has no object set.
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

    /// Sets the function that reads settings from content. Without it, those properties are unknown.
    #[must_use]
    pub fn with_settings(mut self, setting_of: SettingOf) -> Self {
        self.setting_of = Some(setting_of);
        self
    }

    /// Returns a setting from the content of the object set; `None` if it is unknown.
    fn setting(&self, name: &str) -> Option<Result<Option<u64>>> {
        let (setting_of, objset) = (self.setting_of?, self.objset.as_ref()?);
        Some(setting_of(&**objset, name).map_err(Error::from))
    }

    /// Returns its full name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.subject {
            Subject::Dataset(dataset) => dataset.name(),
            Subject::Bookmark(bookmark, _) => &bookmark.name,
        }
    }

    /// Returns its kind.
    #[must_use]
    pub fn types(&self) -> Types {
        self.types
    }

    /// Returns the transaction group in which it was created.
    #[must_use]
    pub fn creation_txg(&self) -> u64 {
        match &self.subject {
            Subject::Dataset(dataset) => dataset.phys().creation_txg.0,
            Subject::Bookmark(bookmark, _) => bookmark.creation_txg.0,
        }
    }

    /// Returns `true` if it can have this property.
    #[must_use]
    pub(crate) fn applies(&self, property: &Property) -> bool {
        let of_heads = property.types & (Types::FILESYSTEM | Types::VOLUME);
        // Snapshots of volumes do not have properties of filesystems.
        property.types.intersects(self.types)
            && (!self.types.contains(Types::SNAPSHOT)
                || of_heads.is_empty()
                || of_heads.intersects(self.head_types)
                || property.name == "volsize")
    }

    /// Returns a native property; `None` if it does not apply or is unknown.
    ///
    /// # Errors
    /// Fails if its source cannot be read.
    pub fn get(&self, property: &Property) -> Result<Option<PropertyValue>> {
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
        let found = PropertyValue { value, source, received };
        Ok(Some(if property.name == "mountpoint" { mountpoint(dataset.name(), found) } else { found }))
    }

    /// Returns a user property; `None` if it is not set.
    ///
    /// # Errors
    /// Fails if the ZAPs cannot be read.
    pub fn user(&self, name: &str) -> Result<Option<PropertyValue>> {
        let Subject::Dataset(dataset) = &self.subject else { return Ok(None) };
        let text = |value: &zap::Value| value.text().map(|text| Value::Text(text.to_owned()));
        let found = lookup(dataset, name, true)?;
        let received = found.received.as_ref().map(text).transpose()?;
        let Some((value, source)) = found.value else { return Ok(None) };
        Ok(Some(PropertyValue { value: text(&value)?, source, received }))
    }

    /// Returns the names of the user properties that are set here or above, sorted.
    ///
    /// # Errors
    /// Fails if the ZAPs cannot be read.
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

/// Returns `true` if a dataset is encrypted and its key is not loaded.
fn is_locked(dataset: &Dataset) -> Result<bool> {
    Ok(dataset.phys().root.uses_crypt() && !dataset.is_unlocked()?)
}

/// Returns a number as it is set, received or inherited (`dsl_prop_get_integer`), whatever the dataset really has; `None`
/// if the default applies.
///
/// # Errors
/// Fails if the ZAPs cannot be read, or if the value is text.
pub fn stored_number<M: Mos>(dataset: &Dataset<M>, name: &str) -> Result<Option<u64>> {
    Ok(lookup(dataset, name, true)?.value.map(|(value, _)| value.u64()).transpose()?)
}

/// The entries of one directory or snapshot for a property.
struct Here {
    /// The value that applies, and whether it was received.
    value: Option<(zap::Value, bool)>,
    /// The value that was received, whether it applies or not.
    received: Option<zap::Value>,
}

impl MosReader<'_> {
    /// Returns the entries for one property in a table of properties.
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

    /// Returns the number that applies for a property that is not inherited; 0 if none is set.
    pub(crate) fn number_property(self, dir: ObjectId, name: &str) -> Result<u64> {
        Ok(self.own_number(self.dir(dir)?.props, name)?.unwrap_or(0))
    }

    /// Returns the number that applies in a table of properties; `None` if none is set.
    fn own_number(self, props: Option<ObjectId>, name: &str) -> Result<Option<u64>> {
        Ok(self.property(props, name)?.value.map(|(value, _)| value.u64()).transpose()?)
    }

    /// Returns the value of an inherited property that applies to a directory, set here or above; `None` if none is set.
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
    /// Returns the value of an inherited property that applies, set here or above; `None` if none is set.
    ///
    /// # Errors
    /// Fails if the properties cannot be read.
    pub fn inherited(&self, name: &str) -> Result<Option<zap::Value>> {
        self.dsl().read().inherited(self.object(), name)
    }

    /// Returns the number that applies for a property that is not inherited; `None` if none is set.
    ///
    /// # Errors
    /// Fails if the properties cannot be read, or if the value is text.
    pub fn own_number(&self, name: &str) -> Result<Option<u64>> {
        self.dsl().read().own_number(self.phys().props, name)
    }

    /// Returns the names of the properties that were received here, sorted.
    ///
    /// # Errors
    /// Fails if they cannot be read.
    pub fn received_names(&self) -> Result<Vec<String>> {
        let entries = self.dsl().read().entries(self.phys().props)?;
        Ok(entries.iter().filter_map(|(name, _)| name.strip_suffix(RECEIVED).map(str::to_owned)).collect())
    }

    /// Returns `true` if a property is set here, other than by a receive.
    ///
    /// # Errors
    /// Fails if the properties cannot be read.
    pub fn is_set_here(&self, name: &str) -> Result<bool> {
        Ok(self.dsl().read().lookup(self.phys().props, name)?.is_some())
    }
}

/// The stored values of a property, with their source.
#[derive(Debug, Default)]
struct Stored {
    value: Option<(zap::Value, Source)>,
    received: Option<zap::Value>,
}

/// Looks up a property, from the dataset upwards (`dsl_prop_get_ds`, `dsl_prop_get_dd`).
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

/// Converts a stored value to one of this property.
fn convert(value: &zap::Value, property: &Property) -> Result<Value> {
    Ok(match property.kind {
        Kind::Number { .. } => Value::Number(value.u64()?),
        Kind::Index { .. } => index(property, value.u64()?),
        Kind::Text { .. } => Value::Text(value.text()?.to_owned()),
    })
}

/// Returns the name of a value of an index property, or the number if it has no name.
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

/// Converts an inherited mount point to one below that of its source.
fn mountpoint(name: &str, mut found: PropertyValue) -> PropertyValue {
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
