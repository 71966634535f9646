//! The imports between the modules of a crate, read from its source.
//!
//! Everything below a top-level module counts as that module. An import is any path that starts at the crate's root:
//! `crate::a::b` in a `use` tree, in code, in a visibility or among the tokens of a macro or an attribute, and `super::`
//! where it climbs to the root. A name that the root takes from a module (`pub use a::B`) is an import of that module.
//! Links in documentation are not imports, nor is anything under `#[cfg(test)]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprLit, Ident, ImplItem, Item, ItemMacro, ItemMod, ItemUse, Lit, Meta, Token, UseTree,
};

/// Reads a source file, if it exists.
pub(super) type Load<'a> = &'a dyn Fn(&Path) -> Option<String>;

/// A path from one top-level module to something outside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// The top-level module that holds it.
    pub(super) from: String,
    /// The top-level module that it leads to; `None` for what the root itself declares.
    pub(super) to: Option<String>,
    /// The path as it is written, without groups.
    pub(super) path: String,
    /// File and line.
    pub(super) place: String,
}

/// The modules of a crate and what they import.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The top-level modules, in the order of their declarations.
    pub(super) modules: Vec<String>,
    /// The imports between them.
    pub(super) imports: Vec<Import>,
}

/// Reads the crate with this root file (`lib.rs`, `main.rs`).
///
/// # Errors
///
/// A file does not exist or does not parse.
pub(super) fn read(root: &Path, load: Load<'_>) -> Result<Source, String> {
    let mut reader = Reader { load, modules: Vec::new(), names: BTreeMap::new(), paths: Vec::new() };
    let dir = root.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut pending = vec![File { module: Vec::new(), path: root.to_path_buf(), dir }];
    while let Some(file) = pending.pop() {
        pending.extend(reader.file(file)?);
    }
    Ok(reader.source())
}

/// A source file.
struct File {
    /// The module that it is, from the root.
    module: Vec<String>,
    path: PathBuf,
    /// The folder of its child modules.
    dir: PathBuf,
}

/// A path that starts with `crate` or `super`.
struct Found {
    module: Vec<String>,
    segments: Vec<String>,
    place: String,
}

struct Reader<'a> {
    load: Load<'a>,
    modules: Vec<String>,
    /// Names that the root has from a module, with that module.
    names: BTreeMap<String, String>,
    paths: Vec<Found>,
}

impl Reader<'_> {
    /// Reads one file and gives the files of its child modules.
    fn file(&mut self, file: File) -> Result<Vec<File>, String> {
        let text =
            (self.load)(&file.path).ok_or_else(|| format!("{} cannot be read", file.path.display()))?;
        let parsed = syn::parse_file(&text)
            .map_err(|e| format!("{}:{}: {e}", file.path.display(), e.span().start().line))?;
        if is_test(&parsed.attrs) {
            self.modules.retain(|name| file.module != [name.as_str()]);
            return Ok(Vec::new());
        }
        let mut visitor = Visitor { reader: self, file, children: Vec::new(), missing: Vec::new() };
        visitor.visit_file(&parsed);
        match visitor.missing.pop() {
            Some(missing) => Err(missing),
            None => Ok(visitor.children),
        }
    }

    /// The paths, each with the module that it leads to.
    fn source(self) -> Source {
        let mut imports = Vec::new();
        for Found { module, segments, place } in self.paths {
            let from = &module[0];
            let path = segments.join("::");
            let to = match from_root(&segments, module.len()) {
                None => continue,
                Some(None) => None,
                Some(Some(name)) if self.modules.contains(name) => Some(name.clone()),
                Some(Some(name)) => self.names.get(name).cloned(),
            };
            if to.as_ref() != Some(from) {
                imports.push(Import { from: from.clone(), to, path, place });
            }
        }
        Source { modules: self.modules, imports }
    }
}

/// The segment of a path that names something in the root, if the path leads there from a module `depth` modules below it;
/// nothing in it where the path ends at the root.
fn from_root(segments: &[String], depth: usize) -> Option<Option<&String>> {
    let rest = segments.strip_prefix(&["self".to_owned()]).unwrap_or(segments);
    if rest.first()? == "crate" {
        return Some(named(rest.get(1)));
    }
    let climbed = rest.iter().take_while(|segment| *segment == "super").count();
    (climbed > 0 && climbed >= depth).then(|| named(rest.get(climbed)))
}

