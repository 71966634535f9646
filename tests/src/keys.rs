//! What must hold of the keys of every pool: the key of an encryption root opens the keys of all that name it.

use std::collections::BTreeMap;
use std::sync::Arc;

use zstream_dmu::error::Result;
use zstream_dsl::dataset::Dir;
use zstream_dsl::{CryptoKey, Dsl};

/// Loads the keys of all encryption roots, and gives by the name of each which of `known` it is. The error names the first
/// dataset whose key no key opens as its encryption root says.
///
/// # Panics
/// The pool cannot be read.
pub fn open_all(dsl: &Arc<Dsl>, known: &[Vec<u8>]) -> Result<BTreeMap<String, usize>, String> {
    let mut dirs: Vec<(Arc<Dir>, CryptoKey)> = Vec::new();
    dsl.walk(&mut |dir| {
        dirs.extend(CryptoKey::of(dir)?.map(|keys| (Arc::clone(dir), keys)));
        Ok(())
    })
    .expect("datasets with their keys");
    let mut roots = BTreeMap::new();
    for (dir, keys) in &dirs {
        let name = dir.name();
        let Ok(root) = dsl.dir_by_object(keys.root) else {
            return Err(format!("the encryption root of {name} is not there"));
        };
        let of_root = CryptoKey::of(&root).expect("keys");
        if of_root.is_none_or(|keys| keys.root != root.object()) {
            return Err(format!("{}, the encryption root of {name}, is not one", root.name()));
        }
        if root.object() != dir.object() {
            continue;
        }
        if dir.origin().expect("an origin").is_some() {
            return Err(format!("{name} is a clone and an encryption root"));
        }
        let opened = known.iter().enumerate().find_map(|(n, key)| Some((n, dsl.open_keys(&root, key).ok()?)));
        let Some((n, opened)) = opened else { return Err(format!("no key opens {name}")) };
        if let Some(locked) = opened.locked.first() {
            return Err(format!("the key of {name} does not open {}", locked.name()));
        }
        dsl.load_key(&root, &known[n]).expect("a key that opens");
        roots.insert(name.to_owned(), n);
    }
    Ok(roots)
}
