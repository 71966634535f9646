//! `zstream change-key` and `zstream load-key -n`: wrapping keys, changed and verified as by `zfs`.

use std::sync::Arc;

use zstream_dmu::ids::ObjectId;
use zstream_dsl::dataset::Dir;
use zstream_dsl::error::{Error, Fault};
use zstream_dsl::prop::{Parsed, Property, Props, Subject, Value, parse_assignment};
use zstream_dsl::write::WritablePool;
use zstream_dsl::{CryptoKey, Mos};
use zstream_format::errno::Errno;

use zstream::create::{EncryptionProperties, key_at};
use zstream::{Keys, OpenPool, OtherError, Secret};

use crate::change::change;
use crate::failure::Failure;
use crate::pool::PoolOptions;
use crate::prompt;

/// The options of `zstream change-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read the current key from the property keylocation of the dataset
    #[arg(short = 'l')]
    load: bool,
    /// Inherit the key of the parent dataset
    #[arg(short = 'i')]
    inherit: bool,
    /// Set keyformat, keylocation, pbkdf2iters or a user property; can be repeated
    #[arg(short = 'o', value_name = "PROPERTY=VALUE")]
    properties: Vec<String>,
    /// Dataset
    #[arg(value_name = "NAME")]
    name: String,
}

impl Args {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let (mut wanted, mut users) = (EncryptionProperties::default(), Vec::new());
        for text in &self.properties {
            let parsed = parse_assignment(text).map_err(Failure::usage)?;
            match parsed.name.as_str() {
                name if name.contains(':') => users.push(parsed),
                "keyformat" | "keylocation" | "pbkdf2iters" if !self.inherit => drop(wanted.take(&parsed)),
                name if self.inherit => {
                    return Err(Failure::usage(format_args!("property {name} cannot be set with -i")));
                }
                name => {
                    return Err(Failure::usage(format_args!(
                        "property {name} cannot be set here; only keyformat, keylocation and pbkdf2iters"
                    )));
                }
            }
        }
        change(options, &self.name, |pool| self.change(pool, options, &wanted, &users))
    }

    fn change(
        &self,
        pool: &mut WritablePool,
        options: &PoolOptions,
        wanted: &EncryptionProperties,
        users: &[Parsed],
    ) -> Result<(), Failure> {
        let failed =
            |error: Error| Failure::new(format_args!("cannot change the key of '{}': {error}", self.name));
        if self.inherit {
            let above = pool.dsl().inheritable_key(&self.name).map_err(&failed)?.object();
            let own = pool.dsl().dir(&self.name)?.object();
            let own = self.key(pool, options, own, true)?;
            let above = self.key(pool, options, above, true)?;
            pool.inherit_key(&self.name, &own, &above).map_err(&failed)?;
        } else {
            let (root, now) = {
                let (root, is_root) = pool.dsl().changeable_key(&self.name).map_err(&failed)?;
                let now = match CryptoKey::of(&root)?.filter(|_| is_root) {
                    Some(keys) => Some((keys.format, location(&root)?)),
                    None => None,
                };
                (root.object(), now)
            };
            let old = self.key(pool, options, root, false)?;
            let new = wanted.changed_key(pool, &self.name, now, &AskedNew)?;
            pool.change_key(&self.name, &old, &new).map_err(&failed)?;
        }
        let head = pool.dsl().head(&self.name)?.object();
        users.iter().try_for_each(|parsed| pool.tx().assign(head, parsed)).map_err(&failed)
    }

    /// The key of an encryption root: the given key if it fits, with -l the one at its keylocation, else a prompt.
    fn key(
        &self,
        pool: &mut WritablePool,
        options: &PoolOptions,
        root: ObjectId,
        is_of_several: bool,
    ) -> Result<Secret, Failure> {
        let (name, place) = {
            let root = pool.dsl().dir_by_object(root)?;
            (root.name().to_owned(), location(&root)?)
        };
        let mut refused = None;
        if options.is_at_hand() {
            let key = given(options, &name)?;
            if !is_of_several {
                return Ok(key);
            }
            match pool.load_key(root, &key) {
                Ok(_) => return Ok(key),
                Err(error) => refused = Some(no_key(&name, &error)),
            }
        }
        match (key_at(&place).filter(|_| self.load), refused) {
            (Some(key), _) => Ok(key?),
            (None, Some(refused)) if !prompt::can_ask() => Err(refused),
            (None, _) => prompt::ask(&name).map_err(Failure::new),
        }
    }
}

/// A new key, typed twice.
struct AskedNew;

impl Keys for AskedNew {
    fn key(&self, name: &str) -> Result<Secret, OtherError> {
        Ok(prompt::ask_new(name)?)
    }
}

