//! Opening the golden pools with everything in them.

use std::path::PathBuf;
use std::sync::Arc;

use zstream_dmu::pool::{OpenOptions, Pool};
use zstream_dmu::zio::crypt::Keyring;
use zstream_dsl::Dsl;
use zstream_dsl::error::Fault;

use crate::errors::Result;

/// What unlocks the encrypted datasets of the golden pools and the golden raw streams.
pub const PASSPHRASE: &[u8] = b"correct horse";

/// A pool with its datasets; nothing is unlocked.
///
/// # Errors
///
/// It cannot be opened.
pub fn open(paths: &[PathBuf]) -> Result<Arc<Dsl>> {
    let pool = Pool::open(paths, &OpenOptions::default())?;
    let keyring = Arc::new(Keyring::default());
    pool.reader().set_keys(Some(keyring.clone()));
    Ok(Dsl::open(pool.name(), pool.mos().clone(), keyring)?)
}

/// A pool with its datasets, those that are encrypted unlocked with [`PASSPHRASE`].
///
/// # Errors
///
/// It cannot be opened, or the passphrase is not the one.
pub fn unlocked(paths: &[PathBuf]) -> Result<Arc<Dsl>> {
    let dsl = open(paths)?;
    dsl.walk(&mut |dir| match dsl.load_key(dir, PASSPHRASE) {
        Ok(_) => Ok(()),
        // Not an encryption root.
        Err(error) if matches!(error.fault(), Fault::NotEncrypted(_) | Fault::NotEncryptionRoot { .. }) => {
            Ok(())
        }
        Err(error) => Err(error),
    })?;
    Ok(dsl)
}
