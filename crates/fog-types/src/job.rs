//! The job file: TOML, version 1. User documentation: `docs/job-file.md`.
//!
//! Parsing checks everything that needs no disk access: a parsed [`JobFile`] is valid and bounded, and
//! names below `/in` stay there.

mod checks;
mod grid;
mod syntax;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::checks::{check_input_names, check_inside_path, check_result_paths};
pub use self::grid::{GridOptions, Prefer, Service};
pub use self::syntax::{parse, parse_span};
use crate::{ErrorKind, HasKind, Limits, WorkUnits};

/// The version of the job file that this build reads and writes.
pub const VERSION: u32 = 1;
/// Length of a job file in bytes, at most.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Number of tasks of one job, at most.
pub const MAX_TASKS: u32 = 100_000;
/// Number of marks of one task, at most.
pub const MAX_MARKS: u64 = 10_000;
/// Longest deadline of a job in seconds: 366 days.
pub const MAX_DEADLINE_SECONDS: u64 = 366 * 86_400;
const MAX_LIST: usize = 4096;

/// A job as its author describes it; paths are relative to the job file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFile {
    /// Name for people, 1 to 120 characters.
    pub name: String,
    /// Path of the Wasm module.
    pub module: String,
    /// Arguments after the program name. `{index}`, `{count}`, `{value}` and `{item}` are replaced
    /// for each task.
    #[serde(deserialize_with = "crate::bounded::list::<MAX_LIST, _, _>")]
    pub args: Vec<String>,
    /// Environment variables, with the same replacements.
    #[serde(deserialize_with = "crate::bounded::map::<MAX_LIST, _, _, _>")]
    pub env: BTreeMap<String, String>,
    /// Path of the file for standard input; `None` for empty input.
    pub stdin: Option<String>,
    /// Read-only files: name below `/in` inside the job → path.
    #[serde(deserialize_with = "crate::bounded::map::<MAX_LIST, _, _, _>")]
    pub inputs: BTreeMap<String, String>,
    /// Limits of each task.
    pub limits: Limits,
    /// Priority, -10 (last) to 10 (first). Default 0.
    pub priority: i8,
    /// Seconds from submission after which the job is given up. Default 7 days (BOINC's bound).
    pub deadline_seconds: u64,
    /// Number of attempts before a task fails, 1 to 100. Default 5, as in Folding@home.
    pub attempts: u32,
    /// Seed of all randomness inside the job. Default 0.
    pub seed: u64,
    /// Division of the job into tasks.
    pub map: Map,
    /// Assembly of the tasks' results into one.
    pub assemble: Assemble,
    /// Work units between two marks, at which a task keeps a checkpoint and the hash of its state so that
    /// any segment can be run again; `None` keeps none.
    #[serde(default)]
    pub segment: Option<WorkUnits>,
}

/// Division of a job into tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Map {
    /// A single task.
    One,
    /// One task for each whole number from `from` to `to - 1`.
    Range {
        /// First number.
        from: i64,
        /// One past the last number.
        to: i64,
    },
    /// One task for each file, which the task sees as `/in/item`.
    Inputs(#[serde(deserialize_with = "crate::bounded::list::<{ MAX_TASKS as usize }, _, _>")] Vec<String>),
}

/// Assembly of the results of the tasks into the result of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Assemble {
    /// Results stay separate: every task keeps its own files and output.
    #[default]
    Separate,
    /// Standard output of all tasks, joined in task order.
    Concat,
    /// One picture from the `tile.png` of each task, placed row by row.
    Tiles {
        /// Number of tiles in a row.
        columns: u32,
    },
}

/// Error in a job file; nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobFileError {
    /// The file is not TOML, or a field is unknown or has the wrong type.
    #[error("the job file cannot be read: {message}")]
    Syntax {
        /// Message of the parser, with line and column.
        message: String,
    },
    /// The version of the file is not supported.
    #[error("the job file has version {found}; this release reads version {VERSION}")]
    Version {
        /// Version in the file.
        found: u32,
    },
    /// A value is not valid.
    #[error("job file: {message}")]
    Value {
        /// Sentence that names the field and says which values are valid.
        message: String,
    },
}

impl HasKind for JobFileError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } => ErrorKind::Incompatible,
            _ => ErrorKind::BadInput,
        }
    }
}

impl JobFile {
    /// Creates a job of one task with all defaults for a module.
    #[must_use]
    pub fn for_module(name: &str, module: &str) -> Self {
        Self {
            name: name.chars().take(120).collect(),
            module: module.to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            inputs: BTreeMap::new(),
            limits: Limits::default(),
            priority: 0,
            deadline_seconds: 7 * 86_400,
            attempts: 5,
            seed: 0,
            map: Map::One,
            assemble: Assemble::Separate,
            segment: None,
        }
    }

    /// Returns the number of tasks of the job.
    #[must_use]
    pub fn task_count(&self) -> u32 {
        match &self.map {
            Map::One => 1,
            Map::Range { from, to } => u32::try_from(to.saturating_sub(*from)).unwrap_or(0),
            Map::Inputs(list) => u32::try_from(list.len()).unwrap_or(u32::MAX),
        }
    }

    /// Returns the arguments of task `index` with the replacements made.
    #[must_use]
    pub fn args_of(&self, index: u32) -> Vec<String> {
        self.args.iter().map(|arg| self.fill(arg, index)).collect()
    }

    /// Returns the environment of task `index` with the replacements made.
    #[must_use]
    pub fn env_of(&self, index: u32) -> Vec<(String, String)> {
        self.env.iter().map(|(key, text)| (key.clone(), self.fill(text, index))).collect()
    }

