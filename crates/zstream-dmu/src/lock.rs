//! Locks, and the state of their content after a panic.
//!
//! A panic is a bug, and a lock must not turn one into another. Content that is only replaced as a whole, or that is
//! a cache, is valid after a panic: [`lock`], [`read`] and [`write`](fn@write) ignore poisoning. Content that is changed in
//! several steps may be inconsistent: code that would write it to a pool uses [`intact`], which fails.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::error::{Error, Result};

/// Locks a mutex, also after a panic.
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

/// Locks a mutex, unless a thread panicked while it held the lock.
///
/// # Errors
/// Fails if a thread panicked: `what` may be inconsistent.
pub(crate) fn intact<'a, T>(mutex: &'a Mutex<T>, what: &str) -> Result<MutexGuard<'a, T>> {
    mutex.lock().map_err(|_| Error::internal(format!("{what} may be inconsistent: a thread panicked")))
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
