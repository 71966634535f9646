//! Errors of stores as errors of devices.

use std::error::Error;
use std::io::{self, ErrorKind};

use object_store::Error as StoreError;

/// Returns the error of the system in the chain of causes, if there is one.
fn system_error(error: &StoreError) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// Returns `true` if the same request may succeed later.
pub(super) fn is_transient(error: &StoreError) -> bool {
    match error {
        StoreError::Generic { .. } => !matches!(
            system_error(error).map(io::Error::kind),
            Some(ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
        ),
        StoreError::JoinError { .. } => true,
        _ => false,
    }
}

/// Returns the error with the name of its object.
pub(super) fn io_error(place: &str, error: &StoreError) -> io::Error {
    let kind = match error {
        StoreError::NotFound { .. } => ErrorKind::NotFound,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => ErrorKind::AlreadyExists,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            ErrorKind::PermissionDenied
        }
        StoreError::NotImplemented { .. } | StoreError::NotSupported { .. } => ErrorKind::Unsupported,
        StoreError::InvalidPath { .. } => ErrorKind::InvalidInput,
        _ => system_error(error).map_or(ErrorKind::Other, io::Error::kind),
    };
    let text = match (kind, system_error(error)) {
        (ErrorKind::NotFound, _) => "the object does not exist".to_owned(),
        (_, Some(system)) if matches!(error, StoreError::Generic { store: "LocalFileSystem", .. }) => {
            system.to_string()
        }
        _ => error.to_string(),
    };
    io::Error::new(kind, format!("{place}: {text}"))
}