    fn fill(&self, text: &str, index: u32) -> String {
        if !text.contains('{') {
            return text.to_owned();
        }
        let value = match &self.map {
            Map::Range { from, .. } => from.saturating_add(i64::from(index)).to_string(),
            Map::One | Map::Inputs(_) => index.to_string(),
        };
        text.replace("{index}", &index.to_string())
            .replace("{count}", &self.task_count().to_string())
            .replace("{value}", &value)
            .replace("{item}", "/in/item")
    }
}

/// Returns a job name for a module file: without `.wasm`, printable, 1 to 120 characters.
#[must_use]
pub fn name_of_module(module: &str) -> String {
    let file = module.rsplit(['/', '\\']).next().unwrap_or(module);
    let name: String = file
        .strip_suffix(".wasm")
        .unwrap_or(file)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(120)
        .collect();
    if name.trim().is_empty() { "program".to_owned() } else { name.trim().to_owned() }
}

fn value(message: String) -> JobFileError {
    JobFileError::Value { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteCount;
    use proptest::prelude::*;

    const FULL: &str = r#"
        version = 1
        name = "Protein search"
        module = "protein-search.wasm"
        args = ["--part", "{value}/{count}"]
        priority = 3
        deadline = "2h"
        [inputs]
        "db/all.fasta" = "proteins.fasta"
        [limits]
        memory = "64MiB"
        wall = "5min"
        [map]
        range = [1, 5]
        [result]
        assemble = "concat"
    "#;

    #[test]
    fn a_full_file_is_read_and_its_tasks_get_their_arguments() {
        let job = parse(FULL).unwrap();
        assert_eq!(job.task_count(), 4);
        assert_eq!(job.args_of(3), ["--part", "4/4"]);
        assert_eq!(job.limits.memory, ByteCount::mib(64));
        assert_eq!(job.limits.wall_seconds, 300);
        assert_eq!(job.deadline_seconds, 7200);
        assert_eq!(job.assemble, Assemble::Concat);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |from: &str, to: &str| parse(&FULL.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("version = 1", "version = 9").contains("version 9"));
        assert!(wrong("version = 1", "").contains("version = 1"));
        assert!(wrong("priority", "prority").contains("prority"));
        assert!(wrong("db/all.fasta", "../all.fasta").contains("../all.fasta"));
        assert!(wrong("[1, 5]", "[5, 1]").contains("range"));
        assert!(wrong("64MiB", "64 bananas").contains("bananas"));
        assert!(wrong("64MiB", "9999GiB").contains("memory"));
        for bad in ["-1", "1.5", "true"] {
            let said = wrong("\"64MiB\"", bad);
            assert!(said.contains("a number of bytes") && said.contains("memory"), "{said}");
        }
        assert!(wrong("\"concat\"", "\"tiles\"\ncolumns = 3").contains("divide"));
    }

    #[test]
    fn an_input_cannot_be_a_file_and_a_folder() {
        let text = FULL.replace("[limits]", "db = \"x\"\n[limits]");
        assert!(parse(&text).unwrap_err().to_string().contains("below"));
    }

    #[test]
    fn inputs_with_names_that_some_systems_read_otherwise_are_refused() {
        for name in ["C:x", "NUL", "end.", "a\\\\b"] {
            let refused = parse(&FULL.replace("db/all.fasta", name)).unwrap_err().to_string();
            assert!(refused.contains("cannot be the name of a file"), "{name}: {refused}");
        }
    }

    #[test]
    fn inputs_that_are_one_file_on_some_systems_are_refused() {
        for (one, other) in
            [("a", "A"), ("ß", "ẞ"), ("caf\u{e9}", "cafe\u{301}"), ("Dir/x", "dir/X"), ("dir", "DIR/x")]
        {
            let mut job = JobFile::for_module("x", "x.wasm");
            job.inputs = [one, other].map(|name| (name.to_owned(), "file".to_owned())).into();
            let refused = job.check().map_err(|error| error.to_string());
            assert!(
                refused.as_ref().is_err_and(|said| said.contains(one) || said.contains(other)),
                "{one} {other}: {refused:?}"
            );
        }
        let mut job = JobFile::for_module("x", "x.wasm");
        job.inputs =
            ["a", "b", "dir/a", "dir/b", "Dir2/a"].map(|name| (name.to_owned(), "file".to_owned())).into();
        assert_eq!(job.check(), Ok(()));
        job.map = Map::Inputs(vec!["file".to_owned()]);
        assert_eq!(job.check(), Ok(()));
        job.inputs.insert("Item".to_owned(), "file".to_owned());
        assert!(job.check().is_err());
    }

    #[test]
    fn a_result_has_each_file_once_on_every_system() {
        assert!(check_result_paths(["a", "b/c", "b/d"]).is_ok());
        for paths in [["a", "a"], ["Case", "case"], ["a", "a/b"], ["a/b", "A"], ["a", "C:b"]] {
            assert!(check_result_paths(paths).is_err(), "{paths:?}");
        }
    }

    #[test]
    fn the_name_of_a_program_is_printable() {
        assert_eq!(name_of_module("x/tool.wasm"), "tool");
        assert_eq!(name_of_module("new\nline.wasm"), "new line");
        assert_eq!(name_of_module(".wasm"), "program");
        assert!(parse("version = 1\nmodule = \"new\\nline.wasm\"").is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|\n){0,300}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_damage_to_a_good_file_makes_it_panic(at in 0usize..400, with in "\\PC{0,3}") {
            let mut text = FULL.to_owned();
            if text.is_char_boundary(at.min(text.len())) {
                text.insert_str(at.min(text.len()), &with);
            }
            if let Ok(job) = parse(&text) {
                prop_assert!(job.check().is_ok());
            }
        }
    }
}
