//! Properties that are computed rather than set.

use zstream_dmu::zio::crypt::KeyFormat;

use super::table::{Property, Types};
use super::value::{PropertyValue, Source, Value};
use super::{Props, Subject, default, index, lookup};
use crate::bookmark::{Bookmark, BookmarkFlags};
use crate::dataset::{Dataset, Dir};
use crate::error::Result;
use crate::keys::IVSET_GUID;
use crate::phys::DatasetFlags;

/// Returns the ratio of uncompressed to compressed, in hundredths.
fn ratio(uncompressed: u64, compressed: u64) -> Value {
    let hundredths = u128::from(uncompressed) * 100 / u128::from(compressed.max(1));
    Value::Ratio(if compressed == 0 { 100 } else { u64::try_from(hundredths).unwrap_or(u64::MAX) })
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn join(guids: &[u64]) -> Value {
    text(guids.iter().map(u64::to_string).collect::<Vec<_>>().join(","))
}

/// The value of a computed property; `None` if it has no value.
type Known = Option<Value>;

impl Props {
    /// Returns a computed property. The outer option is `None` for other properties, the inner one if there is no value.
    pub(super) fn computed(&self, property: &Property) -> Result<Option<Option<PropertyValue>>> {
        let known = match &self.subject {
            Subject::Bookmark(bookmark, dir) => Some(of_bookmark(bookmark, dir, property.name)?),
            Subject::Dataset(dataset) => self.of_dataset(dataset, property)?,
        };
        let source = |value: &Value| match property.name {
            "volsize" => Source::Local,
            "volblocksize" if *value == default(property) => Source::Default,
            _ => Source::None,
        };
        Ok(known
            .map(|known| known.map(|value| PropertyValue { source: source(&value), value, received: None })))
    }

    fn of_dataset(&self, dataset: &Dataset, property: &Property) -> Result<Option<Known>> {
        if let Some(known) = of_structures(dataset, property.name) {
            return Ok(Some(known));
        }
        let number = |number: u64| Some(Value::Number(number));
        Ok(Some(match property.name {
            "type" => Some(text(match self.types {
                Types::SNAPSHOT => "snapshot",
                Types::VOLUME => "volume",
                _ => "filesystem",
            })),
            "available" => self.available(dataset)?.map(Value::Number),
            "origin" => dataset.dir().origin()?.map(|origin| text(origin.name())),
            "userrefs" => number(dataset.holds()?.len() as u64),
            "clones" => clones(dataset)?,
            "written" => number(dataset.written_bytes()?),
            "prevsnap" => dataset.previous()?.map(|previous| text(previous.name())),
            "receive_resume_token" => resume_token(dataset)?,
            "version" | "utf8only" | "normalization" | "casesensitivity" => {
                self.of_filesystem(property.name)?.map(|number| index(property, number))
            }
            // The limits of users, groups and projects without a quota of their own.
            "defaultuserquota"
            | "defaultgroupquota"
            | "defaultprojectquota"
            | "defaultuserobjquota"
            | "defaultgroupobjquota"
            | "defaultprojectobjquota" => self.of_filesystem(property.name)?.map(Value::Number),
            "volsize" | "volblocksize" => self.of_volume(property.name)?,
            "filesystem_count" | "snapshot_count" => {
                match dataset.dir().entry(&format!("com.joyent:{}", property.name))? {
                    Some(count) => number(count.u64()?),
                    // The default applies as long as nothing is counted.
                    None => return Ok(None),
                }
            }
            "snapshots_changed" => match dataset.dir().entry("com.ixsystems:snapshots_changed")? {
                Some(time) => time.u64s().first().copied().map(Value::Number),
                None => None,
            },
            "redacted" => dataset.redaction_snapshots()?.map(|_| Value::Number(1)),
            "redact_snaps" => dataset.redaction_snapshots()?.map(|guids| join(&guids)),
            "ivsetguid" => match dataset.entry(IVSET_GUID)? {
                Some(guid) => number(guid.u64()?),
                None => None,
            },
            "useraccounting" | "remaptxg" | "iscsioptions" | "stmf_sbd_lu" => None,
            _ => return of_keys(dataset, property),
        }))
    }

    /// Returns a setting of a filesystem; 0 if it is missing.
    fn of_filesystem(&self, name: &str) -> Result<Option<u64>> {
        let Subject::Dataset(dataset) = &self.subject else { return Ok(None) };
        // The master node may be missing during a receive.
        if dataset.is_inconsistent() || !self.head_types.contains(Types::FILESYSTEM) {
            return Ok(None);
        }
        let Some(number) = self.setting(name) else { return Ok(None) };
        Ok(Some(number?.unwrap_or(0)))
    }

    fn of_volume(&self, name: &str) -> Result<Known> {
        if !self.head_types.contains(Types::VOLUME) {
            return Ok(None);
        }
        let number = self.setting(name).transpose()?.flatten();
        Ok(number.map(Value::Number))
    }

    /// Returns the bytes that can still be written (`dsl_get_available`).
    fn available(&self, dataset: &Dataset) -> Result<Option<u64>> {
        let Some(space) = self.space else { return Ok(None) };
        let number = |name: &str| -> Result<u64> {
            lookup(dataset, name, false)?.value.map_or(Ok(0), |(value, _)| Ok(value.u64()?))
        };
        let phys = dataset.phys();
        let reserved = number("refreservation")?.saturating_sub(phys.unique_bytes);
        let available = below(dataset.dir(), space.usable_bytes).saturating_add(reserved);
        Ok(Some(match number("refquota")? {
            0 => available,
            quota => available.min(quota.saturating_sub(phys.referenced_bytes)),
        }))
    }
}

/// Returns the bytes that a directory and those below it can still use (`dsl_dir_space_available`).
fn below(dir: &Dir, usable_bytes: u64) -> u64 {
    let phys = dir.phys();
    let quota = if phys.quota_bytes == 0 { u64::MAX } else { phys.quota_bytes };
    let Some(parent) = dir.parent() else {
        return quota.min(usable_bytes).saturating_sub(phys.used_bytes);
    };
    // Space that is reserved for the directory is available to it, but not to others.
    let reserved = phys.reserved_bytes.saturating_sub(phys.used_bytes);
    let above = below(parent, usable_bytes).saturating_add(reserved);
    above.min(quota.saturating_sub(phys.used_bytes))
}

fn of_keys(dataset: &Dataset, property: &Property) -> Result<Option<Known>> {
    if !["encryption", "keyformat", "pbkdf2iters", "pbkdf2salt", "encryptionroot", "keystatus", "keyguid"]
        .contains(&property.name)
    {
        return Ok(None);
    }
    let Some(key) = dataset.crypto_key()? else {
        let unset = ["encryptionroot", "keystatus", "keyguid", "pbkdf2salt"].contains(&property.name);
        return Ok(unset.then_some(None));
    };
    let (format, salt, rounds) = match key.format {
        KeyFormat::Raw => (1, 0, 0),
        KeyFormat::Hex => (2, 0, 0),
        KeyFormat::Passphrase { salt, rounds } => (3, salt, rounds),
    };
    Ok(Some(Some(match property.name {
        "encryption" => index(property, u64::from(key.wrapped.suite.0)),
        "keyformat" => index(property, format),
        "pbkdf2iters" => Value::Number(rounds),
        "pbkdf2salt" => Value::Number(salt),
        "encryptionroot" => text(dataset.dsl().dir_by_object(key.root)?.name()),
        "keyguid" => Value::Number(key.wrapped.guid.0),
        _ => text(if dataset.is_unlocked()? { "available" } else { "unavailable" }),
    })))
}

fn of_bookmark(bookmark: &Bookmark, dir: &Dir, name: &str) -> Result<Known> {
    let measured = bookmark.flags.contains(BookmarkFlags::HAS_FBN);
    let number = |number: u64| Some(Value::Number(number));
    Ok(match name {
        "type" => Some(text("bookmark")),
        "name" => Some(text(bookmark.name.as_str())),
        "creation" => number(bookmark.creation_time),
        "createtxg" => number(bookmark.creation_txg.0),
        "guid" => number(bookmark.guid.0),
        "referenced" if measured => number(bookmark.referenced.used_bytes),
        "logicalreferenced" if measured => number(bookmark.referenced.uncompressed_bytes),
        "ivsetguid" => (bookmark.ivset_guid != 0).then_some(Value::Number(bookmark.ivset_guid)),
        "redact_snaps" => bookmark.redaction_list_of(dir.dsl())?.map(|list| join(list.snapshots())),
        _ => None,
    })
}

/// Returns the datasets that are clones of a snapshot.
fn clones(snapshot: &Dataset) -> Result<Known> {
    let names = snapshot.clones()?;
    Ok((!names.is_empty()).then(|| text(names.join(","))))
}

/// Returns a property that the structures of a dataset and its directory hold.
fn of_structures(dataset: &Dataset, name: &str) -> Option<Known> {
    let (phys, space) = (dataset.phys(), dataset.dir().phys());
    let is_snapshot = dataset.is_snapshot();
    let number = |number: u64| Some(Value::Number(number));
    let part = |number: u64| space.has_breakdown().then_some(Value::Number(number));
    Some(match name {
        "name" => Some(text(dataset.name())),
        "creation" => number(phys.creation_time),
        "used" => number(if is_snapshot { phys.unique_bytes } else { space.used_bytes }),
        "referenced" => number(phys.referenced_bytes),
        "compressratio" if !is_snapshot => Some(ratio(space.uncompressed_bytes, space.compressed_bytes)),
        "compressratio" | "refcompressratio" => Some(ratio(phys.uncompressed_bytes, phys.compressed_bytes)),
        // Datasets of a pool that is read here are not mounted.
        "mounted" => Some(text("no")),
        "createtxg" => number(phys.creation_txg.0),
        "guid" => number(phys.guid.0),
        "unique" => number(phys.unique_bytes),
        "objsetid" => number(dataset.object().0),
        "usedbysnapshots" => part(space.breakdown.snapshots),
        "usedbydataset" => part(space.breakdown.head),
        "usedbychildren" => part(space.breakdown.children.saturating_add(space.breakdown.child_reservations)),
        "usedbyrefreservation" => part(space.breakdown.refreservation),
        "defer_destroy" => {
            Some(text(if phys.flags.contains(DatasetFlags::DEFER_DESTROY) { "on" } else { "off" }))
        }
        "numclones" => number(phys.children.saturating_sub(1)),
        "logicalused" => number(space.uncompressed_bytes),
        "logicalreferenced" => number(phys.uncompressed_bytes),
        "inconsistent" => number(u64::from(dataset.is_inconsistent())),
        _ => return None,
    })
}

fn resume_token(dataset: &Dataset) -> Result<Known> {
    let Some(token) = dataset.resume_token()? else { return Ok(None) };
    let token = token.encode().map_err(|error| {
        crate::error::Error::corrupt("receive state", format!("{}: {error}", dataset.name()))
    })?;
    Ok(Some(text(token)))
}
