//! Replay of intent logs: the last synchronous writes of a pool that was not exported.

use zstream_dmu::pool::WriteOptions;
use zstream_dmu::pool::history::Event as HistoryEvent;
use zstream_dsl::write::WritablePool;

use crate::control::Control;
use crate::error::{Error, Request, Result};
use crate::place::keys::unlock_to_write;
use crate::place::pool::leave;
use crate::place::replay::{DIRTY_BYTES_MAX, heads, replay_head};
use crate::place::{Keys, PoolPlace};

/// Options of [`replay`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// Use the pool even if another host may have it imported.
    pub force: bool,
    /// Replay in memory only: the pool is unchanged.
    pub dry_run: bool,
    /// Describe each record.
    pub records: bool,
    /// Changes in memory above which a transaction group is completed, in bytes; the default is 128 MiB.
    pub dirty_bytes: Option<usize>,
}

/// A dataset whose intent log was replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The dataset.
    pub name: String,
    /// The number of records.
    pub records: u64,
    /// The records, if descriptions were requested: number, kind and fields.
    pub descriptions: Vec<String>,
    /// The reason for which the log was not replayed: the key of the dataset is not available.
    pub locked: Option<String>,
}

/// Replays the intent logs of these filesystems and volumes, or without names of all in the pool, as OpenZFS does when it
/// mounts them, and logs `command` in the pool's history. Returns those that had records. Without names, datasets whose keys
/// are not available keep their logs, and are returned as locked. The pool is exported; if an error occurs, it keeps the
/// transaction groups that were completed, and the replay can be repeated.
///
/// # Errors
/// A dataset does not exist; the key of a named one is not available; a record cannot be read or replayed; the pool cannot be
/// written.
pub fn replay(
    place: &PoolPlace,
    names: &[String],
    options: &ReplayOptions,
    keys: &dyn Keys,
    command: &str,
    control: &mut Control<'_>,
) -> Result<Vec<Replayed>> {
    if let Some(name) = names.iter().find(|name| name.contains(['@', '#'])) {
        return Err(Request::NotWritable(name.clone()).into());
    }
    let writing =
        WriteOptions { force: options.force, rehearsal: options.dry_run, ..WriteOptions::default() };
    let first = names.first().map(String::as_str);
    let mut pool = place.open_writable(first, writing, None)?;
    let wanted = wanted(&pool, names)?;
    let dirty_bytes = options.dirty_bytes.unwrap_or(DIRTY_BYTES_MAX);
    let mut replayed = Vec::new();
    for (name, head) in wanted {
        if control.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut descriptions = Vec::new();
        if pool.has_log_records(head)? {
            if names.is_empty()
                && let Err(error) = unlock_to_write(&mut pool, head, keys)
            {
                if !matches!(error, Error::NoKey { .. } | Error::Key { .. }) {
                    return Err(error);
                }
                let locked = Some(error.to_string());
                replayed.push(Replayed { name, records: 0, descriptions, locked });
                continue;
            }
            let records = replay_head(&mut pool, head, keys, dirty_bytes, &mut |record| {
                if options.records {
                    descriptions.push(record.to_string());
                }
            })?;
            pool.log(HistoryEvent::Internal("replay", &format!("{name} ({records} records)")))?;
            replayed.push(Replayed { name, records, descriptions, locked: None });
        }
    }
    // Without any replay there is no change.
    let is_locked = !replayed.is_empty() && replayed.iter().all(|replayed| replayed.locked.is_some());
    if !options.dry_run && !is_locked {
        leave(pool, Some(command))?;
    }
    Ok(replayed)
}

/// The heads of these names, or all.
fn wanted(pool: &WritablePool, names: &[String]) -> Result<Vec<(String, zstream_dmu::ids::ObjectId)>> {
    if names.is_empty() {
        return heads(pool);
    }
    let dsl = pool.dsl();
    let head = |name: &String| {
        let head =
            dsl.head(name).map_err(|error| Error::Open { name: name.clone(), source: error.into() })?;
        Ok((name.clone(), head.object()))
    };
    names.iter().map(head).collect()
}
