//! Properties of one user, group, project or snapshot: `userused@1000`, `written@monday`.
//!
//! The DMU counts the space of users, groups and projects. Their limits are settings of the filesystem
//! ([`SettingOf`](super::SettingOf)).

use zstream_dmu::bpobj::BpObj;
use zstream_dmu::objset::{Counted, Objset, Owner};

use super::value::{PropertyValue, Source, Value, nice_bytes, nice_number};
use super::{Props, Subject, is_locked};
use crate::dataset::Dataset;
use crate::deadlist::Deadlist;
use crate::error::{Error, Result};

/// A property of users, groups or projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    /// The name before the `@`.
    name: &'static str,
    owner: Owner,
    counted: Counted,
    /// `true` for the limit, `false` for the amount in use.
    is_limit: bool,
}

impl Account {
    const fn new(name: &'static str, owner: Owner, counted: Counted, is_limit: bool) -> Self {
        Self { name, owner, counted, is_limit }
    }
}

/// The properties of users, groups and projects.
const ACCOUNTS: [Account; 12] = [
    Account::new("userused", Owner::User, Counted::Bytes, false),
    Account::new("userobjused", Owner::User, Counted::Objects, false),
    Account::new("userquota", Owner::User, Counted::Bytes, true),
    Account::new("userobjquota", Owner::User, Counted::Objects, true),
    Account::new("groupused", Owner::Group, Counted::Bytes, false),
    Account::new("groupobjused", Owner::Group, Counted::Objects, false),
    Account::new("groupquota", Owner::Group, Counted::Bytes, true),
    Account::new("groupobjquota", Owner::Group, Counted::Objects, true),
    Account::new("projectused", Owner::Project, Counted::Bytes, false),
    Account::new("projectobjused", Owner::Project, Counted::Objects, false),
    Account::new("projectquota", Owner::Project, Counted::Bytes, true),
    Account::new("projectobjquota", Owner::Project, Counted::Objects, true),
];

/// A property of one user, group, project or snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    name: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Bytes written since a snapshot, given by full name or by `@` and short name.
    Written(String),
    /// The amount or limit of an id.
    Account(Account, u64),
}

impl Single {
    /// Parses the name of a property.
    ///
    /// # Errors
    /// Fails if there is no such property, or if the user is not given by number: names belong to the system that the
    /// pool is from.
    pub fn parse(name: &str) -> std::result::Result<Self, String> {
        let invalid = || format!("invalid property '{name}'");
        let (property, of) = name.split_once('@').ok_or_else(invalid)?;
        let what = if property == "written" {
            let snapshot = if of.contains('@') { of.to_owned() } else { format!("@{of}") };
            What::Written(snapshot)
        } else {
            let account = *ACCOUNTS.iter().find(|account| account.name == property).ok_or_else(invalid)?;
            let id = of.parse::<u32>().map_err(|_| {
                format!("invalid property '{name}': users, groups and projects are named by their numbers")
            })?;
            What::Account(account, id.into())
        };
        Ok(Self { name: name.to_owned(), what })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Formats a value like `zfs get`: in full, or for people.
    #[must_use]
    pub fn show(&self, value: &Value, literal: bool) -> String {
        let Value::Number(number) = *value else { return value.literal(None) };
        match self.what {
            _ if literal => number.to_string(),
            What::Account(Account { is_limit: true, .. }, _) if number == 0 => "none".to_owned(),
            What::Account(Account { counted: Counted::Objects, .. }, _) => nice_number(number),
            _ => nice_bytes(number),
        }
    }
}

impl Props {
    /// Returns a property of one user, group, project or snapshot; `None` if it does not apply, is not counted, or needs
    /// a key that is not loaded.
    ///
    /// # Errors
    /// Fails if its source cannot be read.
    pub fn single(&self, single: &Single) -> Result<Option<PropertyValue>> {
        let Subject::Dataset(dataset) = &self.subject else { return Ok(None) };
        let number = match &single.what {
            What::Written(snapshot) => written_since(dataset, snapshot)?,
            // Like zfs, which does not open an encrypted filesystem without its key, even for quotas, which are not
            // encrypted.
            What::Account(..) if is_locked(dataset)? => None,
            What::Account(account, id) => match &self.objset {
                Some(set) => self.account(set, account, *id)?,
                None => None,
            },
        };
        let found = |number| PropertyValue::new(Value::Number(number), Source::Local);
        Ok(number.map(found))
    }

