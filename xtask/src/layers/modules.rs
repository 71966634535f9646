//! The order of the modules of each crate.
//!
//! A top-level module imports only from those that stand before it in [`ORDERS`], so no modules form a cycle. The root of
//! a crate (`lib.rs`, `main.rs`) stands above all of them: it may import from any, and none from it.

use std::path::Path;

use cargo_metadata::{Metadata, Target, TargetKind};

use super::imports::{self, Source};

/// Each crate and its top-level modules, the lowest first.
const ORDERS: &[(&str, &str)] = &[
    (
        "zstream-format",
        "algorithm object_type order byteswap fletcher checksum deflate compress ids wire flags nvlist record place judge \
         stream verify summary token edit",
    ),
    (
        "zstream-dmu",
        "ids blkptr block error dnode object_set object_store bpobj cache device gpt host intent_log mos random vdev zio \
         tree zap range_set receive_store objset traverse space tx pool",
    ),
    (
        "zstream-dsl",
        "phys name redact pool hold dataset bookmark deadlist keys lines livelist prop resume scrub write",
    ),
    (
        "zstream-zpl",
        "content sa create fuid node znode directory fs walk paths volume xattr writer view",
    ),
    (
        "zstream-send",
        "error range form progress output plan begin changes window load encode line estimate merge expand note refusal \
         measure job package request redactions pipeline",
    ),
    ("zstream-recv", "rules input error apply engine heal request package replicate"),
    (
        "zstream-cli",
        "failure prompt pool change mapped progress input output text files restore datasets json store interrupt \
         commands cli",
    ),
    (
        "zstream-tests",
        "blocks compare created devices edit every forged fuzz golden history lab manifest objects openzfs pools program \
         receiving refusals rng samples sender_history sending state traced writing",
    ),
    (
        "xtask",
        "run measure pairs check bench_check bench_put bench_recv bench_send bench_verify bench demo fuzz interop_vm \
         interop layers licences",
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
