//! `zstream pool check`: verifies every copy of every block, and names the damaged files.

use zstream::OpenPool;
use zstream::check::check_pool;

use crate::failure::Failure;
use crate::output;
use crate::pool::PoolOptions;
use crate::progress::Meter;

/// The form of the output.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckFormat {
    /// As one JSON object.
    pub(super) json: bool,
    /// With every block and copy.
    pub(super) verbose: bool,
}

/// Runs the check and prints what it finds.
pub(super) fn run(open: &OpenPool, options: &PoolOptions, form: CheckFormat) -> Result<(), Failure> {
    let check = check_pool(open, options, &mut Meter::new(None).control())?;
    let name = open.pool.name();
    let text = if form.json {
        format!("{}\n", zstream::json::check(name, &check))
    } else {
        check.text(name, form.verbose)
    };
    output::print(&text)?;
    #[cfg(feature = "object")]
    let stored = super::bucket::check(options, form.json);
    #[cfg(not(feature = "object"))]
    let stored = Ok(());
    match check.fault(name) {
        None => stored,
        Some(fault) => Err(Failure::new(fault)),
    }
}
