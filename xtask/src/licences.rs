//! The licences of everything that is linked or built, against the list in `deny.toml`.
//!
//! `cargo deny check` says more (advisories, bans, sources) but needs the network; this needs only what cargo has.

use std::collections::BTreeSet;

use crate::run::{Outcome, root};
use cargo_metadata::MetadataCommand;
use spdx::{Expression, ParseMode};

/// The part of `deny.toml` that is read here.
#[derive(serde::Deserialize)]
struct Deny {
    licenses: Licenses,
}

/// `[licenses]`
#[derive(serde::Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

/// A licence that one crate may have.
#[derive(serde::Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

/// The workspaces: the main one, and that of the fuzzer that cargo-fuzz builds.
const WORKSPACES: [&str; 2] = [".", "fuzz"];

/// `licences`
pub(crate) fn task(_: &[String]) -> Outcome {
    let Licenses { allow, exceptions } = allowed()?;
    let mut refused = Vec::new();
    let mut packages = BTreeSet::new();
    for workspace in WORKSPACES {
        let mut command = MetadataCommand::new();
        command.current_dir(root().join(workspace)).other_options(vec!["--locked".into()]);
        for package in command.exec().map_err(|e| e.to_string())?.packages {
            let own = exceptions.iter().filter(|exception| exception.name == package.name.as_str());
            let allow: Vec<String> = own.flat_map(|own| &own.allow).chain(&allow).cloned().collect();
            if let Err(why) = judge(package.license.as_deref().unwrap_or(""), &allow) {
                refused.push(format!("{} {}: {why}", package.name, package.version));
            }
            packages.insert((package.name.to_string(), package.version));
        }
    }
    if !refused.is_empty() {
        return Err(refused.join("\n"));
    }
    println!("{} packages, all of them under allowed licences", packages.len());
    Ok(())
}

/// The licences that `deny.toml` allows.
fn allowed() -> Result<Licenses, String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).map_err(|e| format!("deny.toml: {e}"))?;
    let deny: Deny = toml::from_str(&text).map_err(|e| format!("deny.toml: {e}"))?;
    Ok(deny.licenses)
}

/// Whether an SPDX expression is satisfied by the allowed licences.
fn judge(licence: &str, allow: &[String]) -> Outcome {
    let expression = Expression::parse_mode(licence, ParseMode::LAX)
        .map_err(|_| format!("no SPDX licence: {licence:?}"))?;
    let is_allowed = |requirement: &spdx::LicenseReq| {
        requirement.addition.is_none()
            && requirement.license.id().is_some_and(|id| allow.iter().any(|name| name == id.name))
            || allow.iter().any(|name| *name == requirement.to_string())
    };
    if expression.evaluate(is_allowed) {
        Ok(())
    } else {
        Err(format!("{licence} is not allowed by deny.toml"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A licence that is not in the list is refused, alone and as a part that cannot be avoided.
    #[test]
    fn licences_are_judged() {
        let allow = ["MIT".to_string(), "Apache-2.0".to_string(), "Unicode-3.0".to_string()];
        for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert_eq!(judge(good, &allow), Ok(()), "{good}");
        }
        for bad in ["GPL-3.0-only", "CDDL-1.0", "MIT AND CDDL-1.0", "", "whatever"] {
            assert!(judge(bad, &allow).is_err(), "{bad}");
        }
    }

    /// The list of this repository is read, and OpenZFS's own licence is not in it.
    #[test]
    fn the_list_is_read() {
        let allow = allowed().unwrap().allow;
        assert!(allow.iter().any(|name| name == "MIT"));
        assert!(judge("CDDL-1.0", &allow).is_err());
    }
}