/// A segment, unless it stands for everything.
fn named(segment: Option<&String>) -> Option<&String> {
    segment.filter(|segment| *segment != "*")
}

struct Visitor<'r, 'l> {
    reader: &'r mut Reader<'l>,
    /// The file, with the module and the folder of the inline module that is visited.
    file: File,
    children: Vec<File>,
    missing: Vec<String>,
}

impl Visitor<'_, '_> {
    /// Keeps a path that may lead to the root. The root itself imports from all modules, so its own paths do not count.
    fn found(&mut self, segments: &[String], line: usize) {
        let climbs =
            segments.first().is_some_and(|first| ["crate", "super", "self"].contains(&first.as_str()));
        if climbs && !self.file.module.is_empty() {
            let place = format!("{}:{line}", self.file.path.display());
            let (module, segments) = (self.file.module.clone(), segments.to_vec());
            self.reader.paths.push(Found { module, segments, place });
        }
    }

    /// The file of a child module: at its `#[path]`, or one of the two places that the language knows.
    fn child(&mut self, item: &ItemMod) {
        let name = item.ident.to_string();
        let module = self.file.module.clone();
        if let Some(path) = path_attribute(&item.attrs) {
            let path = self.file.path.parent().unwrap_or(Path::new("")).join(path);
            let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
            self.children.push(File { module, path, dir });
            return;
        }
        let dir = self.file.dir.clone();
        let beside = dir.parent().unwrap_or(Path::new("")).join(format!("{name}.rs"));
        match [beside, dir.join("mod.rs")].into_iter().find(|path| (self.reader.load)(path).is_some()) {
            Some(path) => self.children.push(File { module, path, dir }),
            None => self.missing.push(format!("{}: no file for module {name}", self.file.path.display())),
        }
    }

    /// The paths of a `use` tree after `prefix`.
    fn use_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let longer = |ident: &Ident| -> Vec<String> {
            let ident = ident.to_string();
            let inner_self = ident == "self" && !prefix.is_empty();
            prefix.iter().cloned().chain((!inner_self).then_some(ident)).collect()
        };
        match tree {
            UseTree::Path(path) => self.use_tree(&longer(&path.ident), &path.tree),
            UseTree::Name(name) => self.use_leaf(longer(&name.ident), &name.ident),
            UseTree::Rename(rename) => self.use_leaf(longer(&rename.ident), &rename.ident),
            UseTree::Glob(glob) => {
                let path: Vec<String> = prefix.iter().cloned().chain(["*".to_owned()]).collect();
                self.found(&path, glob.star_token.spans[0].start().line);
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(prefix, tree)),
        }
    }

    /// The end of a `use` tree. One that names only the root (`use crate as root`) imports all of it.
    fn use_leaf(&mut self, mut path: Vec<String>, ident: &Ident) {
        if path.iter().all(|segment| ["crate", "super", "self"].contains(&segment.as_str())) {
            path.push("*".to_owned());
        }
        self.found(&path, ident.span().start().line);
    }

    /// Paths among the tokens of a macro, `use` trees included.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Ident(ident) if *ident == "crate" || *ident == "super" => {
                    at = self.token_path(&mut vec![ident.to_string()], &tokens, at);
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => {}
            }
        }
    }

    /// Continues a path at token `at`, and gives the place of the token after it.
    fn token_path(&mut self, path: &mut Vec<String>, tokens: &[TokenTree], mut at: usize) -> usize {
        let is = |at: usize, mark: char| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == mark);
        let line = tokens[at - 1].span().start().line;
        while is(at, ':') && is(at + 1, ':') {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in inner.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
                        if let Some(TokenTree::Ident(ident)) = part.first() {
                            let mut longer = [&path[..], &[ident.to_string()]].concat();
                            self.token_path(&mut longer, part, 1);
                        }
                    }
                    return at + 3;
                }
                Some(TokenTree::Punct(p)) if p.as_char() == '*' => path.push("*".to_owned()),
                _ => break,
            }
            at += 3;
        }
        if path.len() > 1 {
            self.found(path, line);
        }
        at
    }
}