    /// Returns the amount that is counted for an id, or its limit (`zfs_userspace_one`).
    fn account(&self, set: &Objset, account: &Account, id: u64) -> Result<Option<u64>> {
        let Account { owner, counted, is_limit, .. } = *account;
        if !set.counts(owner, counted) {
            return Ok(None);
        }
        if !is_limit {
            return Ok(Some(set.used_by(owner, counted, id)?));
        }
        let limit = self.setting(&format!("{}@{id}", account.name));
        Ok(limit.transpose()?.map(Option::unwrap_or_default))
    }
}

/// Returns the bytes written since an earlier snapshot of the line (`dsl_dataset_space_written`); `None` if it is not in
/// the line.
fn written_since(dataset: &Dataset, snapshot: &str) -> Result<Option<u64>> {
    let head = dataset.dir().name();
    let name = if snapshot.starts_with('@') { format!("{head}{snapshot}") } else { snapshot.to_owned() };
    let earlier = match dataset.dsl().dataset(&name) {
        Ok(earlier) if dataset.is_after(&earlier)? => earlier,
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = dataset.phys().referenced_bytes.wrapping_sub(earlier.phys().referenced_bytes);
    let (mut between, mut own) = (None, dataset);
    while own.object() != earlier.object() {
        bytes = bytes.wrapping_add(dead_since(own, &earlier)?);
        let missing = || Error::corrupt("DSL dataset", format!("{} has no origin", own.name()));
        let previous = own.previous()?.ok_or_else(missing)?;
        own = between.insert(previous);
    }
    Ok(Some(bytes))
}

/// Returns the space of the blocks in a dataset's deadlist that `earlier` has.
fn dead_since(dataset: &Dataset, earlier: &Dataset) -> Result<u64> {
    let deadlist = Deadlist::of(dataset)?;
    let txg = earlier.phys().creation_txg;
    if dataset.phys().prev_snapshot_txg == txg {
        return Ok(deadlist.space.used_bytes);
    }
    if deadlist.entries.is_empty() {
        let what = format!(
            "the space written since {} in the format of deadlists before version 26",
            earlier.name()
        );
        return Err(Error::unsupported(what));
    }
    let mos = &**dataset.dsl().mos();
    let older = deadlist.entries.iter().filter(|entry| entry.min_txg < txg);
    older.map(|entry| Ok(BpObj::open(mos, entry.blocks)?.bytes)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let single = Single::parse("userobjquota@1000").unwrap();
        assert_eq!(single.name(), "userobjquota@1000");
        assert_eq!(
            single.what,
            What::Account(Account::new("userobjquota", Owner::User, Counted::Objects, true), 1000)
        );
        assert_eq!(Single::parse("written@a").unwrap().what, What::Written("@a".to_owned()));
        assert_eq!(Single::parse("written@p/fs@a").unwrap().what, What::Written("p/fs@a".to_owned()));
        assert_eq!(Single::parse("used@a").unwrap_err(), "invalid property 'used@a'");
        assert!(Single::parse("userused@root").unwrap_err().contains("by their numbers"));
    }

    #[test]
    fn values_have_the_units_of_zfs() {
        let show =
            |name: &str, number, literal| Single::parse(name).unwrap().show(&Value::Number(number), literal);
        assert_eq!(show("userused@0", 512, false), "512B");
        assert_eq!(show("userobjused@0", 512, false), "512");
        assert_eq!(show("userquota@0", 0, false), "none");
        assert_eq!(show("userquota@0", 0, true), "0");
        assert_eq!(show("written@a", 1 << 20, false), "1M");
    }
}
