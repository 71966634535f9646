//! Quotas of users, groups and projects, as `zfs set` has them: `userquota@1000=10G`, `defaultgroupquota=1T`.
//!
//! They belong to the files of a filesystem, not to its properties, and so to one that exists.

use zstream_dmu::Random;
use zstream_dmu::error::Error as PoolError;
use zstream_dsl::error::Error as DatasetError;
use zstream_dsl::write::WritablePool;
use zstream_format::errno::Errno;
use zstream_format::number::parse_bytes;
use zstream_zpl::quota::{KINDS, Kind, set_default_quota, set_quota};

use crate::error::{Cause, Error, Result};
use crate::place::Keys;
use crate::place::keys::unlock_to_write;

/// A quota to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    name: String,
    kind: &'static Kind,
    /// The user, group or project; none for the default of all others.
    id: Option<u32>,
    /// The limit in bytes or objects; 0 for none.
    limit: u64,
}

impl Quota {
    /// Parses an assignment like `userquota@1000=10G`. Returns `None` if it does not name a quota.
    ///
    /// # Errors
    /// The user, group or project is not a number, since names belong to the host of the pool; the value is not a number
    /// or `none`.
    #[must_use]
    pub fn parse(assignment: &str) -> Option<Result<Self>> {
        let (name, value) = assignment.split_once('=')?;
        let (table, id) = match name.find('@') {
            Some(at) => (&name[..=at], Some(&name[at + 1..])),
            None => (name, None),
        };
        let kind = KINDS
            .iter()
            .find(|kind| if id.is_some() { kind.table == table } else { kind.default == name })?;
        Some(Self::parsed(kind, name, id, value))
    }

    fn parsed(kind: &'static Kind, name: &str, id: Option<&str>, value: &str) -> Result<Self> {
        let bad = |text: String| Error::from(DatasetError::bad_property(text));
        let number = |id: &str| {
            let why = || {
                bad(format!("bad property '{name}': users, groups and projects are named by their numbers"))
            };
            id.parse().map_err(|_| why())
        };
        let id = id.map(number).transpose()?;
        let limit = match value {
            "none" => Some(0),
            value => parse_bytes(value),
        };
        let limit = limit.ok_or_else(|| {
            bad(format!(
                "bad value {value:?} of {name}: expected a number, with a suffix like K, M or G, or none"
            ))
        })?;
        Ok(Self { name: name.to_owned(), kind, id, limit })
    }

    /// The name of the property.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Sets quotas of a filesystem.
///
/// # Errors
/// It is not a filesystem, or cannot have the quota; its key is not available; the pool cannot be written.
pub fn set_quotas(pool: &mut WritablePool, name: &str, quotas: &[Quota], keys: &dyn Keys) -> Result<()> {
    let failed = |source: Cause| Error::Change { action: format!("set property for '{name}'"), source };
    let head = {
        let dataset = pool.dsl().dataset(name).map_err(|error| failed(error.into()))?;
        if dataset.is_snapshot() {
            return Err(failed(DatasetError::bad_property("a snapshot cannot be given a quota").into()));
        }
        dataset.check_not_filled().map_err(|error| failed(error.into()))?;
        dataset.object()
    };
    if quotas.iter().any(|quota| quota.kind.is_of_project())
        && !pool.pool().features()?.is_enabled("project_quota")
    {
        let text = "the pool does not have the feature project_quota".to_owned();
        return Err(failed(DatasetError::refused(Errno::ENOTSUP, text).into()));
    }
    unlock_to_write(pool, head, keys)?;
    let mut set = pool.open_head(head).map_err(|error| failed(error.into()))?;
    let random = Random::system().map_err(PoolError::from)?;
    for quota in quotas {
        let Quota { kind, id, limit, .. } = quota;
        let done = match id {
            Some(id) => set_quota(&mut set, kind, *id, *limit, &mut || Ok(random.u64()?)),
            None => set_default_quota(&mut set, kind, *limit),
        };
        done.map_err(|error| failed(error.into()))?;
    }
    pool.sync(head, &mut set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_told_from_properties() {
        let parse =
            |text: &str| Quota::parse(text).map(|quota| quota.map(|quota| (quota.id, quota.limit)).ok());
        assert_eq!(parse("userquota@1000=1K"), Some(Some((Some(1000), 1024))));
        assert_eq!(parse("projectobjquota@7=none"), Some(Some((Some(7), 0))));
        assert_eq!(parse("defaultuserobjquota=12"), Some(Some((None, 12))));
        assert_eq!(parse("userquota@root=1K"), Some(None));
        assert_eq!(parse("userquota@4294967296=1K"), Some(None));
        assert_eq!(parse("defaultuserquota=x"), Some(None));
        for other in ["quota=1K", "userused@1=3", "our:userquota@1=3", "defaultuserquota", "userquota=3"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