impl<'ast> Visit<'ast> for Visitor<'_, '_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => return visit::visit_impl_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        if self.file.module.is_empty() {
            self.reader.modules.push(name.clone());
        }
        let dir = self.file.dir.join(&name);
        let outside = std::mem::replace(&mut self.file.dir, dir);
        self.file.module.push(name);
        match &item.content {
            Some(_) => visit::visit_item_mod(self, item),
            None => self.child(item),
        }
        self.file.module.pop();
        self.file.dir = outside;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if self.file.module.is_empty() {
            names(&[], &item.tree, &mut self.reader.names);
        }
        self.use_tree(&[], &item.tree);
    }

    fn visit_item_macro(&mut self, item: &'ast ItemMacro) {
        // An exported macro stands in the root, wherever it was declared.
        if let (Some(name), Some(module)) = (&item.ident, self.file.module.first())
            && item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
        {
            self.reader.names.insert(name.to_string(), module.clone());
        }
        visit::visit_item_macro(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A visibility such as `pub(crate)` names the root and imports nothing.
        if segments.iter().any(|segment| !["crate", "super", "self"].contains(&segment.as_str())) {
            self.found(&segments, path.segments[0].ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

/// The names that a `use` of the root takes from a module, each with the module.
fn names(prefix: &[String], tree: &UseTree, found: &mut BTreeMap<String, String>) {
    let mut leaf = |name: &Ident| {
        if let Some(module) = prefix.iter().find(|segment| !["crate", "self"].contains(&segment.as_str())) {
            found.insert(name.to_string(), module.clone());
        }
    };
    match tree {
        UseTree::Path(path) => names(&[prefix, &[path.ident.to_string()]].concat(), &path.tree, found),
        UseTree::Name(name) => leaf(&name.ident),
        UseTree::Rename(rename) => leaf(&rename.rename),
        UseTree::Group(group) => group.items.iter().for_each(|tree| names(prefix, tree, found)),
        // What a glob brings is not known here: a path to it counts as one to the root.
        UseTree::Glob(_) => {}
    }
}

/// Whether these attributes keep something for tests: `#[cfg(test)]`, alone or in `all(...)`.
fn is_test(attributes: &[Attribute]) -> bool {
    fn demands_test(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("all") => list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .is_ok_and(|all| all.iter().any(demands_test)),
            _ => false,
        }
    }
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("cfg"))
        .any(|attribute| attribute.parse_args::<Meta>().is_ok_and(|meta| demands_test(&meta)))
}

/// The file that `#[path = "..."]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("path")).find_map(|attribute| {
        match &attribute.meta.require_name_value().ok()?.value {
            Expr::Lit(ExprLit { lit: Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        }
    })
}

/// The attributes of an item.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The imports of a crate of these files, as `from -> to`; `root` for what the root declares.
    fn edges(files: &[(&str, &str)]) -> Vec<String> {
        let source = read_files(files).unwrap();
        let edge = |import: &Import| format!("{} -> {}", import.from, import.to.as_deref().unwrap_or("root"));
        let mut edges: Vec<String> = source.imports.iter().map(edge).collect();
        edges.sort();
        edges
    }

    fn read_files(files: &[(&str, &str)]) -> Result<Source, String> {
        let load = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        };
        read(Path::new("src/lib.rs"), &load)
    }

    /// The edges of module `a` with this text, in a crate with modules `a` to `d`.
    fn edges_of(text: &str) -> Vec<String> {
        edges(&[
            ("src/lib.rs", "mod a; mod b; mod c { pub fn f() {} } pub mod d;"),
            ("src/a.rs", text),
            ("src/b.rs", ""),
            ("src/d/mod.rs", ""),
        ])
    }

    #[test]
    fn use_trees_are_taken_apart() {
        assert_eq!(edges_of("use crate::b;"), ["a -> b"]);
        assert_eq!(edges_of("pub use crate::b::*;"), ["a -> b"]);
        assert_eq!(
            edges_of("use crate::{b::{self, x::{Y as Z, W}}, d::V};"),
            ["a -> b", "a -> b", "a -> b", "a -> d"]
        );
        assert_eq!(edges_of("use super::{b::X, c};"), ["a -> b", "a -> c"]);
        assert_eq!(edges_of("use self::super::b;"), ["a -> b"]);
        assert_eq!(edges_of("fn f() { use crate::d; }"), ["a -> d"]);
        assert_eq!(
            edges_of("use std::fmt; use other::b::c; use self::b::X; mod b { pub struct X; }"),
            [""; 0]
        );
    }

    #[test]
    fn all_of_the_root_is_an_import_of_the_root() {
        for text in ["use crate::*;", "use super::*;", "use crate as all;", "use super::{self as up};"] {
            assert_eq!(edges_of(text), ["a -> root"], "{text}");
        }
    }

    #[test]
    fn paths_in_code_are_seen() {
        assert_eq!(edges_of("fn f() -> crate::b::X { crate::c::f(); <u8 as crate::d::T>::g() }").len(), 3);
        assert_eq!(edges_of("pub(in crate::b) struct X;"), ["a -> b"]);
        assert_eq!(edges_of("pub(crate) struct X; pub(super) fn f() {}"), [""; 0]);
        assert_eq!(edges_of("#[error(from = crate::b::X)] struct Y { #[from] y: super::d::Z }").len(), 2);
        assert_eq!(edges_of("/// [`X`](crate::b::X)\nfn f() {}"), [""; 0]);
    }

    #[test]
    fn paths_in_macros_are_seen() {
        assert_eq!(
            edges_of("fn f() { println!(\"{}\", crate::b::x(vec![super::d::Y])); }"),
            ["a -> b", "a -> d"]
        );
        let rules = "macro_rules! m { () => { use $crate::{b::{X, Y}, d}; pub(crate) fn f() {} } }";
        assert_eq!(edges_of(rules), ["a -> b", "a -> b", "a -> d"]);
    }

    /// `super` counts from where it stands, in files at any depth and in modules inside of files.
    #[test]
    fn super_climbs_to_the_root_and_no_further() {
        let files = [
            ("src/lib.rs", "mod a; mod b;"),
            (
                "src/a.rs",
                "mod deep; mod inline { use super::super::b; mod more { use super::super::deep; } mod file; }",
            ),
            ("src/a/deep/mod.rs", "mod deeper; use super::x; use super::super::b;"),
            (
                "src/a/deep/deeper.rs",
                "#[path = \"other.rs\"] mod renamed; use super::super::b; use super::super::super::b;",
            ),
            ("src/a/deep/other.rs", "use crate::b::Renamed;"),
            ("src/a/inline/file.rs", "use super::super::super::b::InFile;"),
            ("src/b.rs", "use super::a;"),
        ];
        assert_eq!(edges(&files), ["a -> b", "a -> b", "a -> b", "a -> b", "a -> b", "b -> a"]);
        assert!(read_files(&files[..3]).unwrap_err().contains("no file for module"));
    }

    #[test]
    fn tests_are_exempt() {
        for text in [
            "#[cfg(test)] mod tests { use crate::b; }",
            "#[cfg(test)] mod tests;",
            "#[cfg(test)] use crate::b;",
            "#[cfg(all(unix, test))] fn f() { crate::b::g() }",
            "struct S; impl S { #[cfg(test)] fn f() { crate::b::g() } }",
            "#![cfg(test)] use crate::b;",
        ] {
            assert_eq!(edges_of(text), [""; 0], "{text}");
        }
        for text in ["#[cfg(not(test))] use crate::b;", "#[cfg(any(test, unix))] use crate::b;"] {
            assert_eq!(edges_of(text), ["a -> b"], "{text}");
        }
    }

    /// A name that the root takes from a module counts as that module, so no way around the order leads over the root.
    #[test]
    fn names_of_the_root_count_as_their_modules() {
        let root = "mod a; mod b; mod c; pub use b::{Error, f as g}; use self::c::*; pub fn own() {}";
        let of =
            |text| edges(&[("src/lib.rs", root), ("src/a.rs", text), ("src/b.rs", ""), ("src/c.rs", "")]);
        assert_eq!(of("use crate::{Error, g};"), ["a -> b", "a -> b"]);
        assert_eq!(of("use crate::{own, Hidden};"), ["a -> root", "a -> root"]);
        let exported = [
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "fn f() { crate::exported!() }"),
            ("src/b.rs", "#[macro_export] macro_rules! exported { () => {} }"),
        ];
        assert_eq!(edges(&exported), ["a -> b"]);
    }

    #[test]
    fn an_import_has_its_place() {
        let files = [
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "\nuse crate::{\n    b::X,\n};"),
            ("src/b.rs", ""),
        ];
        let [import] = &read_files(&files).unwrap().imports[..] else { panic!("one import") };
        assert_eq!((import.place.as_str(), import.path.as_str()), ("src/a.rs:3", "crate::b::X"));
    }
}
