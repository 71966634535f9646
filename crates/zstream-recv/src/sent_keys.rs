//! Datasets of a raw package that share a key at the sender.
//!
//! A stream contains wrapped keys, but not the key that wraps them. The tree at the sender shows whether the same key
//! wraps the keys of two datasets: they then have the same encryption root. For passphrases, the salt shows it too,
//! since every change of the key takes a new one.

use zstream_dmu::zio::crypt::{KeyFormat, WrappedKey};
use zstream_dsl::CryptoKey;
use zstream_format::nvlist::NvString;
use zstream_format::summary::{Dataset, PackageList};

use crate::rules::KeyData;

/// The limit on steps to the encryption root of a dataset: datasets cannot be nested or cloned so deeply.
const STEPS_MAX: usize = 10_000;

/// The wrapped keys in a package.
#[derive(Debug, Default)]
pub(crate) struct SentKeys {
    /// Wrapped keys with the name of their dataset at the sender.
    keys: Vec<(NvString, WrappedKey)>,
}

/// The encryption root of a dataset at the sender.
#[derive(Debug, PartialEq, Eq)]
enum Root<'a> {
    /// A dataset of the package.
    Dataset(&'a NvString),
    /// A dataset above the package.
    Above,
}

impl SentKeys {
    /// Registers the keys in the stream of a dataset.
    pub(crate) fn note(&mut self, sent: &Dataset, keys: &KeyData) {
        self.keys.retain(|(name, _)| *name != sent.name);
        self.keys.push((sent.name.clone(), keys.data.wrapped.clone()));
    }

    /// Returns `true` if the same user key is known to wrap the keys of two datasets.
    pub(crate) fn have_same_key(&self, list: &PackageList, a: &CryptoKey, b: &CryptoKey) -> bool {
        if a.format != b.format {
            return false;
        }
        // Salts are random and never 0.
        if matches!(a.format, KeyFormat::Passphrase { salt, .. } if salt != 0) {
            return true;
        }
        let root = |keys: &CryptoKey| {
            let (name, _) = self.keys.iter().find(|(_, wrapped)| *wrapped == keys.wrapped)?;
            root(list, list.datasets.iter().find(|dataset| dataset.name == *name)?)
        };
        root(a).is_some_and(|of_a| root(b) == Some(of_a))
    }
}

/// Returns the encryption root of a dataset at the sender; `None` if it is unknown.
fn root<'a>(list: &'a PackageList, dataset: &'a Dataset) -> Option<Root<'a>> {
    let mut at = dataset;
    for _ in 0..STEPS_MAX {
        if at.is_encryption_root {
            return Some(Root::Dataset(&at.name));
        }
        at = match at.origin {
            // A clone has the keys of its origin, wherever the clone is in the tree.
            Some(origin) => crate::sent::entry(Some(list), origin)?.0,
            None => {
                let name = at.name.to_str()?;
                let named = |above: &str| list.datasets.iter().find(|other| other.name == above);
                let mut above = name.match_indices('/').rev().map(|(end, _)| named(&name[..end]));
                match above.next().flatten() {
                    Some(parent) => parent,
                    // If just the dataset between is missing from the list, it may be an encryption root.
                    None if above.any(|found| found.is_some()) => return None,
                    None => return Some(Root::Above),
                }
            }
        };
    }
    None
}
