//! The tasks that are a call of cargo.

use crate::run::{Outcome, cargo, output, run};
use cargo_metadata::MetadataCommand;

/// `fmt`
pub(crate) fn fmt(_: &[String]) -> Outcome {
    run(cargo(&["fmt", "--all", "--check"]))
}

/// `clippy`
pub(crate) fn clippy(_: &[String]) -> Outcome {
    run(cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

/// `docs`: private items too, so that no link rots; public ones that link to private ones are found as well.
pub(crate) fn docs(_: &[String]) -> Outcome {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}

/// `test`: all packages in one build. A build of some of them would compile most crates again, with other features.
pub(crate) fn test(_: &[String]) -> Outcome {
    run(cargo(&["test", "--workspace", "--locked"]))
}

/// `test-golden`
pub(crate) fn test_golden(_: &[String]) -> Outcome {
    run(cargo(&["test", "--package", "zstream-tests", "--locked"]))
}

/// Crates whose name says that they build C code. `-sys` at the end says it too, but for those that only declare.
const C_BUILDERS: &[&str] = &["cc", "cmake", "pkg-config", "bindgen"];
const ONLY_DECLARE: &[&str] = &["linux-raw-sys"];

/// `features`: a user of the library who asks for no codec needs no C compiler, and each crate builds when it is the only
/// one asked for.
pub(crate) fn features(_: &[String]) -> Outcome {
    const CRATE: &str = "zstream-format";
    let metadata =
        MetadataCommand::new().no_deps().current_dir(crate::run::root()).exec().map_err(|e| e.to_string())?;
    let package = metadata.packages.iter().find(|p| p.name == CRATE).ok_or(format!("no package {CRATE}"))?;
    let clippy = |package: &str, more: &[&str]| {
        let fixed = ["clippy", "--quiet", "--locked", "-p", package];
        run(cargo(&[&fixed, more, &["--", "-D", "warnings"]].concat()))
    };
    clippy(CRATE, &["--no-default-features"])?;
    for feature in package.features.keys().filter(|f| *f != "default") {
        clippy(CRATE, &["--no-default-features", "--features", feature])?;
    }
    for package in &metadata.packages {
        clippy(&package.name, &[])?;
    }
    // The library, and every crate below it.
    clippy("zstream", &["--no-default-features"])?;
    [CRATE, "zstream"].into_iter().try_for_each(without_c)
}

/// Fails unless a package builds C code with its default features, and none without.
fn without_c(package: &str) -> Outcome {
    let format = ["--edges", "normal,build", "--prefix", "none", "--format", "{p}", "--locked"];
    let builders = |more: &[&str]| {
        let tree = output(cargo(&[&["tree", "-p", package], &format[..], more].concat()))?;
        Ok::<_, String>(c_builders(&tree))
    };
    if builders(&[])?.is_empty() {
        return Err(format!("found no C code in {package} with zstd: this check has gone blind"));
    }
    match builders(&["--no-default-features"])? {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{package} without features builds C code: {}", found.join(", "))),
    }
}

/// The crates in `cargo tree`'s output that build C code.
fn c_builders(tree: &str) -> Vec<String> {
    let mut names: Vec<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| C_BUILDERS.contains(name) || name.ends_with("-sys") && !ONLY_DECLARE.contains(name))
        .map(String::from)
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::c_builders;

    /// C code is found by name, and a crate that only sounds like it is not.
    #[test]
    fn c_code_is_found_in_a_tree() {
        let tree = "zstream-format v0.1.0 (/src)\nzstd-sys v2.0.0\ncc v1.2.0\nccm v0.5.0\ncc v1.2.0 (*)\n";
        assert_eq!(c_builders(tree), ["cc", "zstd-sys"]);
    }
}