/// The key from the options.
fn given(options: &PoolOptions, root: &str) -> Result<Secret, Failure> {
    options.key(root).map_err(Failure::new)
}

fn no_key(root: &str, error: &Error) -> Failure {
    Failure::new(format_args!("cannot load the key of {root}: {error}"))
}

/// The keylocation of an encryption root.
fn location<M: Mos>(root: &Dir<M>) -> Result<String, Error> {
    match root.inherited("keylocation")? {
        Some(location) => Ok(location.text()?.to_owned()),
        None => Ok("none".to_owned()),
    }
}

/// The options of `zstream load-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Verify the key without loading it (required: keys are never loaded)
    #[arg(short = 'n', required = true)]
    noop: bool,
    /// Include all encryption roots below
    #[arg(short = 'r', conflicts_with = "all")]
    recursive: bool,
    /// Verify the keys of all encryption roots of the pool
    #[arg(short = 'a', conflicts_with = "names")]
    all: bool,
    /// Override the property keylocation: prompt or file:///PATH
    #[arg(short = 'L', value_name = "KEYLOCATION")]
    location: Option<String>,
    /// Encryption roots
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
}

impl Load {
    pub(crate) fn run(&self, options: &PoolOptions) -> Result<(), Failure> {
        let is_several = self.recursive || self.all;
        if is_several && self.location.as_deref().is_some_and(|location| location != "prompt") {
            return Err(Failure::usage("with -r or -a, -L accepts only prompt"));
        }
        let open = options.open(self.names.first().map(String::as_str))?;
        let mut roots = Vec::new();
        for name in &self.names {
            let dir = open.dsl.dir(name)?;
            if !self.recursive {
                roots.push(dir);
            }
        }
        if is_several {
            let below = |name: &str, top: &String| {
                name.strip_prefix(top.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            open.dsl.walk(&mut |dir| {
                let is_root = CryptoKey::of(dir)?.is_some_and(|keys| keys.root == dir.object());
                if is_root && (self.all || self.names.iter().any(|top| below(dir.name(), top))) {
                    roots.push(Arc::clone(dir));
                }
                Ok(())
            })?;
        }
        let mut failures = Vec::new();
        for root in &roots {
            failures.extend(self.try_key(&open, options, root).err());
        }
        say!("{} / {} key(s) successfully verified", roots.len() - failures.len(), roots.len())?;
        let Some(last) = failures.pop() else { return Ok(()) };
        failures.iter().for_each(|failure| eprintln!("zstream: {}", failure.message()));
        Err(last)
    }

    /// Verifies the key of an encryption root on all datasets that inherit it.
    fn try_key(&self, open: &OpenPool, options: &PoolOptions, root: &Arc<Dir>) -> Result<(), Failure> {
        let name = root.name();
        match CryptoKey::of(root)? {
            None => return Err(no_key(name, &Error::refused(Errno::EINVAL, "it is not encrypted"))),
            Some(keys) if keys.root != root.object() => {
                let above = open.dsl.dir_by_object(keys.root)?.name().to_owned();
                let why = format!("it inherits the key of its encryption root, {above}");
                return Err(no_key(name, &Error::refused(Errno::EINVAL, why)));
            }
            Some(_) => {}
        }
        let key = self.key(options, root)?;
        let opened = open.dsl.open_keys(root, &key).map_err(|error| no_key(name, &error))?;
        if opened.locked.is_empty() {
            return Ok(());
        }
        let locked: Vec<&str> = opened.locked.iter().map(|dir| dir.name()).collect();
        Err(Failure::new(format_args!("the key of {name} does not open {}", locked.join(", "))))
    }

    fn key(&self, options: &PoolOptions, root: &Arc<Dir>) -> Result<Secret, Failure> {
        if self.location.is_none() && options.is_at_hand() {
            return given(options, root.name());
        }
        let place = match &self.location {
            Some(location) => location.clone(),
            None => stored_location(root)?,
        };
        match key_at(&place) {
            Some(key) => Ok(key?),
            None if place == "prompt" => prompt::ask(root.name()).map_err(Failure::new),
            None => {
                let why = Fault::Unsupported(format!("the keylocation {place}")).into();
                Err(no_key(root.name(), &why))
            }
        }
    }
}

/// The property keylocation of an encryption root.
fn stored_location(root: &Arc<Dir>) -> Result<String, Error> {
    let Some(property) = Property::find("keylocation") else { return Ok("prompt".to_owned()) };
    let props = Props::new(Subject::Dataset(Box::new(root.head()?)), None)?;
    Ok(match props.get(property)?.map(|found| found.value) {
        Some(Value::Text(location)) => location,
        _ => "none".to_owned(),
    })
}
