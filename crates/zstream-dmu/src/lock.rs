//! Locks, and what a panic leaves of their content.
//!
//! A panic is a fault of this program, and no lock turns one into another. Content that is only ever replaced as a whole, or
//! that is a cache, is good after a panic: [`lock`], [`read`] and [`write`] go through. Content that takes several steps to
//! change may be half changed: what would write to a pool because of it uses [`intact`], which refuses.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, Result};

/// Locks, also after a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading, also after a panic.
pub(crate) fn read<T: ?Sized>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, also after a panic.
pub(crate) fn write<T: ?Sized>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Locks, unless a thread panicked while it held the lock.
///
/// # Errors
/// A thread did: `what` may be half changed.
pub(crate) fn intact<'a, T>(mutex: &'a Mutex<T>, what: &str) -> Result<MutexGuard<'a, T>> {
    mutex.lock().map_err(|_| Error::internal(format!("{what} may be half changed: a thread panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;

    #[test]
    fn a_panic_poisons_only_what_takes_several_steps() {
        let mutex = Mutex::new(1);
        let panicked = std::thread::scope(|scope| {
            let held = scope.spawn(|| {
                let _held = mutex.lock();
                std::panic::resume_unwind(Box::new("a panic"));
            });
            held.join()
        });
        assert!(panicked.is_err() && mutex.is_poisoned());
        assert_eq!(*lock(&mutex), 1);
        let error = intact(&mutex, "the number").unwrap_err();
        assert!(matches!(error.fault(), Fault::Internal(_)), "{error}");
    }
}
