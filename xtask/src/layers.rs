//! The layers: which crate of the workspace may depend on which.
//!
//! ```text
//! format <- dmu <- dsl <- send <- zstream <- cli
//!            ^       ^--- recv <---|
//!            |----- zpl <----------|
//!            |----- view <---------'
//!            '----- object <------------- cli
//! ```
//!
//! The rule holds for every kind of dependency: a test must not reach up either. Tests that need a higher
//! layer live in `tests/`.
//!
//! Inside each crate the top-level modules are layered in the same way: see [`modules`].

mod imports;
mod modules;

use crate::run::Outcome;
use cargo_metadata::{Metadata, MetadataCommand};

/// Each crate and the crates of the workspace it may depend on.
const LAYERS: &[(&str, &[&str])] = &[
    ("zstream-format", &[]),
    ("zstream-dmu", &["zstream-format"]),
    ("zstream-dsl", &["zstream-format", "zstream-dmu"]),
    ("zstream-object", &["zstream-format", "zstream-dmu"]),
    ("zstream-zpl", &["zstream-format", "zstream-dmu"]),
    ("zstream-view", &["zstream-format", "zstream-dmu"]),
    ("zstream-send", &["zstream-format", "zstream-dmu", "zstream-dsl"]),
    ("zstream-recv", &["zstream-format", "zstream-dmu", "zstream-dsl"]),
    (
        "zstream",
        &[
            "zstream-format",
            "zstream-dmu",
            "zstream-dsl",
            "zstream-zpl",
            "zstream-view",
            "zstream-send",
            "zstream-recv",
        ],
    ),
    (
        "zstream-cli",
        &[
            "zstream-format",
            "zstream-dmu",
            "zstream-dsl",
            "zstream-zpl",
            "zstream-view",
            "zstream-send",
            "zstream-recv",
            "zstream",
            "zstream-object",
        ],
    ),
    (
        "zstream-tests",
        &[
            "zstream-format",
            "zstream-dmu",
            "zstream-dsl",
            "zstream-zpl",
            "zstream-view",
            "zstream-send",
            "zstream-recv",
            "zstream",
            "zstream-cli",
            "zstream-object",
        ],
    ),
    ("xtask", &[]),
];

/// The crates of the library, the lowest first: `zstream`, and those that it may depend on.
pub(crate) fn libraries() -> impl Iterator<Item = &'static str> {
    const TOP: &str = "zstream";
    let below = LAYERS.iter().filter(|(name, _)| *name == TOP).flat_map(|(_, below)| *below);
    below.copied().chain([TOP])
}

/// A crate of the workspace and those of its dependencies that are crates of the workspace too.
type Edges = (String, Vec<String>);

/// `layers`
pub(crate) fn task(_: &[String]) -> Outcome {
    let metadata =
        MetadataCommand::new().no_deps().current_dir(crate::run::root()).exec().map_err(|e| e.to_string())?;
    let edges = edges(&metadata);
    let (module_count, import_count, against) = modules::check(&metadata)?;
    let found = [violations(&edges), against].concat();
    if !found.is_empty() {
        return Err(found.join("\n"));
    }
    let count: usize = edges.iter().map(|(_, to)| to.len()).sum();
    println!("{} crates, {count} edges between them, all of them downwards", edges.len());
    println!("{module_count} modules, {import_count} imports between them, all of them downwards");
    Ok(())
}

/// The edges between crates of the workspace, dev- and build-dependencies included.
fn edges(metadata: &Metadata) -> Vec<Edges> {
    let members: Vec<_> = metadata.workspace_packages();
    let is_member = |name: &str| members.iter().any(|p| p.name == name);
    let inner = |p: &cargo_metadata::Package| {
        let mut to: Vec<String> =
            p.dependencies.iter().map(|d| d.name.clone()).filter(|name| is_member(name)).collect();
        to.sort();
        to.dedup();
        to
    };
    members.iter().map(|p| (p.name.to_string(), inner(p))).collect()
}

/// Every edge that [`LAYERS`] does not allow, and every crate it does not know, as a sentence.
fn violations(edges: &[Edges]) -> Vec<String> {
    let mut found = Vec::new();
    for (from, to) in edges {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == from) else {
            found.push(format!("{from} has no place in LAYERS (xtask/src/layers.rs)"));
            continue;
        };
        for name in to.iter().filter(|name| !allowed.contains(&name.as_str())) {
            found.push(format!("{from} must not depend on {name}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &[&str]) -> Edges {
        (from.into(), to.iter().map(|s| s.to_string()).collect())
    }

    /// The workspace as it is.
    #[test]
    fn the_workspace_is_layered() {
        task(&[]).unwrap();
    }

    /// The canary: an edge upwards, one sideways and an unknown crate are each caught, and allowed ones are not.
    #[test]
    fn forbidden_edges_are_caught() {
        let upwards = violations(&[edge("zstream-format", &["zstream-dmu"])]);
        assert_eq!(upwards, ["zstream-format must not depend on zstream-dmu"]);
        for (from, to) in [("zstream-send", "zstream-recv"), ("zstream-recv", "zstream-send")] {
            assert_eq!(violations(&[edge(from, &[to])]).len(), 1, "{from} -> {to}");
        }
        assert_eq!(violations(&[edge("zstream-new", &[])]).len(), 1);
        assert_eq!(violations(&[edge("zstream-dsl", &["zstream-dmu", "zstream-format"])]), [""; 0]);
    }

    /// The rule itself has no cycle: a crate's dependencies stand before it, tests and tasks at the end.
    #[test]
    fn the_table_is_in_order() {
        for (at, (from, allowed)) in LAYERS.iter().enumerate() {
            for to in *allowed {
                assert!(LAYERS[..at].iter().any(|(name, _)| name == to), "{from} -> {to}");
            }
        }
    }

    /// The edges are really read: the DMU rests on the format.
    #[test]
    fn edges_are_read_from_the_workspace() {
        let metadata = MetadataCommand::new().no_deps().current_dir(crate::run::root()).exec().unwrap();
        let edges = edges(&metadata);
        let (_, to) = edges.iter().find(|(name, _)| name == "zstream-dmu").unwrap();
        assert_eq!(to, &["zstream-format"]);
    }
}
