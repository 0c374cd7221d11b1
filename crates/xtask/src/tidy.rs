//! `cargo xtask tidy`: rules of the source that neither the compiler nor Clippy checks.
//!
//! Known violations stand in `crates/xtask/tidy-exceptions.txt`. The list only shrinks: a new violation fails, and so does
//! an exception that nothing needs any more.

pub(crate) mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::shell::root;

/// Folders whose sources are checked, below the repository.
const SOURCES: [&str; 4] = ["crates", "src-tauri", "ui", "tests"];
const EXCEPTIONS: &str = "crates/xtask/tidy-exceptions.txt";

/// Key of a violation: what an exception names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    rule: String,
    /// Path below the repository, with slashes.
    file: String,
    /// Function, type or first words of a doc comment; empty for a whole file.
    item: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}", self.rule, self.file, self.item)
    }
}

/// One place that breaks a rule.
#[derive(Debug)]
struct Violation {
    key: Key,
    /// Number of the line, from 1.
    line: usize,
    message: String,
    /// Size that may only shrink; 1 where there is none.
    size: usize,
}

/// Checks the whole source, or writes the exceptions anew.
///
/// # Errors
/// When there is a new violation or an exception too many, after each was printed.
pub fn tidy(write_exceptions: bool) -> anyhow::Result<()> {
    let mut found = Vec::new();
    for file in sources(&root())? {
        let path = file.strip_prefix(root()).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        let text = std::fs::read_to_string(&file).with_context(|| format!("{path} cannot be read"))?;
        found.extend(rules::check(&path, &text).with_context(|| format!("{path} is no Rust"))?);
    }
    let sizes = sum(&found);
    let list = root().join(EXCEPTIONS);
    if write_exceptions {
        let lines: String = sizes.iter().map(|(key, size)| format!("{key}\t{size}\n")).collect();
        std::fs::write(&list, lines).context("the exceptions cannot be written")?;
        println!("{} exceptions in {EXCEPTIONS}", sizes.len());
        return Ok(());
    }
    let excepted = exceptions(&std::fs::read_to_string(&list).unwrap_or_default())?;
    let mut problems = 0_usize;
    for (key, size) in &sizes {
        let allowed = excepted.get(key).copied().unwrap_or_default();
        if *size > allowed {
            for violation in found.iter().filter(|violation| violation.key == *key) {
                println!("{}:{}: {} ({})", violation.key.file, violation.line, violation.message, key.rule);
                problems += 1;
            }
        }
    }
    for (key, allowed) in &excepted {
        let size = sizes.get(key).copied().unwrap_or_default();
        if size < *allowed {
            println!(
                "{EXCEPTIONS}: '{key}' allows {allowed} and {size} is left; run `cargo xtask tidy --write-exceptions`"
            );
            problems += 1;
        }
    }
    if problems > 0 {
        bail!("the source is not tidy: {problems} problems");
    }
    println!("The source is tidy but for {} known exceptions.", excepted.len());
    Ok(())
}

/// Total size of the violations with the same key.
fn sum(found: &[Violation]) -> BTreeMap<Key, usize> {
    let mut sizes = BTreeMap::new();
    for violation in found {
        *sizes.entry(violation.key.clone()).or_default() += violation.size;
    }
    sizes
}

/// Reads the list of exceptions: rule, file, item and allowed size, separated by tabs.
fn exceptions(text: &str) -> anyhow::Result<BTreeMap<Key, usize>> {
    let mut list = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [rule, file, item, size] = fields.as_slice() else {
            bail!("{EXCEPTIONS}: '{line}' is not four fields")
        };
        let key = Key { rule: (*rule).to_owned(), file: (*file).to_owned(), item: (*item).to_owned() };
        list.insert(key, size.parse().with_context(|| format!("{EXCEPTIONS}: '{line}'"))?);
    }
    Ok(list)
}

/// Rust files of the repository, sorted.
fn sources(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = SOURCES.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("{} cannot be listed", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
