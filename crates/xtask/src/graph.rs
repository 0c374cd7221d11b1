//! `cargo xtask graph`: which files and subsystems of the engine use which, and whether any of them form a circle.
//!
//! A subsystem uses another one if it names its folder, or calls a method of the context that the other one's folder
//! defines. It cannot call methods of the other one itself: only the event loop holds that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use syn::visit::{self, Visit};

use crate::shell::root;
use crate::tidy::rules::{SUBSYSTEMS, is_for_tests, is_test};

/// Source of the engine.
const ENGINE: &str = "crates/fog-engine/src";
/// The engine, its context and its subsystems.
const OWN: [&str; 8] = ["Engine", "Context", "Duty", "Tasks", "Network", "Exchange", "Chat", "Payments"];
/// Most examples that are printed of one edge.
const SHOWN: usize = 6;

/// Uses of one place by another, each as `file: name`.
type Edges = BTreeMap<(String, String), BTreeSet<String>>;

/// Definitions and uses in one file.
#[derive(Default)]
struct Uses {
    /// Names of methods of the engine's own types that it defines.
    defines: BTreeSet<String>,
    /// Names of methods of the context that it defines, which every subsystem can call.
    shares: BTreeSet<String>,
    /// Names of all methods that it defines.
    has: BTreeSet<String>,
    /// Names of methods that it calls.
    calls: BTreeSet<String>,
    /// Folders and files of the engine that its paths name.
    names: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Uses {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        if is_for_tests(&block.attrs) {
            return;
        }
        for item in &block.items {
            // Methods of traits are called in other places than their own.
            let (syn::ImplItem::Fn(function), None) = (item, &block.trait_) else { continue };
            let name = function.sig.ident.to_string();
            if is_one_of(&block.self_ty, &OWN) {
                self.defines.insert(name.clone());
            }
            if is_one_of(&block.self_ty, &["Context"]) {
                self.shares.insert(name.clone());
            }
            self.has.insert(name);
        }
        visit::visit_item_impl(self, block);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.calls.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if let syn::UseTree::Path(first) = &item.tree
            && first.ident == "crate"
        {
            match &*first.tree {
                syn::UseTree::Path(next) => drop(self.names.insert(next.ident.to_string())),
                syn::UseTree::Group(group) => {
                    for tree in &group.items {
                        if let syn::UseTree::Path(next) = tree {
                            self.names.insert(next.ident.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        visit::visit_item_use(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(next) = segments.next()
        {
            self.names.insert(next.ident.to_string());
        }
        visit::visit_path(self, path);
    }
}

/// Whether a type has one of these names.
fn is_one_of(of: &syn::Type, names: &[&str]) -> bool {
    let syn::Type::Path(of) = of else { return false };
    of.path.segments.last().is_some_and(|last| names.iter().any(|name| last.ident == *name))
}

/// Folder or file of a source file right below the source of the engine.
fn place_of(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Prints the graph of the subsystems, or of all files.
///
/// # Errors
/// When subsystems form a circle, or a file cannot be read.
pub fn graph(files: bool) -> anyhow::Result<()> {
    let base = root().join(ENGINE);
    let mut uses: BTreeMap<String, Uses> = BTreeMap::new();
    for path in rust_files(&base)? {
        let name = path.strip_prefix(&base).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if is_test(&name) || name.contains("test_engine") {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("{name} cannot be read"))?;
        let mut found = Uses::default();
        found.visit_file(&syn::parse_file(&text).with_context(|| format!("{name} is no Rust"))?);
        uses.insert(name, found);
    }
    let (between_files, between_places) = edges(&uses);
    if files {
        for ((from, to), names) in &between_files {
            println!("{from} -> {to}: {}", shown(names));
        }
        return Ok(());
    }
    let is_subsystem = |place: &String| SUBSYSTEMS.contains(&place.as_str());
    let between: Edges =
        between_places.into_iter().filter(|((from, to), _)| is_subsystem(from) && is_subsystem(to)).collect();
    for ((from, to), names) in &between {
        println!("{from} -> {to} ({}): {}", names.len(), shown(names));
    }
    let circles = circles(&between);
    if !circles.is_empty() {
        bail!("subsystems form a circle: {}", circles.join("; "));
    }
    println!("{} files, {} subsystems, no circle between them.", uses.len(), SUBSYSTEMS.len());
    Ok(())
}

/// Edges between files, and between the places right below the source of the engine.
fn edges(uses: &BTreeMap<String, Uses>) -> (Edges, Edges) {
    let by = |of: fn(&Uses) -> &BTreeSet<String>| {
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (file, found) in uses {
            for name in of(found) {
                files.entry(name).or_default().push(file);
            }
        }
        files
    };
    let (defined, shared) = (by(|found| &found.defines), by(|found| &found.shares));
    let mut own: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, found) in uses {
        own.entry(place_of(file)).or_default().extend(found.has.iter().map(String::as_str));
    }
    let (mut between_files, mut between_places) = (Edges::new(), Edges::new());
    for (file, found) in uses {
        for name in &found.calls {
            // A name that several files define may mean any of them.
            if let Some([only]) = defined.get(name.as_str()).map(Vec::as_slice)
                && only != file
            {
                between_files.entry((file.clone(), (*only).to_owned())).or_default().insert(name.clone());
            }
            let is_own = own.get(place_of(file)).is_some_and(|own| own.contains(name.as_str()));
            if let Some([only]) = shared.get(name.as_str()).map(Vec::as_slice)
                && !is_own
            {
                between_places
                    .entry((place_of(file).to_owned(), place_of(only).to_owned()))
                    .or_default()
                    .insert(format!("{file}: {name}"));
            }
        }
        for name in found.names.iter().filter(|name| *name != place_of(file)) {
            between_places
                .entry((place_of(file).to_owned(), name.clone()))
                .or_default()
                .insert(format!("{file}: {name}::"));
        }
    }
    (between_files, between_places)
}

/// Circles of the graph, each as the places on it.
fn circles(edges: &Edges) -> Vec<String> {
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(place) = open.pop() {
            for (_, to) in edges.keys().filter(|(begin, _)| *begin == place) {
                if seen.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        seen
    };
    let on_one: Vec<&str> = SUBSYSTEMS.into_iter().filter(|place| reach(place).contains(*place)).collect();
    let mut found: Vec<String> = Vec::new();
    for place in &on_one {
        let with: Vec<&str> = on_one
            .iter()
            .copied()
            .filter(|other| reach(place).contains(*other) && reach(other).contains(*place))
            .collect();
        let text = with.join(" <-> ");
        if !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn shown(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    if more > 0 { format!("{}, and {more} more", first.join(", ")) } else { first.join(", ") }
}

fn rust_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("{} cannot be listed", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(sources: &[(&str, &str)]) -> BTreeMap<String, Uses> {
        let read = |text: &str| {
            let mut found = Uses::default();
            found.visit_file(&syn::parse_file(text).unwrap());
            found
        };
        sources.iter().map(|(file, text)| ((*file).to_owned(), read(text))).collect()
    }

    #[test]
    fn a_call_and_a_path_are_edges_and_two_of_them_a_circle() {
        let one_way = [
            ("tasks/a.rs", "impl Tasks { fn run(&self) { ctx.lend_it(); } }"),
            ("exchange/b.rs", "impl Context { fn lend_it(&self) {} }"),
        ];
        let (files, places) = edges(&uses(&one_way));
        assert_eq!(files.keys().next(), Some(&("tasks/a.rs".to_owned(), "exchange/b.rs".to_owned())));
        assert!(circles(&places).is_empty());
        let back =
            [one_way[0], ("exchange/b.rs", "use crate::tasks::Tasks; impl Context { fn lend_it(&self) {} }")];
        assert_eq!(circles(&edges(&uses(&back)).1), ["tasks <-> exchange"]);
    }

    #[test]
    fn a_name_that_two_places_define_and_tests_are_no_edge() {
        let sources = [
            (
                "tasks/a.rs",
                "impl Tasks { fn run(&self) { x.view(); } } #[cfg(test)] mod tests { use crate::chat::Chat; }",
            ),
            ("exchange/b.rs", "impl Exchange { fn view(&self) {} }"),
            ("chat/c.rs", "impl Chat { fn view(&self) {} }"),
        ];
        assert!(edges(&uses(&sources)).1.is_empty());
    }
}
