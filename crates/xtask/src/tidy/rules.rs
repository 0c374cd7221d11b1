//! The rules, each on one file at a time.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Key, Violation};

/// Lines of a file outside its tests.
const MAX_LINES: usize = 500;
/// Begin of names of functions that answer a question, which must not change anything.
const QUESTIONS: [&str; 4] = ["is_", "has_", "can_", "may_"];
/// Enums of which a new variant must not compile until it is handled.
const DISPATCHED: [&str; 19] = [
    "Command",
    "Channel",
    "Event",
    "EventBody",
    "Message",
    "Input",
    "Effect",
    "EngineMessage",
    "NetworkEvent",
    "TaskEvent",
    "ChatEvent",
    "ServiceCommand",
    "ExchangeEvent",
    "JobCommand",
    "DutyCommand",
    "NetworkCommand",
    "ChatCommand",
    "SettingsCommand",
    "PlacementCommand",
];
/// Source of the engine, and its subsystems: folders that hear of each other through the event loop only.
const ENGINE: &str = "crates/fog-engine/src/";
pub(crate) const SUBSYSTEMS: [&str; 6] = ["duty", "tasks", "network", "exchange", "chat", "payments"];
/// First words of a doc comment that leave its subject out.
const NO_SUBJECT: [&str; 16] = [
    "what", "who", "which", "whose", "whom", "where", "it", "its", "they", "their", "them", "that", "these",
    "those", "he", "she",
];

/// Checks one file.
///
/// # Errors
/// When it does not parse.
pub(super) fn check(path: &str, text: &str) -> syn::Result<Vec<Violation>> {
    let file = syn::parse_file(text)?;
    let mut checker = Checker { path, found: Vec::new(), inside: Vec::new(), test_lines: 0 };
    checker.docs(&file.attrs, "");
    checker.visit_file(&file);
    let lines = text.lines().count().saturating_sub(checker.test_lines);
    if lines > MAX_LINES && !is_test(path) {
        let message = format!("{lines} lines outside tests, {MAX_LINES} are the most: split it by subject");
        checker.add("file-length", "", 1, message, lines);
    }
    Ok(checker.found)
}

/// Subsystem of the engine to which a file belongs.
fn subsystem_of(path: &str) -> Option<&'static str> {
    let begin = path.strip_prefix(ENGINE)?.split('/').next()?.trim_end_matches(".rs");
    SUBSYSTEMS.into_iter().find(|name| *name == begin)
}

/// Whether a whole file is test code.
pub(crate) fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("tests.rs")
}

struct Checker<'a> {
    path: &'a str,
    found: Vec<Violation>,
    /// Names of the functions around the place that is looked at.
    inside: Vec<String>,
    /// Lines of inline test modules.
    test_lines: usize,
}

impl Checker<'_> {
    fn add(&mut self, rule: &str, item: &str, line: usize, message: String, size: usize) {
        let key = Key { rule: rule.to_owned(), file: self.path.to_owned(), item: item.to_owned() };
        self.found.push(Violation { key, line, message, size });
    }

    fn signature(&mut self, signature: &syn::Signature) {
        let name = signature.ident.to_string();
        let changes = matches!(signature.inputs.first(), Some(syn::FnArg::Receiver(receiver)) if receiver.mutability.is_some() && receiver.reference.is_some());
        if changes && QUESTIONS.iter().any(|begin| name.starts_with(begin)) {
            let message =
                format!("`{name}` is named like a question and takes `&mut self`: name what it changes");
            self.add("question-changes", &name, signature.ident.span().start().line, message, 1);
        }
    }

    /// Checks that one subsystem does not name another.
    fn names(&mut self, module: &syn::Ident) {
        let Some(own) = subsystem_of(self.path).filter(|_| !is_test(self.path)) else { return };
        let Some(other) = SUBSYSTEMS.into_iter().find(|name| module == name && *name != own) else { return };
        let message = format!(
            "`{own}` names `{other}`: what one subsystem learns goes to another through the event loop"
        );
        self.add("subsystems", other, module.span().start().line, message, 1);
    }

    /// Checks the first line of the doc comment among `attrs`.
    fn docs(&mut self, attrs: &[syn::Attribute], item: &str) {
        let Some((first, line)) = attrs.iter().find_map(doc) else { return };
        let words: Vec<&str> = first.split_whitespace().collect();
        let begin = words
            .first()
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
            .unwrap_or_default();
        let problem = if words.len() == 1 && !first.contains('`') && first.ends_with('.') {
            "is one word"
        } else if NO_SUBJECT.contains(&begin.as_str()) {
            "begins without its subject"
        } else {
            return;
        };
        self.add("doc-subject", item, line, format!("the doc comment '{first}' {problem}"), 1);
    }
}

