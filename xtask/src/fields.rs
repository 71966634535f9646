//! The public fields of the library crates: which structs have them, and why that is a promise that can be kept.
//!
//! A public struct with named public fields belongs to one of these classes:
//!
//! - It is declared by `structure!`: the format is the promise.
//! - It is `#[non_exhaustive]`: results, reports and events get more fields.
//! - It is an option: it implements `Default`, and a public function takes it, alone or in another option. Callers
//!   complete it with `..Default::default()`. A summary that only comes out of functions is not an option.
//! - It is in [`COMPLETE`], with the reason.
//!
//! Everything else has private fields and accessors. Tuple structs are exempt: they name the unit of one number.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{
    Attribute, Fields, FnArg, ImplItem, ImplItemFn, ItemFn, ItemImpl, ItemMod, ItemStruct, ItemTrait, Meta,
    Signature, TraitItem, Visibility,
};

use crate::layers::libraries;
use crate::run::{Outcome, root};

const FORMAT: &str =
    "content of a stream or a pool: the format is the promise, and callers make such content";
const REQUEST: &str =
    "description that a caller gives completely: another field needs a decision of the caller";
const NAMED: &str =
    "options of something that has to be named: callers complete them with `..NAME::new(...)`";
/// The public structs of each crate with public fields that are complete, and the reason.
const COMPLETE: &[(&str, &str, &str)] = &[
    ("zstream-format", FORMAT, "Compression NvPair Packed ResumeToken"),
    ("zstream-format", REQUEST, "Present Recompress Terms"),
    (
        "zstream-dmu",
        FORMAT,
        "CryptParams ListChange NormalBlock ObjectInfo SizedBlock StoredBlock StoredCrypt WrappedKey",
    ),
    ("zstream-dmu", REQUEST, "CloneRange Commit Host Member NewMember NewPool Target TopSpec"),
    ("zstream-dmu", NAMED, "NewObject NewZap"),
    ("zstream-dsl", FORMAT, "Name"),
    ("zstream-dsl", REQUEST, "Clock NewKey Parsed ReceivedSnapshot Wrapping"),
    ("zstream-zpl", REQUEST, "NewNode Settings"),
    ("zstream-send", REQUEST, "ResumePoint Source SourcePool"),
    ("zstream-send", NAMED, "Request"),
    ("zstream-recv", REQUEST, "Assignment OwnKey"),
    ("zstream", REQUEST, "KeySources SecondReport SortKey"),
    ("zstream", NAMED, "Column"),
];

