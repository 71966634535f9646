//! Wrapping keys of encrypted datasets: changed ([`KeyChange`]) and verified ([`KeyCheck`]).

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dsl::CryptoKey;
use zstream_dsl::Mos;
use zstream_dsl::dataset::Dir;
use zstream_dsl::error::{Error as DatasetError, Fault, Result as DatasetResult};
use zstream_dsl::prop::{Parsed, Property, Props, Subject, Value};
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;

use crate::create::{EncryptionProperties, key_at};
use crate::error::{Error, Request, Result};
use crate::place::keys::{key, wrong};
use crate::place::{Keys, OpenPool, Secret};

/// The sources of existing and of new keys.
#[derive(Clone, Copy)]
pub struct KeySources<'a> {
    /// Keys that are given, if there are any.
    pub given: Option<&'a dyn Keys>,
    /// Asks the user for other keys.
    pub prompt: &'a dyn Keys,
    /// True if there is a user who can be asked.
    pub can_prompt: bool,
}

impl std::fmt::Debug for KeySources<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySources").field("can_prompt", &self.can_prompt).finish_non_exhaustive()
    }
}

/// A change of the wrapping key of a dataset. Its data is not encrypted again.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    inherit: bool,
    from_location: bool,
    encryption: EncryptionProperties,
    user: Vec<Parsed>,
}

impl KeyChange {
    /// A change to a new key, which makes the dataset an encryption root. `keyformat`, `keylocation` and `pbkdf2iters` keep
    /// their values unless they are among the properties; there may also be user properties.
    ///
    /// # Errors
    /// [`Request::NotOfKey`]
    pub fn to_new(properties: Vec<Parsed>) -> Result<Self> {
        let mut change = Self::default();
        for parsed in properties {
            match parsed.name.as_str() {
                name if name.contains(':') => change.user.push(parsed),
                "keyformat" | "keylocation" | "pbkdf2iters" => drop(change.encryption.take(&parsed)),
                _ => return Err(Request::NotOfKey(parsed.name).into()),
            }
        }
        Ok(change)
    }

    /// A change to the key of the dataset above. Only user properties may be set.
    ///
    /// # Errors
    /// [`Request::NotWithInheritedKey`]
    pub fn to_inherited(properties: Vec<Parsed>) -> Result<Self> {
        match properties.iter().find(|parsed| !parsed.name.contains(':')) {
            Some(parsed) => Err(Request::NotWithInheritedKey(parsed.name.clone()).into()),
            None => Ok(Self { inherit: true, user: properties, ..Self::default() }),
        }
    }

    /// The same, with the current key from the property `keylocation` where it names a file.
    #[must_use]
    pub fn from_location(self, from_location: bool) -> Self {
        Self { from_location, ..self }
    }

    /// Changes the key of the dataset `name`.
    ///
    /// # Errors
    /// The dataset is not encrypted, or its key cannot be changed so; a key is not available or does not fit.
    pub fn run(&self, pool: &mut WritablePool, name: &str, keys: KeySources<'_>) -> Result<()> {
        let failed = |error: DatasetError| Error::Change {
            action: format!("change the key of '{name}'"),
            source: error.into(),
        };
        if self.inherit {
            let above = pool.dsl().inheritable_key(name).map_err(failed)?.object();
            let own = pool.dsl().dir(name)?.object();
            let own = self.key(pool, keys, own, true)?;
            let above = self.key(pool, keys, above, true)?;
            pool.inherit_key(name, &own, &above).map_err(failed)?;
        } else {
            let (root, now) = {
                let (root, is_root) = pool.dsl().changeable_key(name).map_err(failed)?;
                let now = match CryptoKey::of(&root)?.filter(|_| is_root) {
                    Some(keys) => Some((keys.format, location(&root)?)),
                    None => None,
                };
                (root.object(), now)
            };
            let old = self.key(pool, keys, root, false)?;
            let new = self.encryption.changed_key(pool, name, now, keys.prompt)?;
            pool.change_key(name, &old, &new).map_err(failed)?;
        }
        let head = pool.dsl().head(name)?.object();
        self.user.iter().try_for_each(|parsed| pool.tx().assign(head, parsed)).map_err(failed)
    }

    /// The key of an encryption root: the given key if it fits, the one at its keylocation if that is requested, else a
    /// prompt.
    fn key(
        &self,
        pool: &mut WritablePool,
        keys: KeySources<'_>,
        root: ObjectId,
        is_of_several: bool,
    ) -> Result<Secret> {
        let (name, place) = {
            let root = pool.dsl().dir_by_object(root)?;
            (root.name().to_owned(), location(&root)?)
        };
        let mut refused = None;
        if let Some(given) = keys.given {
            let key = key(given, &name)?;
            if !is_of_several {
                return Ok(key);
            }
            match pool.load_key(root, &key) {
                Ok(_) => return Ok(key),
                Err(error) => refused = Some(wrong(&name)(error)),
            }
        }
        match (key_at(&place).filter(|_| self.from_location), refused) {
            (Some(key), _) => key,
            (None, Some(refused)) if !keys.can_prompt => Err(refused),
            (None, _) => key(keys.prompt, &name),
        }
    }
}

