//! The packages of the workspace as crates.io would get them.

use crate::run::{Outcome, cargo, output, root};
use cargo_metadata::{MetadataCommand, Package};

/// Files that every package carries.
const REQUIRED: &[&str] = &["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Size limit of one file. Golden data and images belong to `tests/golden`, which no package contains.
const MAX_FILE_BYTES: u64 = 256 << 10;

/// Size limit of all files of a package, before compression.
const MAX_PACKAGE_BYTES: u64 = 3 << 20;

/// A file of a package: its path there, and its size.
type File = (String, u64);

/// `packages`
pub(crate) fn task(_: &[String]) -> Outcome {
    let metadata =
        MetadataCommand::new().no_deps().current_dir(root()).exec().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    let mut count = 0;
    for package in metadata.workspace_packages().into_iter().filter(|package| is_published(package)) {
        let fields = missing_fields(package).into_iter().map(|field| format!("Cargo.toml has no {field}"));
        let faults = faults(&files(package)?);
        found.extend(fields.chain(faults).map(|fault| format!("{}: {fault}", package.name)));
        count += 1;
    }
    if !found.is_empty() {
        return Err(found.join("\n"));
    }
    println!("{count} packages, each with its licences and within its size limit");
    Ok(())
}

/// True unless the manifest says `publish = false`.
fn is_published(package: &Package) -> bool {
    package.publish.as_ref().is_none_or(|registries| !registries.is_empty())
}

/// The fields of a manifest that crates.io shows and that are not set.
fn missing_fields(package: &Package) -> Vec<&'static str> {
    let fields = [
        ("description", package.description.is_some()),
        ("license", package.license.is_some()),
        ("repository", package.repository.is_some()),
        ("readme", package.readme.is_some()),
        ("rust-version", package.rust_version.is_some()),
        ("keywords", !package.keywords.is_empty()),
        ("categories", !package.categories.is_empty()),
    ];
    fields.into_iter().filter(|(_, is_set)| !is_set).map(|(name, _)| name).collect()
}

/// The files of a package. Those that cargo generates while it packages have no size yet and count as empty.
fn files(package: &Package) -> Result<Vec<File>, String> {
    let name = package.name.as_str();
    let list = output(cargo(&["package", "--list", "--allow-dirty", "--offline", "--quiet", "-p", name]))?;
    let dir = package.manifest_path.parent().ok_or("a manifest without a directory")?;
    let size = |path: &str| std::fs::metadata(dir.join(path)).map_or(0, |metadata| metadata.len());
    Ok(list.lines().map(|path| (path.to_string(), size(path))).collect())
}

/// What is wrong with the files of a package.
fn faults(files: &[File]) -> Vec<String> {
    let missing = REQUIRED.iter().filter(|name| !files.iter().any(|(path, _)| path == *name));
    let large = files.iter().filter(|(_, bytes)| *bytes > MAX_FILE_BYTES);
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let mut found: Vec<String> = missing.map(|name| format!("{name} is missing")).collect();
    found.extend(large.map(|(path, bytes)| format!("{path} has {bytes} bytes, limit {MAX_FILE_BYTES}")));
    if total > MAX_PACKAGE_BYTES {
        found.push(format!("all files have {total} bytes, limit {MAX_PACKAGE_BYTES}"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Vec<File> {
        REQUIRED.iter().map(|name| (name.to_string(), 1000)).collect()
    }

    /// A missing licence, a large file and a large package are each reported.
    #[test]
    fn faults_are_reported() {
        assert_eq!(faults(&complete()), Vec::<String>::new());
        assert_eq!(faults(&complete()[..2]), ["LICENSE-MIT is missing", "README.md is missing"]);
        let with = |more: &[File]| faults(&[&complete(), more].concat());
        let large = with(&[("tests/tank.img".into(), MAX_FILE_BYTES + 1)]);
        assert_eq!(large, ["tests/tank.img has 262145 bytes, limit 262144"]);
        let many: Vec<File> = (0..13).map(|n| (format!("{n}.zfs"), MAX_FILE_BYTES)).collect();
        assert_eq!(with(&many), ["all files have 3411872 bytes, limit 3145728"]);
    }
}
