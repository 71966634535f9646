//! Shared code of the verbs that change datasets: open the pool, change it in one transaction group, log the command
//! in its history, and export it. An error leaves the pool unchanged.

use zstream_dsl::write::WritablePool;

use crate::failure::Failure;
use crate::pool::{PoolOptions, warn_unsearched};

/// Opens the pool that contains `name`, changes it, and exports it.
pub(crate) fn change<T>(
    options: &PoolOptions,
    name: &str,
    change: impl FnOnce(&mut WritablePool) -> Result<T, Failure>,
) -> Result<T, Failure> {
    options.place_to_write()?.change(name, &command_line(), |pool| {
        warn_unsearched(pool);
        change(pool)
    })
}

/// The same without writing: the pool is unchanged.
pub(crate) fn try_change<T>(
    options: &PoolOptions,
    name: &str,
    change: impl FnOnce(&mut WritablePool) -> Result<T, Failure>,
) -> Result<T, Failure> {
    options.place_to_write()?.rehearse(name, change)
}

/// The command line, as logged in the pool history.
pub(crate) fn command_line() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    words.join(" ")
}
