//! Changes of datasets. Each takes a pool that is open for changes, usually from
//! [`PoolPlace::change`](crate::PoolPlace::change). After an error the transaction group must be dropped; the pool is
//! then unchanged.

use std::collections::HashSet;
use std::fmt::Display;

use zstream_dsl::OpenMos;
use zstream_dsl::dataset::Dataset;
use zstream_dsl::error::{Error as DatasetError, Result as DatasetResult};
use zstream_dsl::prop::{Parsed, Types};
use zstream_dsl::write::{Reach, Setting, Tx, WritablePool};
use zstream_format::errno::Errno;
use zstream_zpl::settings::unlinked;

use crate::control::{Control, Warning};
use crate::create::{create_parents, resize_volume};
use crate::error::{Error, Request, Result};
use crate::place::keys::unlock_to_write;
use crate::place::{Keys, OpenPool};

/// The error of a change that the pool refuses.
fn cannot(action: impl Display) -> impl Fn(DatasetError) -> Error {
    move |source| Error::Change { action: action.to_string(), source: source.into() }
}

/// Checks that no property is given twice by the same name, as `zfs` does: `PROPERTY=VALUE` or `PROPERTY`.
///
/// # Errors
/// [`Request::Repeated`]
pub fn check_once<S: AsRef<str>>(assignments: &[S]) -> Result<(), Request> {
    let mut seen = HashSet::new();
    let names = assignments.iter().map(|text| text.as_ref().split('=').next().unwrap_or_default());
    match names.into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Request::Repeated(name.to_owned())),
        None => Ok(()),
    }
}

/// Options of [`snapshot_with`].
#[derive(Clone, Debug, Default)]
pub struct SnapshotOptions {
    /// Include all descendants.
    pub recursive: bool,
    /// User properties to set on each snapshot.
    pub properties: Vec<Parsed>,
}

/// Creates snapshots `DATASET@NAME` atomically.
///
/// # Errors
/// As [`snapshot_with`].
pub fn snapshot<S: AsRef<str>>(pool: &mut WritablePool, names: &[S]) -> Result<()> {
    snapshot_with(pool, names, &SnapshotOptions::default())
}

/// Creates snapshots `DATASET@NAME` atomically, with options. Descendants with an incomplete receive are skipped.
///
/// # Errors
/// A snapshot already exists or cannot be created.
pub fn snapshot_with<S: AsRef<str>>(
    pool: &mut WritablePool,
    names: &[S],
    options: &SnapshotOptions,
) -> Result<()> {
    let failed = cannot("create snapshots");
    for parsed in &options.properties {
        pool.dsl().check_assignment(parsed, Types::SNAPSHOT, true).map_err(&failed)?;
    }
    let names = match options.recursive {
        true => below(pool, names, |head, _| Ok(!head.is_inconsistent()))?,
        false => owned(names),
    };
    let mut tx = pool.tx();
    for snapshot in tx.snapshot(&names).map_err(&failed)? {
        for parsed in &options.properties {
            tx.set_property(snapshot, &parsed.name, &Setting::Local(parsed.value.clone()))
                .map_err(&failed)?;
        }
    }
    Ok(())
}

fn owned<S: AsRef<str>>(names: &[S]) -> Vec<String> {
    names.iter().map(|name| name.as_ref().to_owned()).collect()
}

/// The names of these snapshots and of the same snapshots in descendants, as far as `is_wanted` accepts their heads
/// with the short name.
fn below<S: AsRef<str>>(
    pool: &WritablePool,
    names: &[S],
    is_wanted: impl Fn(&Dataset<OpenMos<'_>>, &str) -> DatasetResult<bool>,
) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for name in names.iter().map(AsRef::as_ref) {
        let (filesystem, short) =
            name.split_once('@').ok_or_else(|| Request::NotASnapshot(name.to_owned()))?;
        pool.dsl().head(filesystem)?.dir().walk(&mut |dir| {
            if is_wanted(&dir.head()?, short)? {
                all.push(format!("{}@{short}", dir.name()));
            }
            Ok(())
        })?;
    }
    Ok(all)
}

