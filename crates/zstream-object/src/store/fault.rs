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

/// Returns the status of an answer of a server that is not about an object, and the text that the server sent, which is
/// usually XML.
fn answer(error: &StoreError) -> Option<(u16, String)> {
    if !matches!(error, StoreError::Generic { .. }) {
        return None;
    }
    let text = error.to_string();
    let (_, rest) = text.split_once("status code: ")?;
    let status = rest.get(..3)?.parse().ok()?;
    let element = |name: &str| {
        let (_, rest) = rest.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned())
    };
    let parts: Vec<String> = ["Code", "Message"].iter().filter_map(|name| element(name)).collect();
    let text = if parts.is_empty() { rest.trim_end().to_owned() } else { parts.join(": ") };
    Some((status, text))
}

/// Returns `true` if the same request may succeed later.
pub(super) fn is_transient(error: &StoreError) -> bool {
    if let Some((status, _)) = answer(error) {
        // A request that took too long, a conflict with another one, too many requests, and faults of the server.
        return matches!(status, 408 | 409 | 429 | 500..);
    }
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
    let answered = answer(error).map(|(status, text)| format!("the server answered {status}: {text}"));
    let text = match (kind, system_error(error)) {
        (ErrorKind::NotFound, _) => "the object does not exist".to_owned(),
        (_, Some(system)) if matches!(error, StoreError::Generic { store: "LocalFileSystem", .. }) => {
            system.to_string()
        }
        _ => answered.unwrap_or_else(|| error.to_string()),
    };
    io::Error::new(kind, format!("{place}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_servers_are_understood() {
        let error = |text: &str| StoreError::Generic { store: "S3", source: text.to_owned().into() };
        let missing = error(
            "Error performing GET http://x in 4ms - Server returned non-2xx status code: 404 Not Found: <?xml?>\n\
             <Error><Code>NoSuchBucket</Code><Message>The bucket does not exist</Message></Error>",
        );
        assert!(!is_transient(&missing));
        let text = io_error("s3://b/gen", &missing).to_string();
        assert_eq!(text, "s3://b/gen: the server answered 404: NoSuchBucket: The bucket does not exist");
        for status in ["503 Slow Down", "500 Internal", "429 Too Many", "409 Conflict"] {
            assert!(is_transient(&error(&format!("Server returned non-2xx status code: {status}: x"))));
        }
        assert!(is_transient(&error("connection reset")));
        assert!(!is_transient(&error("status code: 403 Forbidden: x")));
        let full = StoreError::Generic {
            store: "LocalFileSystem",
            source: Box::new(io::Error::from(ErrorKind::StorageFull)),
        };
        assert!(!is_transient(&full));
        assert_eq!(io_error("x", &full).kind(), ErrorKind::StorageFull);
    }
}
