//! Properties that users set: what is allowed where, and what the pool must be able to do (`zfs_valid_proplist`).

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

/// Blocks up to this size need no feature, in bytes.
const OLD_BLOCK_BYTES_MAX: u64 = 128 << 10;

impl Tx<'_> {
    /// Sets a property of a head or snapshot, as a user does.
    ///
    /// # Errors
    /// As [`check_assignment`](Dsl::check_assignment) and [`set_property`](Self::set_property).
    pub fn assign(&mut self, dataset: ObjectId, parsed: &Parsed) -> Result<()> {
        self.read().check_assignment(parsed, self.read().types_of(dataset)?, false)?;
        match parsed.name.as_str() {
            "keylocation" => self.read().check_key_location(dataset, parsed.value.text()?)?,
            "volsize" => return Err(Error::bad_property("the size of a volume changes with what is in it")),
            _ => {}
        }
        self.set_property(dataset, &parsed.name, &Setting::Local(parsed.value.clone()))
    }

    /// Sets a property of a dataset to what the one above it has, or with `to_received` to what was received
    /// (`zfs inherit`).
    ///
    /// # Errors
    /// `EINVAL` when the property is not inherited or cannot be changed.
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
    /// Refuses a property that a dataset of this kind cannot have or that the pool cannot keep.
    ///
    /// # Errors
    /// `EINVAL` when it does not apply or is fixed when a dataset is made, `ENOTSUP` when the pool lacks a feature.
    pub fn check_assignment(&self, parsed: &Parsed, types: Types, is_new: bool) -> Result<()> {
        self.read().check_assignment(parsed, types, is_new)
    }
}

impl<M: Mos> Dataset<M> {
    /// What it is: one kind.
    ///
    /// # Errors
    /// When its object set cannot be read.
    pub fn types(&self) -> Result<Types> {
        self.dsl().read().types_of(self.object())
    }

    /// Refuses a place of a key that a head cannot have (`dsl_crypto_can_set_keylocation`).
    ///
    /// # Errors
    /// `EACCES` when it is not an encryption root, `EINVAL` when it is not a place of a key.
    pub fn check_key_location(&self, location: &str) -> Result<()> {
        self.dsl().read().check_key_location(self.object(), location)
    }
}

impl MosReader<'_> {
    /// What a head or snapshot is.
    fn types_of(self, dataset: ObjectId) -> Result<Types> {
        if self.dataset(dataset)?.is_snapshot() {
            return Ok(Types::SNAPSHOT);
        }
        Ok(if self.is_filesystem(dataset)? { Types::FILESYSTEM } else { Types::VOLUME })
    }

    /// Refuses a property that a dataset of this kind cannot have or that the pool cannot keep.
    fn check_assignment(self, parsed: &Parsed, types: Types, is_new: bool) -> Result<()> {
        let refuse = |why: &str| Err(Error::bad_property(format!("property {} {why}", parsed.name)));
        let Some(property) = parsed.property else { return Ok(()) };
        if types == Types::SNAPSHOT {
            return refuse("cannot be set of a snapshot");
        }
        if !property.types.intersects(types) {
            return refuse("does not apply to datasets of this kind");
        }
        if property.set_once && !is_new {
            return refuse("is fixed when a dataset is created");
        }
        match property.name {
            "version" => return Err(Error::unsupported("upgrading a filesystem")),
            "dedup" if parsed.value != Value::word(2) => {
                return Err(Error::unsupported("writing deduplicated datasets"));
            }
            _ => {}
        }
        match needed_feature(property, &parsed.value) {
            Some(feature) => self.require_feature(feature),
            None => Ok(()),
        }
    }

    /// Refuses a place of a key that the dataset cannot have (`dsl_crypto_can_set_keylocation`).
    fn check_key_location(self, head: ObjectId, location: &str) -> Result<()> {
        let dir = self.dataset(head)?.dir;
        let refuse = |errno, why: &str| Err(Error::refused(errno, format!("keylocation {why}")));
        match self.encryption_root(dir)? {
            None if location == "none" => Ok(()),
            None => refuse(Errno::EACCES, "can be set of encrypted datasets only"),
            Some(root) if root != dir => refuse(Errno::EACCES, "can be set of the encryption root only"),
            Some(_)
                if location == "prompt" || KEY_LOCATIONS.iter().any(|start| location.starts_with(start)) =>
            {
                Ok(())
            }
            Some(_) => refuse(Errno::EINVAL, "is prompt, file:///PATH, https:// or http://"),
        }
    }
}

/// How a place of a key begins, unless it is asked for.
const KEY_LOCATIONS: [&str; 3] = ["file:///", "https://", "http://"];

/// The feature that a value of a property needs.
fn needed_feature(property: &Property, value: &Value) -> Option<&'static str> {
    let number = value.u64().ok()?;
    match (property.name, property.index_name(number)) {
        ("recordsize" | "volblocksize", _) if number > OLD_BLOCK_BYTES_MAX => Some("large_blocks"),
        ("compression", Some("lz4")) => Some("lz4_compress"),
        ("compression", Some(name)) if name.starts_with("zstd") => Some("zstd_compress"),
        ("checksum", Some("sha512")) => Some("sha512"),
        ("checksum", Some("skein")) => Some("skein"),
        ("checksum", Some("edonr")) => Some("edonr"),
        ("checksum", Some("blake3")) => Some("blake3"),
        ("dnodesize", Some(name)) if name != "legacy" => Some("large_dnode"),
        ("longname", Some("on")) => Some("longname"),
        _ => None,
    }
}