/// `fields`
pub(crate) fn task(_: &[String]) -> Outcome {
    let (mut structs, mut found) = (0, Vec::new());
    for name in libraries() {
        let mut source = Source::default();
        for file in files(&root().join("crates").join(name).join("src"))? {
            let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            source.add(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        structs += source.open.len();
        found.extend(violations(name, &complete(name), &source));
    }
    println!("{structs} structs with public fields are neither #[non_exhaustive] nor declared by structure!");
    if found.is_empty() { Ok(()) } else { Err(found.join("\n")) }
}

/// The names of the structs of a crate in [`COMPLETE`], each after its reason.
fn complete(name: &str) -> Vec<(&'static str, &'static str)> {
    let lists = COMPLETE.iter().filter(|(crate_name, ..)| *crate_name == name);
    lists.flat_map(|(_, reason, names)| names.split_whitespace().map(|name| (*reason, name))).collect()
}

/// The Rust files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The structs of a crate that matter here.
#[derive(Default)]
struct Source {
    /// Public structs with public fields, without `#[non_exhaustive]`.
    open: BTreeSet<String>,
    /// Types that implement `Default`.
    defaults: BTreeSet<String>,
    /// Types with a public function `new`.
    constructed: BTreeSet<String>,
    /// Types that are named in the arguments of public functions.
    taken: BTreeSet<String>,
    /// The types that are named in the fields of each struct.
    parts: BTreeMap<String, BTreeSet<String>>,
}

impl Source {
    fn add(&mut self, text: &str) -> syn::Result<()> {
        let file = syn::parse_file(text)?;
        self.visit_file(&file);
        Ok(())
    }

    fn take(&mut self, function: &Signature) {
        for argument in &function.inputs {
            if let FnArg::Typed(typed) = argument {
                self.taken.extend(Names::of(|names| names.visit_type(&typed.ty)));
            }
        }
    }

    /// Returns the types that callers complete with `..Default::default()`.
    fn options(&self) -> BTreeSet<String> {
        let mut left: Vec<&String> = self.taken.iter().collect();
        let mut found = BTreeSet::new();
        while let Some(name) = left.pop() {
            if self.defaults.contains(name) && found.insert(name.clone()) {
                left.extend(self.parts.get(name).into_iter().flatten());
            }
        }
        found
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        let name = item.ident.to_string();
        if item.attrs.iter().any(derives_default) {
            self.defaults.insert(name.clone());
        }
        let Fields::Named(fields) = &item.fields else { return };
        let parts = Names::of(|names| names.visit_fields_named(fields));
        self.parts.entry(name.clone()).or_default().extend(parts);
        let is_open = is_public(&item.vis) && fields.named.iter().any(|field| is_public(&field.vis));
        if is_open && !item.attrs.iter().any(|attribute| attribute.path().is_ident("non_exhaustive")) {
            self.open.insert(name);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if is_public(&item.vis) {
            self.take(&item.sig);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if is_public(&item.vis) {
            self.take(&item.sig);
        }
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        for member in &item.items {
            if let (true, TraitItem::Fn(function)) = (is_public(&item.vis), member) {
                self.take(&function.sig);
            }
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        match &item.trait_ {
            Some((of, _)) if of.is_ident("Default") => self.defaults.extend(name),
            Some(_) => {}
            None => {
                let is_new = |item: &ImplItem| matches!(item, ImplItem::Fn(function) if is_public(&function.vis) && function.sig.ident == "new");
                self.constructed.extend(name.filter(|_| item.items.iter().any(is_new)));
                visit::visit_item_impl(self, item);
            }
        }
    }
}

/// The names of types in a part of the source.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn of(visit: impl FnOnce(&mut Self)) -> BTreeSet<String> {
        let mut names = Self::default();
        visit(&mut names);
        names.0
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        self.0.insert(segment.ident.to_string());
        visit::visit_path_segment(self, segment);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether an attribute is `#[cfg(test)]`.
fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

fn derives_default(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    let mut found = false;
    if list.path.is_ident("derive") {
        let parsed = list.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("Default");
            Ok(())
        });
        found &= parsed.is_ok();
    }
    found
}

/// All structs without a class, and all names in the list that need none, each as a sentence.
fn violations(name: &str, complete: &[(&str, &str)], source: &Source) -> Vec<String> {
    let (mut found, options) = (Vec::new(), source.options());
    for open in source.open.difference(&options) {
        if !complete.iter().any(|(_, listed)| listed == open) {
            found.push(format!(
                "{open} of {name} has public fields: make it #[non_exhaustive], or its fields private, or name it with a \
                 reason in COMPLETE (xtask/src/fields.rs)"
            ));
        }
    }
    for (reason, listed) in complete {
        if *reason == NAMED && !source.constructed.contains(*listed) {
            found.push(format!(
                "{listed} of {name} has no public function new: COMPLETE (xtask/src/fields.rs) claims it"
            ));
        }
        if !source.open.contains(*listed) || options.contains(*listed) {
            found.push(format!(
                "{listed} of {name} does not need its place in COMPLETE (xtask/src/fields.rs)"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(complete: &[&str], text: &str) -> Vec<String> {
        against_for(REQUEST, complete, text)
    }

    fn against_for(reason: &str, complete: &[&str], text: &str) -> Vec<String> {
        let mut source = Source::default();
        source.add(text).unwrap();
        let complete: Vec<_> = complete.iter().map(|name| (reason, *name)).collect();
        violations("planted", &complete, &source)
    }

    /// The canary: a struct without a class is caught, also in a module.
    #[test]
    fn a_struct_without_a_class_is_caught() {
        for text in [
            "pub struct A { pub x: u8 }",
            "pub mod m { pub struct A { y: u8, pub x: u8 } }",
            "#[derive(Clone)] pub struct A { pub x: u8 } impl Clone for B {}",
            "#[derive(Default)] pub struct A { pub x: u8 }",
            "#[derive(Default)] pub struct A { pub x: u8 } pub fn f() -> A {} fn g(a: A) {}",
            "pub struct A { pub x: u8 } pub fn f(a: A) {}",
            "pub struct B { a: A } #[derive(Default)] pub struct A { pub x: u8 } pub fn f(b: B) {}",
        ] {
            let found = against(&[], text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("A of planted has public fields"), "{found:?}");
        }
    }

    /// The classes, and what is not public.
    #[test]
    fn structs_with_a_class_pass() {
        for text in [
            "#[non_exhaustive] pub struct A { pub x: u8 }",
            "#[derive(Clone, Default)] pub struct A { pub x: u8 } pub fn f(a: &A) {}",
            "pub struct A { pub x: u8 } impl Default for A { fn default() -> Self { Self { x: 1 } } } pub fn f(a: A) {}",
            "#[derive(Default)] pub struct A { pub x: u8 } impl B { pub fn f(&self, a: Vec<A>) {} }",
            "#[derive(Default)] pub struct A { pub x: u8 } pub trait B { fn f(&self, a: A); }",
            "#[derive(Default)] pub struct A { pub b: Vec<B> } #[derive(Default)] pub struct B { pub x: u8 } pub fn f(a: A) {}",
            "pub(crate) struct A { pub x: u8 }",
            "pub struct A { x: u8 }",
            "pub struct A(pub u8);",
            "structure! { pub struct A { pub x: u8 } }",
            "#[cfg(test)] mod tests { pub struct A { pub x: u8 } }",
        ] {
            assert_eq!(against(&[], text), [""; 0], "{text}");
        }
        assert_eq!(against(&["A"], "pub struct A { pub x: u8 }"), [""; 0]);
    }

    /// A struct that callers are to complete from a function that it does not have is caught.
    #[test]
    fn what_is_completed_from_new_has_it() {
        let text =
            "pub struct A { pub x: u8 } impl A { pub fn new() -> Self { A { x: 1 } } } impl A { fn f() {} }";
        assert_eq!(against_for(NAMED, &["A"], text), [""; 0]);
        let found = against_for(
            NAMED,
            &["A"],
            "pub struct A { pub x: u8 } impl A { fn new() {} } impl B { pub fn new() {} }",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("A of planted has no public function new"), "{found:?}");
    }

    /// A name in the list that is not needed, or not there, is caught.
    #[test]
    fn the_list_has_nothing_else() {
        for text in
            ["", "pub struct A { x: u8 }", "#[derive(Default)] pub struct A { pub x: u8 } pub fn f(a: A) {}"]
        {
            let found = against(&["A"], text);
            assert_eq!(
                found,
                ["A of planted does not need its place in COMPLETE (xtask/src/fields.rs)"],
                "{text}"
            );
        }
    }

    /// The workspace as it is.
    #[test]
    fn every_struct_of_the_workspace_has_a_class() {
        task(&[]).unwrap();
    }
}
