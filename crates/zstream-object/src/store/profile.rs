//! The configuration of Amazon's own tools: environment variables first, then the profile files.
//!
//! ```text
//! ~/.aws/credentials   [NAME]           aws_access_key_id, aws_secret_access_key, aws_session_token
//! ~/.aws/config        [profile NAME]   the same, and region, endpoint_url
//! ```

#![cfg(feature = "aws")]

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::location::client;

/// The keys of profile files, with those of the builder.
const KEYS: [(&str, AmazonS3ConfigKey); 5] = [
    ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
    ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
    ("aws_session_token", AmazonS3ConfigKey::Token),
    ("region", AmazonS3ConfigKey::Region),
    ("endpoint_url", AmazonS3ConfigKey::Endpoint),
];

/// The variables that name credentials in another way than a profile.
const OTHER_CREDENTIALS: [&str; 4] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Returns the builder of the store at `url`.
///
/// # Errors
/// Fails if the profile that the environment names does not exist.
pub(super) fn s3(url: &str) -> io::Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::from_env().with_url(url);
    let profile = profile(&|name| std::env::var_os(name))?;
    let has_others = OTHER_CREDENTIALS.iter().any(|name| std::env::var_os(name).is_some());
    for (name, key) in KEYS {
        let is_credential = name.starts_with("aws_");
        if builder.get_config_value(&key).is_none()
            && !(is_credential && has_others)
            && let Some(value) = profile.get(name)
        {
            builder = builder.with_config(key, value);
        }
    }
    // Whoever names an endpoint without TLS wants to use it.
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let allows = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true" || value == "1");
    Ok(builder.with_client_options(client().with_allow_http(is_plain || allows)))
}

/// Returns the values of the profile that the environment selects. The default profile may be missing.
fn profile(variable: &dyn Fn(&str) -> Option<OsString>) -> io::Result<HashMap<String, String>> {
    let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(PathBuf::from);
    let file = |name: &str, default: &str| match variable(name) {
        Some(path) => Some(PathBuf::from(path)),
        None => home().map(|home| home.join(".aws").join(default)),
    };
    let chosen = variable("AWS_PROFILE").map(|name| name.to_string_lossy().into_owned());
    let name = chosen.as_deref().unwrap_or("default");
    let mut found = HashMap::new();
    let mut is_there = false;
    for (path, section) in [
        (
            file("AWS_CONFIG_FILE", "config"),
            if name == "default" { name.to_owned() } else { format!("profile {name}") },
        ),
        (file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), name.to_owned()),
    ] {
        let Some(path) = path else { continue };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        };
        if let Some(values) = read_section(&text, &section) {
            is_there = true;
            found.extend(values);
        }
    }
    match chosen {
        Some(name) if !is_there => {
            let text = format!("AWS_PROFILE names {name:?}, which is not in the profile files");
            Err(io::Error::new(io::ErrorKind::NotFound, text))
        }
        _ => Ok(found),
    }
}

/// Returns the values of a section; none if there is no such section. Indented lines are nested values, which are
/// ignored.
fn read_section(text: &str, section: &str) -> Option<HashMap<String, String>> {
    let mut found = None;
    let mut is_inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_inside = name.split_whitespace().eq(section.split_whitespace());
            if is_inside {
                found.get_or_insert_with(HashMap::new);
            }
        } else if is_inside
            && !line.starts_with([' ', '\t'])
            && let (Some((name, value)), Some(found)) = (trimmed.split_once('='), &mut found)
        {
            found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_both_files() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".aws");
        std::fs::create_dir(&folder).unwrap();
        let config = "# comment\n[default]\nregion = eu-west-1\ns3 =\n  region = nested\n[profile lab]\n\
                      region=us-east-2\nendpoint_url = http://localhost:9000\naws_access_key_id = from-config\n";
        std::fs::write(folder.join("config"), config).unwrap();
        let credentials = "[default]\naws_access_key_id = A\naws_secret_access_key = B=C\n\n[lab]\n\
                           aws_access_key_id = L\n; comment\naws_session_token = T\n";
        std::fs::write(folder.join("credentials"), credentials).unwrap();
        let with = |name: Option<&str>| {
            let (home, name) = (home.path().as_os_str().to_owned(), name.map(OsString::from));
            profile(&move |variable| match variable {
                "HOME" => Some(home.clone()),
                "AWS_PROFILE" => name.clone(),
                _ => None,
            })
        };
        let default = with(None).unwrap();
        assert_eq!(
            (default["region"].as_str(), default["aws_secret_access_key"].as_str()),
            ("eu-west-1", "B=C")
        );
        let lab = with(Some("lab")).unwrap();
        assert_eq!(
            (lab["region"].as_str(), lab["endpoint_url"].as_str()),
            ("us-east-2", "http://localhost:9000")
        );
        assert_eq!((lab["aws_access_key_id"].as_str(), lab["aws_session_token"].as_str()), ("L", "T"));
        assert!(with(Some("other")).unwrap_err().to_string().contains("other"));
        assert!(profile(&|_| None).unwrap().is_empty());
    }
}