/// Adds a hold to snapshots; with `recursive` also to the snapshots of that name in all descendants.
///
/// # Errors
/// A snapshot does not exist, or already has this hold.
pub fn hold(pool: &mut WritablePool, tag: &str, names: &[String], recursive: bool) -> Result<()> {
    // Of a tree, those that exist, and the given ones in any case.
    let is_there = |head: &Dataset<OpenMos<'_>>, short: &str| {
        let is_given = names.iter().any(|name| name.split_once('@') == Some((head.name(), short)));
        Ok(is_given || head.snapshot(short)?.is_some())
    };
    let names = if recursive { below(pool, names, is_there)? } else { names.to_vec() };
    pool.tx().hold(tag, &names).map_err(cannot("hold"))
}

/// Removes a hold from snapshots; with `recursive` also from the snapshots of that name in all descendants that have
/// it.
///
/// # Errors
/// A snapshot does not exist; none has this hold.
pub fn release(pool: &mut WritablePool, tag: &str, names: &[String], recursive: bool) -> Result<()> {
    // Of a tree, those that have the hold; where none has, the names that were given say so.
    let has = |head: &Dataset<OpenMos<'_>>, short: &str| {
        head.snapshot(short)?.map_or(Ok(false), |snapshot| snapshot.has_hold(tag))
    };
    let held = if recursive { below(pool, names, has)? } else { Vec::new() };
    let names = if held.is_empty() { names.to_vec() } else { held };
    pool.tx().release(tag, &names).map_err(cannot("release"))
}

/// A hold of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// The snapshot.
    pub snapshot: String,
    /// The tag of the hold.
    pub tag: String,
    /// The time of its creation, in seconds since 1970.
    pub time: u64,
}

/// The holds of snapshots; with `recursive` also those of the snapshots of the same name in all descendants. A name that
/// does not exist is reported as [`Warning::Omitted`].
///
/// # Errors
/// A name is not that of a snapshot; the pool cannot be read.
pub fn holds<S: AsRef<str>>(
    open: &OpenPool,
    names: &[S],
    recursive: bool,
    control: &mut Control<'_>,
) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    let mut add = |snapshot: &Dataset| -> DatasetResult<()> {
        all.extend(snapshot.holds()?.into_iter().map(|hold| Held {
            snapshot: snapshot.name().to_owned(),
            tag: hold.tag,
            time: hold.time,
        }));
        Ok(())
    };
    for name in names.iter().map(AsRef::as_ref) {
        let snapshot = match open.dsl.dataset(name) {
            Ok(snapshot) => snapshot,
            Err(error) if error.is_not_found() => {
                let error = Error::Open { name: name.to_owned(), source: error.into() };
                control.warn(Warning::Omitted(Box::new(error)));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let short = snapshot.snapshot_name().ok_or_else(|| Request::NotASnapshot(name.to_owned()))?;
        if recursive {
            snapshot.dir().walk(&mut |dir| dir.head()?.snapshot(short)?.as_ref().map_or(Ok(()), &mut add))?;
        } else {
            add(&snapshot)?;
        }
    }
    Ok(all)
}

/// The result of [`destroy`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destroyed {
    /// Names of datasets, snapshots and bookmarks.
    pub names: Vec<String>,
    /// The number of bytes freed.
    pub bytes: u64,
}

/// Destroys a dataset, snapshots (`DATASET@a,b`, `DATASET@a%c`) or a bookmark, and the dependents that `reach`
/// includes. With `defer`, snapshots that have holds or clones are destroyed when the last of these is gone.
///
/// # Errors
/// Another dataset depends on it.
pub fn destroy(pool: &mut WritablePool, name: &str, reach: Reach, defer: bool) -> Result<Destroyed> {
    destroy_in(&mut pool.tx(), name, reach, defer).map_err(cannot(format_args!("destroy '{name}'")))
}

