//! The URLs of pools, and the stores that they name.
//!
//! ```text
//! file:///dir          a local directory
//! s3://bucket/prefix   Amazon S3, and everything that speaks its protocol (AWS_ENDPOINT_URL)
//! gs://bucket/prefix   Google Cloud Storage
//! az://container/prefix   Azure Blob Storage
//! https://host/dir     a web server with WebDAV listings, for reading
//! ```
//!
//! Credentials never are part of a URL: URLs are visible in lists of processes, and in the labels of pools.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use super::{Patience, Store};

/// Returns `true` if a name is a URL, and not a path.
pub(crate) fn is_url(name: &str) -> bool {
    name.split_once("://").is_some_and(|(scheme, _)| {
        let mut letters = scheme.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || b"+-.".contains(&letter))
    })
}

/// The place of a pool in object storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    url: Url,
}

fn refuse(text: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.to_string())
}

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// Fails if it is not a URL, or has parts that the URL of a pool does not have.
    pub(crate) fn parse(text: &str) -> io::Result<Self> {
        let mut url = Url::parse(text).map_err(|error| refuse(format_args!("not a valid URL: {error}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(
                "credentials in a URL are visible to everybody: set them in the environment or in the files of the \
                 cloud's own tools",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("the URL of a pool has neither `?` nor `#`"));
        }
        if url.scheme() == "file" && url.to_file_path().is_err() {
            return Err(refuse("the directory in the URL must be absolute: file:///DIRECTORY"));
        }
        if ["s3", "gs", "az"].contains(&url.scheme()) && url.host_str().is_none_or(str::is_empty) {
            return Err(refuse(format_args!("the URL has no bucket: {}://BUCKET/PREFIX", url.scheme())));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if url.scheme() == "file" && path.is_empty() {
            return Err(refuse(
                "the root of the file system is not a bucket: name a directory, file:///DIRECTORY",
            ));
        }
        url.set_path(&path);
        Ok(Self { url })
    }

    /// Returns the URL in its only form.
    pub(crate) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Returns `true` if objects cannot be created.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self.url.scheme(), "http" | "https")
    }

    /// Returns the local directory, if it is one.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        if self.url.scheme() == "file" { self.url.to_file_path().ok() } else { None }
    }

    /// Deletes the files in a folder of a local directory that interrupted programs left: those that were about to get the
    /// name of an object, for which `is_left` is `true`. Returns their number and size; with `dry_run`, only counts.
    ///
    /// # Errors
    /// Fails if the folder cannot be listed, or a file not be deleted.
    pub(crate) fn delete_left(
        &self,
        folder: &str,
        dry_run: bool,
        is_left: &dyn Fn(&str) -> bool,
    ) -> io::Result<(u64, u64)> {
        let mut found = (0, 0);
        let Some(directory) = self.directory().map(|directory| directory.join(folder)) else {
            return Ok(found);
        };
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // The name of the object, `#` and a number.
            let Some((object, number)) = name.to_str().and_then(|name| name.split_once('#')) else {
                continue;
            };
            if number.bytes().all(|digit| digit.is_ascii_digit()) && is_left(object) {
                found = (found.0 + 1, found.1 + entry.metadata()?.len());
                if !dry_run {
                    std::fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(found)
    }

    /// Opens the store. A local directory is created if `create` is `true`.
    ///
    /// # Errors
    /// Fails with `NotFound` if a local directory does not exist, with `Unsupported` if this build does not have such
    /// stores, and if the environment does not say how to reach it.
    pub(crate) fn open(&self, create: bool) -> io::Result<Store> {
        if let Some(directory) = self.directory() {
            return self.open_directory(&directory, create);
        }
        let (inner, prefix) = self.connect()?;
        Ok(Store::new(inner, prefix, self.url().to_owned(), Patience::NETWORK))
    }

    /// Returns the client of the store, and the prefix of the pool in it.
    fn connect(&self) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
        let (url, scheme) = (self.url.as_str(), self.url.scheme());
        let path = || Path::from_url_path(self.url.path()).map_err(refuse);
        match scheme {
            #[cfg(feature = "aws")]
            "s3" => Ok((Arc::new(super::profile::s3(url)?.build().map_err(refuse)?), path()?)),
            #[cfg(feature = "gcp")]
            "gs" => {
                let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env().with_url(url);
                Ok((Arc::new(builder.with_client_options(client()).build().map_err(refuse)?), path()?))
            }
            #[cfg(feature = "azure")]
            "az" => {
                let builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_url(url);
                Ok((Arc::new(builder.with_client_options(client()).build().map_err(refuse)?), path()?))
            }
            #[cfg(feature = "http")]
            "http" | "https" => {
                let builder = object_store::http::HttpBuilder::new().with_url(url);
                let options = client().with_allow_http(scheme == "http");
                Ok((Arc::new(builder.with_client_options(options).build().map_err(refuse)?), Path::default()))
            }
            _ => {
                let _ = (path, url);
                let text = format!("{scheme}:// is not supported: use file, s3, gs, az or https");
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    fn open_directory(&self, directory: &std::path::Path, create: bool) -> io::Result<Store> {
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
        if create {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        if !std::fs::metadata(directory).map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        let inner = LocalFileSystem::new_with_prefix(directory).map_err(refuse)?;
        let inner = Arc::new(inner.with_fsync(true));
        Ok(Store::new(inner, Path::default(), self.url().to_owned(), Patience::LOCAL))
    }
}

/// The options of clients: enough time for a large request on a slow line, and TLS with the certificates of the system.
#[cfg(feature = "cloud")]
pub(super) fn client() -> object_store::ClientOptions {
    use std::time::Duration;

    // If the program has chosen another provider, that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    object_store::ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(20))
        .with_timeout(Duration::from_secs(180))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_one_form_and_no_secrets() {
        for (text, url) in [
            ("file:///a/b/", "file:///a/b"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("S3://bucket/a/b//", "s3://bucket/a/b"),
            ("https://host:8080/dir/", "https://host:8080/dir"),
        ] {
            assert_eq!(Location::parse(text).unwrap().url(), url, "{text}");
        }
        for bad in [
            "s3://key:secret@bucket/x",
            "s3://key@bucket/x",
            "s3:///x",
            "s3://b/x?y=1",
            "file:///a#b",
            "file://host/a",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
        assert!(Location::parse("ftp://host/x").unwrap().open(false).is_err());
    }

    #[test]
    fn paths_are_not_urls() {
        for path in ["a.img", "/dev/sda", "./s3://x", "://x", "a/b://c", "3s://x"] {
            assert!(!is_url(path), "{path}");
        }
        assert!(is_url("s3://x") && is_url("memory://x"));
    }
}
