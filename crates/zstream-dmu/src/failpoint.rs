//! Failures that tests inject into writable object sets: into changes of objects, and into reads of what is on disk.
//!
//! Each of these is a step. Steps are counted for each thread, so that tests that run at the same time do not meet.

use std::cell::Cell;
use std::ops::Range;

use crate::error::{Error, Result};

/// The steps that fail, and their error.
#[derive(Clone, Copy)]
struct Plan {
    first: u64,
    end: u64,
    error: fn() -> Error,
}

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
}

/// Makes these steps of this thread fail, counted from now on, with the error that a function returns.
pub fn fail(steps: Range<u64>, error: fn() -> Error) {
    TAKEN.set(0);
    PLAN.set(Some(Plan { first: steps.start, end: steps.end, error }));
}

/// Lets all steps of this thread succeed, and counts them no longer.
pub fn stop() {
    PLAN.set(None);
}

/// Returns how many steps this thread has taken since [`fail`].
#[must_use]
pub fn taken() -> u64 {
    TAKEN.get()
}

/// Takes a step, which fails if a test has planned that.
pub(crate) fn step() -> Result<()> {
    let Some(Plan { first, end, error }) = PLAN.get() else { return Ok(()) };
    let at = TAKEN.replace(TAKEN.get() + 1);
    if (first..end).contains(&at) { Err(error()) } else { Ok(()) }
}