fn destroy_in(tx: &mut Tx<'_>, name: &str, reach: Reach, defer: bool) -> DatasetResult<Destroyed> {
    let before = tx.dsl().root()?.phys().used_bytes;
    let names = if name.contains('#') {
        tx.destroy_bookmark(name)?;
        vec![name.to_owned()]
    } else if name.contains('@') {
        let names = tx.dsl().plan_destroy_snapshots(name, reach, defer)?;
        tx.destroy_all(&names, defer)?;
        names
    } else {
        let names = tx.dsl().plan_destroy(name, reach)?;
        tx.destroy_all(&names, false)?;
        names
    };
    let after = tx.dsl().root()?.phys().used_bytes;
    Ok(Destroyed { names, bytes: before.saturating_sub(after) })
}

/// Rolls a dataset back to a snapshot. `reach` defines which more recent snapshots, bookmarks and clones may be
/// destroyed.
///
/// # Errors
/// More recent snapshots or bookmarks exist, and `reach` does not include them.
pub fn roll_back(pool: &mut WritablePool, snapshot: &str, reach: Reach) -> Result<()> {
    let failed = cannot(format!("roll back to '{snapshot}'"));
    let younger = pool.dsl().plan_rollback(snapshot, reach.clones).map_err(&failed)?;
    if !younger.is_empty() && !reach.recursive && !reach.clones {
        let list = younger.join(", ");
        let text = format!("more recent snapshots or bookmarks exist; use -r to destroy them: {list}");
        return Err(failed(DatasetError::refused(Errno::EEXIST, text)));
    }
    pool.rollback_over(snapshot, &younger).map_err(failed)
}

/// Creates a clone of a snapshot, with properties. With `parents`, missing parents are created too, and the clone may
/// already exist.
///
/// # Errors
/// The snapshot does not exist; the pool refuses the name or a property.
pub fn clone_snapshot(
    pool: &mut WritablePool,
    snapshot: &str,
    name: &str,
    properties: &[Parsed],
    parents: Option<&dyn Keys>,
) -> Result<()> {
    let failed = cannot(format!("clone '{snapshot}' to '{name}'"));
    if let Some(keys) = parents {
        if pool.dsl().find_dir(name)?.is_some() {
            return Ok(());
        }
        create_parents(pool, name, keys)?;
    }
    let clone = pool.clone_snapshot(snapshot, name).map_err(&failed)?;
    let mut tx = pool.tx();
    properties.iter().try_for_each(|parsed| tx.assign(clone, parsed)).map_err(failed)
}

/// Promotes a clone: swaps it with its origin.
///
/// # Errors
/// The dataset is not a clone, or its snapshots have a name in common with those of its origin.
pub fn promote(pool: &mut WritablePool, clone: &str) -> Result<()> {
    pool.tx().promote(clone).map_err(cannot(format_args!("promote '{clone}'")))
}

/// Renames a dataset; with `parents`, missing parents of the new name are created.
///
/// # Errors
/// The name is in use, or is not valid for this dataset.
pub fn rename(pool: &mut WritablePool, old: &str, new: &str, parents: Option<&dyn Keys>) -> Result<()> {
    if let Some(keys) = parents {
        create_parents(pool, new, keys)?;
    }
    pool.tx().rename(old, new).map_err(cannot(format_args!("rename '{old}' to '{new}'")))
}

/// Renames a snapshot to a full name, or to the part after the `@`; with `recursive`, also the snapshots of that name
/// in all descendants.
///
/// # Errors
/// The name is in use.
pub fn rename_snapshot(pool: &mut WritablePool, old: &str, new: &str, recursive: bool) -> Result<()> {
    let short = new.strip_prefix('@').unwrap_or(new);
    let renamed = pool.tx().rename_snapshot(old, short, recursive);
    renamed.map_err(cannot(format_args!("rename '{old}' to '{new}'")))
}

/// The full names of the source of a bookmark and of the bookmark: either may be only `@name` or `#name`, in the dataset
/// that the other one names.
#[must_use]
pub fn bookmark_names(source: &str, bookmark: &str) -> (String, String) {
    fn dataset(name: &str) -> &str {
        name.split(['@', '#']).next().unwrap_or_default()
    }
    let full = |name: &str, other: &str| match dataset(name) {
        "" => format!("{}{name}", dataset(other)),
        _ => name.to_owned(),
    };
    (full(source, bookmark), full(bookmark, source))
}

