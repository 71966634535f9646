//! The order of the modules of each crate.
//!
//! A top-level module imports only from those that stand before it in [`ORDERS`], so no modules form a cycle. The root of
//! a crate (`lib.rs`, `main.rs`) stands above all of them: it may import from any, and none from it.
//!
//! Tests are exempt: they may use all of their crate. Where two modules need each other, the type that both need moves
//! down, and the verbs stay above.

use std::path::Path;

use cargo_metadata::{Metadata, Target, TargetKind};

use super::imports::{self, Source};

/// Each crate and its top-level modules, the lowest first.
const ORDERS: &[(&str, &str)] = &[
    (
        "zstream-format",
        "errno number shown order wire algorithm object_type ids phys file_info byteswap sum fletcher checksum deflate compress flags \
         nvlist record place judge effect stream verify summary token edit",
    ),
    (
        "zstream-dmu",
        "ids blkptr error failpoint lock block dnode object_set object_store bpobj cache device container gpt mbr slices \
         partition host intent_log mos random range_set vdev zio tree zap brt ddt receive_store objset traverse space tx pool testing",
    ),
    (
        "zstream-dsl",
        "error phys name redact reader mend pool dataset bookmark hold find deadlist keys lines erratum livelist prop \
         resume scrub write testing",
    ),
    (
        "zstream-zpl",
        "error master content volume sa create fuid node znode directory fs walk paths settings quota xattr writer testing",
    ),
    ("zstream-object", "format store history map collect device places upkeep"),
    ("zstream-view", "source log index entry objects raw view error open"),
    (
        "zstream-send",
        "error range form progress output plan begin changes load window encode line estimate merge \
         expand note refusal redactions pipeline package job request",
    ),
    (
        "zstream-recv",
        "refusal misfit error rules input apply needs engine host heal request sent sent_keys replicate package",
    ),
    (
        "zstream",
        "layers text error synced control mapped pipe place files dump edits info describe rescue dedup pools list create keys replay put extract \
         copy check progress prune json datasets quotas receive send verify replicate sync",
    ),
    (
        "zstream-cli",
        "started text failure prompt storage pool change progress input output files datasets interrupt \
         commands cli",
    ),
    (
        "zstream-tests",
        "errors blocks created devices golden livelists forged openzfs program sending writing receiving edit fuzz rng ways \
         history pools errata gangs state compare every lab loops manifest objects refusals samples sender_history sent_objects traced session keys key_history signals",
    ),
    (
        "xtask",
        "run measure pairs bench_send bench_check bench_put bench_verify bench_kinds interop_vm bench_recv bench \
         check demo fuzz_coverage fuzz interop layers fields licences packages thorough",
    ),
];

/// Checks every crate of the workspace: how many modules and imports there are, and what is against the order.
///
/// # Errors
///
/// A source file cannot be read.
pub(super) fn check(metadata: &Metadata) -> Result<(usize, usize, Vec<String>), String> {
    let (mut modules, mut imports, mut found) = (0, 0, Vec::new());
    let root = crate::run::root();
    for package in metadata.workspace_packages() {
        let mut source = Source::default();
        for target in package.targets.iter().filter(|target| is_checked(target)) {
            let path = target.src_path.as_std_path();
            let path = path.strip_prefix(&root).unwrap_or(path);
            let read = imports::read(path, &|path: &Path| std::fs::read_to_string(root.join(path)).ok())?;
            source.modules.extend(read.modules);
            source.imports.extend(read.imports);
        }
        modules += source.modules.len();
        imports += source.imports.len();
        found.extend(violations(&package.name, order(&package.name), &source));
    }
    Ok((modules, imports, found))
}

/// Whether the modules of a target have an order: tests, benchmarks and examples do not.
fn is_checked(target: &Target) -> bool {
    target.kind.iter().any(|kind| matches!(kind, TargetKind::Lib | TargetKind::Bin | TargetKind::ProcMacro))
}

/// The order of a crate's modules. A crate without modules needs none.
fn order(name: &str) -> Vec<&'static str> {
    let found = ORDERS.iter().find(|(crate_name, _)| *crate_name == name);
    found.map(|(_, order)| order.split_whitespace().collect()).unwrap_or_default()
}

/// All that is against the order, each as a sentence: imports upwards, modules that have no place in the order, and places
/// without a module.
fn violations(name: &str, order: Vec<&str>, source: &Source) -> Vec<String> {
    let place_of = |module: &str| order.iter().position(|name| *name == module);
    let mut found = Vec::new();
    for module in source.modules.iter().filter(|module| place_of(module).is_none()) {
        found.push(format!("module {module} of {name} has no place in ORDERS (xtask/src/layers/modules.rs)"));
    }
    for (at, module) in order.iter().enumerate() {
        if !source.modules.iter().any(|name| name == module) {
            found.push(format!("{name} has no module {module}: ORDERS names it"));
        } else if order[..at].contains(module) {
            found.push(format!("module {module} of {name} stands twice in ORDERS"));
        }
    }
    for import in &source.imports {
        let (from, to) = (&import.from, import.to.as_deref());
        match (place_of(from), to.map(place_of)) {
            // Reported above.
            (None, _) | (_, Some(None)) => {}
            (Some(from), Some(Some(to))) if to < from => {}
            _ => {
                let to = to.unwrap_or("the root");
                found.push(format!("{}: {from} must not import from {to}: {}", import.place, import.path));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use cargo_metadata::MetadataCommand;

    use super::*;

    /// What is against the order `low high` in a crate with these two modules.
    fn against(low: &str, high: &str) -> Vec<String> {
        let load = |path: &Path| match path.to_str()? {
            "lib.rs" => Some("mod high; mod low;".to_owned()),
            "low.rs" => Some(low.to_owned()),
            "high.rs" => Some(high.to_owned()),
            _ => None,
        };
        violations("planted", vec!["low", "high"], &imports::read(Path::new("lib.rs"), &load).unwrap())
    }

    /// The canary: an import upwards, a cycle, and what goes around by the root are caught; one downwards is not.
    #[test]
    fn imports_upwards_are_caught() {
        assert_eq!(against("", "use crate::low::X;"), [""; 0]);
        let upwards = "low.rs:1: low must not import from high: crate::high::X";
        assert_eq!(against("use crate::{high::{X}};", ""), [upwards]);
        assert_eq!(against("pub use crate::high::X;", "use crate::low::Y;"), [upwards]);
        let root = against("use super::*;", "");
        assert_eq!(root, ["low.rs:1: low must not import from the root: super::*"]);
    }

    /// A module without a place and a place without a module are caught.
    #[test]
    fn the_order_names_the_modules() {
        let source = Source { modules: vec!["a".into(), "b".into()], imports: Vec::new() };
        let found = violations("planted", vec!["a", "c", "a"], &source);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("module b of planted has no place"), "{found:?}");
        assert!(found[1].contains("planted has no module c"), "{found:?}");
        assert!(found[2].contains("module a of planted stands twice"), "{found:?}");
    }

    /// The workspace as it is, and every crate of ORDERS is one of it.
    #[test]
    fn the_modules_of_the_workspace_are_layered() {
        let metadata = MetadataCommand::new().no_deps().current_dir(crate::run::root()).exec().unwrap();
        let (modules, imports, found) = check(&metadata).unwrap();
        assert_eq!(found, [""; 0]);
        assert!(modules > 100 && imports > 1000, "{modules} modules, {imports} imports");
        for (name, _) in ORDERS {
            assert!(metadata.workspace_packages().iter().any(|package| package.name == *name), "{name}");
        }
    }
}