/// Text and line of a doc attribute that says something.
fn doc(attr: &syn::Attribute) -> Option<(String, usize)> {
    if !attr.path().is_ident("doc") {
        return None;
    }
    let syn::Meta::NameValue(value) = &attr.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &value.value else { return None };
    let text = text.value().trim().to_owned();
    (!text.is_empty()).then(|| (text, attr.span().start().line))
}

pub(crate) fn is_for_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg") && attr.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
    })
}

/// Name of an enum in [`DISPATCHED`] of which a pattern names a variant.
fn dispatched(pattern: &syn::Pat) -> Option<&'static str> {
    struct Paths(Option<&'static str>);
    impl<'ast> Visit<'ast> for Paths {
        fn visit_path(&mut self, path: &'ast syn::Path) {
            // The last segment is the variant.
            let owner = path.segments.iter().rev().nth(1);
            let known = owner.and_then(|owner| DISPATCHED.iter().find(|name| owner.ident == **name));
            self.0 = self.0.or(known.copied());
        }
    }
    let mut paths = Paths(None);
    paths.visit_pat(pattern);
    paths.0
}

impl<'ast> Visit<'ast> for Checker<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if is_for_tests(&module.attrs) {
            if module.content.is_some() {
                self.test_lines += module.span().end().line.saturating_sub(module.span().start().line) + 1;
            }
            return;
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attrs, name): (&[syn::Attribute], String) = match item {
            syn::Item::Fn(item) => (&item.attrs, item.sig.ident.to_string()),
            syn::Item::Struct(item) => (&item.attrs, item.ident.to_string()),
            syn::Item::Enum(item) => (&item.attrs, item.ident.to_string()),
            syn::Item::Trait(item) => (&item.attrs, item.ident.to_string()),
            syn::Item::Type(item) => (&item.attrs, item.ident.to_string()),
            syn::Item::Const(item) => (&item.attrs, item.ident.to_string()),
            syn::Item::Static(item) => (&item.attrs, item.ident.to_string()),
            syn::Item::Mod(item) => (&item.attrs, item.ident.to_string()),
            _ => (&[], String::new()),
        };
        self.docs(attrs, &name);
        let is_named = matches!(
            item,
            syn::Item::Fn(_) | syn::Item::Struct(_) | syn::Item::Enum(_) | syn::Item::Trait(_)
        );
        if is_named {
            self.inside.push(name);
        }
        visit::visit_item(self, item);
        if is_named {
            self.inside.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if let syn::UseTree::Path(root) = &item.tree
            && root.ident == "crate"
        {
            match root.tree.as_ref() {
                syn::UseTree::Path(next) => self.names(&next.ident),
                syn::UseTree::Name(next) => self.names(&next.ident),
                syn::UseTree::Group(group) => {
                    for tree in &group.items {
                        match tree {
                            syn::UseTree::Path(next) => self.names(&next.ident),
                            syn::UseTree::Name(next) => self.names(&next.ident),
                            syn::UseTree::Rename(_) | syn::UseTree::Glob(_) | syn::UseTree::Group(_) => {}
                        }
                    }
                }
                syn::UseTree::Rename(_) | syn::UseTree::Glob(_) => {}
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if let (Some(root), Some(next)) = (segments.next(), segments.next())
            && root.ident == "crate"
        {
            self.names(&next.ident);
        }
        visit::visit_path(self, path);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        let name = function.sig.ident.to_string();
        self.docs(&function.attrs, &name);
        self.signature(&function.sig);
        self.inside.push(name);
        visit::visit_impl_item_fn(self, function);
        self.inside.pop();
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.docs(&function.attrs, &function.sig.ident.to_string());
        self.signature(&function.sig);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        let owner = self.inside.last().cloned().unwrap_or_default();
        let name = field.ident.as_ref().map_or_else(|| owner.clone(), |ident| format!("{owner}.{ident}"));
        self.docs(&field.attrs, &name);
        visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        let owner = self.inside.last().cloned().unwrap_or_default();
        self.docs(&variant.attrs, &format!("{owner}::{}", variant.ident));
        visit::visit_variant(self, variant);
    }

    fn visit_expr_match(&mut self, found: &'ast syn::ExprMatch) {
        let enumeration = found.arms.iter().find_map(|arm| dispatched(&arm.pat));
        let rest = found.arms.iter().find(|arm| matches!(arm.pat, syn::Pat::Wild(_)) && arm.guard.is_none());
        if let (Some(name), Some(rest)) = (enumeration, rest) {
            let item = self.inside.last().cloned().unwrap_or_default();
            let message =
                format!("a new variant of `{name}` would fall into `_ =>` in `{item}`: name every variant");
            self.add("catch-all", &item, rest.span().start().line, message, 1);
        }
        visit::visit_expr_match(self, found);
    }
}