/// Creates a bookmark of a snapshot, or copies a bookmark; see also [`bookmark_names`].
///
/// # Errors
/// The source does not exist; the name is in use.
pub fn bookmark(pool: &mut WritablePool, source: &str, bookmark: &str) -> Result<()> {
    pool.tx().bookmark(source, bookmark).map_err(cannot(format_args!("create bookmark '{bookmark}'")))
}

/// Creates a redaction bookmark of a snapshot: a send redacted by it omits the blocks that no redaction snapshot
/// contains. If the dataset is encrypted and locked, `keys` provides its key, which its clones share.
///
/// # Errors
/// A redaction snapshot is not a snapshot of a clone of the snapshot; the name is in use; the key is not available.
pub fn redact(
    pool: &mut WritablePool,
    snapshot: &str,
    bookmark: &str,
    redaction: &[String],
    keys: &dyn Keys,
) -> Result<()> {
    let head = pool.dsl().head(snapshot.split('@').next().unwrap_or_default()).map(|head| head.object());
    match head {
        Ok(head) => unlock_to_write(pool, head, keys)?,
        // The change itself reports what does not exist.
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    pool.tx()
        .redact(snapshot, bookmark, redaction, unlinked)
        .map_err(cannot(format_args!("redact '{snapshot}'")))
}

/// Sets properties of a dataset. A new `volsize` changes the size of a volume and its reservation.
///
/// # Errors
/// The dataset cannot have such a property; the key of an encrypted volume is not available.
pub fn set(pool: &mut WritablePool, name: &str, properties: &[Parsed], keys: &dyn Keys) -> Result<()> {
    let action = format!("set property for '{name}'");
    let failed = cannot(&action);
    for parsed in properties {
        let dataset = {
            let dataset = pool.dsl().dataset(name).map_err(&failed)?;
            if parsed.name == "volsize" {
                dataset.dsl().check_assignment(parsed, dataset.types()?, false).map_err(&failed)?;
            }
            dataset.object()
        };
        if parsed.name != "volsize" {
            pool.tx().assign(dataset, parsed).map_err(&failed)?;
            continue;
        }
        unlock_to_write(pool, dataset, keys)?;
        let size = parsed.value.u64()?;
        resize_volume(pool, dataset, size)
            .map_err(|source| Error::Change { action: action.clone(), source })?;
    }
    Ok(())
}

/// Clears a property so that it is inherited, or with `received` reverts it to the received value; with `recursive`
/// also for all descendants.
///
/// # Errors
/// The dataset cannot have such a property.
pub fn inherit(
    pool: &mut WritablePool,
    name: &str,
    property: &str,
    recursive: bool,
    received: bool,
) -> Result<()> {
    let failed = cannot(format!("inherit {property} for '{name}'"));
    let mut all = Vec::new();
    {
        let dataset = pool.dsl().dataset(name).map_err(&failed)?;
        if recursive {
            dataset.dir().walk(&mut |dir| {
                all.push(dir.head()?.object());
                Ok(())
            })?;
        } else {
            all.push(dataset.object());
        }
    }
    let mut tx = pool.tx();
    all.into_iter().try_for_each(|dataset| tx.inherit(dataset, property, received)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_given_once() {
        assert_eq!(check_once(&["a=1", "b=1", "a:x=1", "c"]), Ok(()));
        assert_eq!(check_once(&["a=1", "b", "b=2"]), Err(Request::Repeated("b".to_owned())));
    }

    #[test]
    fn one_name_of_a_bookmark_completes_the_other() {
        for (source, bookmark, full) in [
            ("p/a@s", "#b", ("p/a@s", "p/a#b")),
            ("@s", "p/a#b", ("p/a@s", "p/a#b")),
            ("#c", "p/a#b", ("p/a#c", "p/a#b")),
            ("p/a@s", "p/b#b", ("p/a@s", "p/b#b")),
            ("@s", "#b", ("@s", "#b")),
        ] {
            let (a, b) = bookmark_names(source, bookmark);
            assert_eq!((a.as_str(), b.as_str()), full, "{source} {bookmark}");
        }
    }
}
