//! Assignment of properties by users: where each property is allowed, and the features that the pool needs for it
//! (`zfs_valid_proplist`).

use zstream_dmu::ids::ObjectId;
use zstream_dmu::zap::Value;
use zstream_format::errno::Errno;

use super::{Setting, Tx};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::pool::Dsl;
use crate::prop::parse::Parsed;
use crate::prop::table::{Property, Types};
use crate::reader::{Mos, MosReader};

/// The largest block size that needs no feature, in bytes.
const OLD_BLOCK_BYTES_MAX: u64 = 128 << 10;

impl Tx<'_> {
    /// Sets a property of a head or snapshot on behalf of a user.
    ///
    /// # Errors
    /// Fails like [`check_assignment`](Dsl::check_assignment) and [`set_property`](Self::set_property).
    pub fn assign(&mut self, dataset: ObjectId, parsed: &Parsed) -> Result<()> {
        self.read().check_assignment(parsed, self.read().types_of(dataset)?, false)?;
        match parsed.name.as_str() {
            "keylocation" => self.read().check_key_location(dataset, parsed.value.text()?)?,
            "volsize" => {
                return Err(Error::bad_property("the size of a volume changes with its content"));
            }
            _ => {}
        }
        self.set_property(dataset, &parsed.name, &Setting::Local(parsed.value.clone()))
    }

    /// Resets a property of a dataset to the value of the dataset above it, or with `to_received` to the received value
    /// (`zfs inherit`).
    ///
    /// # Errors
    /// Fails with `EINVAL` if the property is not inheritable or cannot be changed.
    pub fn inherit(&mut self, dataset: ObjectId, name: &str, to_received: bool) -> Result<()> {
        let refuse = |why: &str| Err(Error::bad_property(format!("property {name} {why}")));
        let mut stored = name;
        if !name.contains(':') {
            let Some(property) = Property::find(name) else { return refuse("does not exist") };
            stored = property.name;
            let can_revert = ["quota", "reservation", "refquota", "refreservation", "canmount"];
            let is_revert = to_received && can_revert.contains(&stored);
            if property.set_once || property.read_only || !(property.inherited || is_revert) {
                return refuse("cannot be inherited");
            }
        }
        let setting = if to_received { Setting::Revert } else { Setting::Inherited };
        self.set_property(dataset, stored, &setting)
    }
}

impl Tx<'_> {}

impl<M: Mos> Dsl<M> {
    /// Checks that a dataset of this kind can have the property, and that the pool supports the value.
    ///
    /// # Errors
    /// Fails with `EINVAL` if the property does not apply or is fixed when a dataset is created, and with `ENOTSUP` if
    /// the pool does not have a feature.
    pub fn check_assignment(&self, parsed: &Parsed, types: Types, is_new: bool) -> Result<()> {
        self.read().check_assignment(parsed, types, is_new)
    }

    /// Checks that the pool has the feature that a value of a property requires.
    ///
    /// # Errors
    /// Fails with `ENOTSUP` if the feature is not enabled.
    pub fn check_value(&self, name: &str, value: &Value) -> Result<()> {
        Property::find(name).map_or(Ok(()), |property| self.read().check_value(property, value))
    }
}

impl<M: Mos> Dataset<M> {
    /// Returns the kind of the dataset.
    ///
    /// # Errors
    /// Fails if its object set cannot be read.
    pub fn types(&self) -> Result<Types> {
        self.dsl().read().types_of(self.object())
    }

    /// Checks that a head can have this location of a key (`dsl_crypto_can_set_keylocation`).
    ///
    /// # Errors
    /// Fails with `EACCES` if the head is not an encryption root, and with `EINVAL` if the location of the key is not
    /// valid.
    pub fn check_key_location(&self, location: &str) -> Result<()> {
        self.dsl().read().check_key_location(self.object(), location)
    }
}

impl MosReader<'_> {
    /// Returns the kind of a head or snapshot.
    fn types_of(self, dataset: ObjectId) -> Result<Types> {
        if self.dataset(dataset)?.is_snapshot() {
            return Ok(Types::SNAPSHOT);
        }
        Ok(if self.is_filesystem(dataset)? { Types::FILESYSTEM } else { Types::VOLUME })
    }

    /// Checks that a dataset of this kind can have the property, and that the pool supports the value.
    fn check_assignment(self, parsed: &Parsed, types: Types, is_new: bool) -> Result<()> {
        let refuse = |why: &str| Err(Error::bad_property(format!("property {} {why}", parsed.name)));
        let Some(property) = parsed.property else { return Ok(()) };
        if types == Types::SNAPSHOT {
            return refuse("cannot be set on a snapshot");
        }
        if !property.types.intersects(types) {
            return refuse("does not apply to datasets of this kind");
        }
        if property.set_once && !is_new {
            return refuse("can only be set when a dataset is created");
        }
        if property.name == "version" {
            return Err(Error::unsupported("upgrading a filesystem"));
        }
        self.check_value(property, &parsed.value)
    }

    /// Checks that the pool has the feature that a value of a property requires.
    fn check_value(self, property: &Property, value: &Value) -> Result<()> {
        needed_feature(property, value).map_or(Ok(()), |feature| self.require_feature(feature))
    }

    /// Checks that the dataset can have this location of a key (`dsl_crypto_can_set_keylocation`).
    fn check_key_location(self, head: ObjectId, location: &str) -> Result<()> {
        let dir = self.dataset(head)?.dir;
        let refuse = |errno, why: &str| Err(Error::refused(errno, format!("keylocation {why}")));
        match self.encryption_root(dir)? {
            None if location == "none" => Ok(()),
            None => refuse(Errno::EACCES, "can only be set on encrypted datasets"),
            Some(root) if root != dir => refuse(Errno::EACCES, "can only be set on the encryption root"),
            Some(_)
                if location == "prompt" || KEY_LOCATIONS.iter().any(|start| location.starts_with(start)) =>
            {
                Ok(())
            }
            Some(_) => refuse(Errno::EINVAL, "must be prompt, file:///PATH, https:// or http://"),
        }
    }
}

/// The prefixes of locations of keys, other than `prompt`.
const KEY_LOCATIONS: [&str; 3] = ["file:///", "https://", "http://"];

/// Returns the feature that a value of a property needs.
fn needed_feature(property: &Property, value: &Value) -> Option<&'static str> {
    let number = value.u64().ok()?;
    match (property.name, property.index_name(number)) {
        ("recordsize" | "volblocksize", _) if number > OLD_BLOCK_BYTES_MAX => Some("large_blocks"),
        ("compression", Some("lz4")) => Some("lz4_compress"),
        ("compression", Some(name)) if name.starts_with("zstd") => Some("zstd_compress"),
        ("checksum" | "dedup", Some(name)) => {
            let name = name.split(',').next().unwrap_or(name);
            ["sha512", "skein", "edonr", "blake3"].into_iter().find(|feature| *feature == name)
        }
        ("dnodesize", Some(name)) if name != "legacy" => Some("large_dnode"),
        ("longname", Some("on")) => Some("longname"),
        _ => None,
    }
}