/// The keylocation of an encryption root.
fn location<M: Mos>(root: &Dir<M>) -> DatasetResult<String> {
    match root.inherited("keylocation")? {
        Some(location) => Ok(location.text()?.to_owned()),
        None => Ok("none".to_owned()),
    }
}

/// A request to verify keys.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct KeyCheck {
    /// Encryption roots.
    pub names: Vec<String>,
    /// All encryption roots below the named datasets, instead of these.
    pub recursive: bool,
    /// All encryption roots of the pool.
    pub all: bool,
    /// The location of the keys, `prompt` or `file:///PATH`, instead of the property `keylocation`.
    pub location: Option<String>,
}

/// A key that was tried.
#[derive(Debug)]
#[non_exhaustive]
pub struct CheckedKey {
    /// The encryption root.
    pub root: String,
    /// The reason that there is no key, or that it does not open everything that inherits it.
    pub result: Result<()>,
}

impl KeyCheck {
    /// Tries the key of each encryption root on all datasets that inherit it. Without a [`location`](Self::location) a given
    /// key is preferred to the one at the property `keylocation`.
    ///
    /// # Errors
    /// A name does not exist; the pool cannot be read.
    pub fn run(&self, open: &OpenPool, keys: KeySources<'_>) -> Result<Vec<CheckedKey>> {
        let mut roots = Vec::new();
        for name in &self.names {
            let dir = open.dsl.dir(name)?;
            if !self.recursive {
                roots.push(dir);
            }
        }
        if self.recursive || self.all {
            open.dsl.walk(&mut |dir| {
                let is_root = CryptoKey::of(dir)?.is_some_and(|keys| keys.root == dir.object());
                if is_root && (self.all || self.names.iter().any(|top| is_at_or_below(dir.name(), top))) {
                    roots.push(Arc::clone(dir));
                }
                Ok(())
            })?;
        }
        let check = |root: &Arc<Dir>| CheckedKey {
            root: root.name().to_owned(),
            result: self.try_key(open, keys, root),
        };
        Ok(roots.iter().map(check).collect())
    }

    fn try_key(&self, open: &OpenPool, keys: KeySources<'_>, root: &Arc<Dir>) -> Result<()> {
        let name = root.name();
        let refused = |why: &str| wrong(name)(DatasetError::refused(Errno::EINVAL, why.to_owned()));
        match CryptoKey::of(root)? {
            None => return Err(refused("it is not encrypted")),
            Some(keys) if keys.root != root.object() => {
                let above = open.dsl.dir_by_object(keys.root)?;
                return Err(refused(&format!(
                    "it inherits the key of its encryption root, {}",
                    above.name()
                )));
            }
            Some(_) => {}
        }
        let opened = open.dsl.open_keys(root, &self.key(keys, root)?).map_err(wrong(name))?;
        match opened.locked.iter().map(|dir| dir.name().to_owned()).collect::<Vec<_>>() {
            locked if locked.is_empty() => Ok(()),
            locked => Err(Error::StillLocked { root: name.to_owned(), locked }),
        }
    }

    fn key(&self, keys: KeySources<'_>, root: &Arc<Dir>) -> Result<Secret> {
        if let (None, Some(given)) = (&self.location, keys.given) {
            return key(given, root.name());
        }
        let place = match &self.location {
            Some(location) => location.clone(),
            None => stored_location(root)?,
        };
        match key_at(&place) {
            Some(key) => key,
            None if place == "prompt" => key(keys.prompt, root.name()),
            None => {
                let why = Fault::Unsupported(format!("the keylocation {place}"));
                Err(wrong(root.name())(why.into()))
            }
        }
    }
}

fn is_at_or_below(name: &str, top: &str) -> bool {
    name.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The property keylocation of an encryption root.
fn stored_location(root: &Arc<Dir>) -> DatasetResult<String> {
    let Some(property) = Property::find("keylocation") else { return Ok("prompt".to_owned()) };
    let props = Props::new(Subject::Dataset(Box::new(root.head()?)), None)?;
    Ok(match props.get(property)?.map(|found| found.value) {
        Some(Value::Text(location)) => location,
        _ => "none".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use zstream_dsl::prop::parse_assignment;

    use super::*;

    #[test]
    fn a_tree_ends_at_its_names() {
        for (name, is_below) in [("p/a", true), ("p/a/b", true), ("p/ab", false), ("p", false)] {
            assert_eq!(is_at_or_below(name, "p/a"), is_below, "{name}");
        }
    }

    #[test]
    fn only_properties_of_keys_are_accepted() {
        let parsed =
            |texts: &[&str]| texts.iter().map(|text| parse_assignment(text).unwrap()).collect::<Vec<_>>();
        assert!(KeyChange::to_new(parsed(&["keyformat=hex", "org:by=ann"])).is_ok());
        assert!(KeyChange::to_inherited(parsed(&["org:by=ann"])).is_ok());
        let refused = |change: Result<KeyChange>| match change {
            Err(Error::Request(request)) => request,
            other => panic!("{other:?}"),
        };
        let atime = || "atime".to_owned();
        assert_eq!(refused(KeyChange::to_new(parsed(&["atime=off"]))), Request::NotOfKey(atime()));
        assert_eq!(
            refused(KeyChange::to_inherited(parsed(&["org:by=ann", "atime=off"]))),
            Request::NotWithInheritedKey(atime())
        );
    }
}
