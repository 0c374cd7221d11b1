//! The job file: TOML, version 1. User documentation: `docs/job-file.md`.
//!
//! Parsing checks everything that needs no disk access: a parsed [`JobFile`] is valid and bounded, and
//! names below `/in` stay there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::path::{ResultNames, fold, path_problem, shown};
use crate::{ByteCount, ErrorKind, HasKind, Limits, WorkUnits};

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
const MAX_TEXT: usize = 64 << 10;

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

/// Preference for choosing a device for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// Balances all objectives.
    #[default]
    Balanced,
    /// Prefers the earliest result.
    Fast,
    /// Prefers the lowest price.
    Cheap,
    /// Prefers the least energy and battery wear.
    Green,
    /// Prefers the lowest risk of repeated work.
    Safe,
}

/// A class of service: replicas that a job is promised, and its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Runs each task on one device.
    #[default]
    Bronze,
    /// Runs each task on two devices, whose results must be equal.
    Silver,
    /// Runs each task on three devices, of which two must agree.
    Gold,
}

impl Service {
    /// Returns the number of devices that run each task.
    #[must_use]
    pub fn replicas(self) -> u32 {
        match self {
            Self::Bronze => 1,
            Self::Silver => 2,
            Self::Gold => 3,
        }
    }

    /// Returns the price of a work unit in tenths of the usual price.
    #[must_use]
    pub fn price_tenths(self) -> u16 {
        match self {
            Self::Bronze => 10,
            Self::Silver => 25,
            Self::Gold => 50,
        }
    }

    /// Returns the word used in texts and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Silver => "silver",
            Self::Gold => "gold",
        }
    }
}

/// Wishes of a job that other devices may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GridOptions {
    /// Number of devices that run each task, 1 to 16; their results are compared. The class of service may
    /// raise it.
    pub replicas: u32,
    /// Preference for choosing devices.
    pub prefer: Prefer,
    /// Odds, 2 to 1,000,000: a result is accepted when the odds against it are below 1 in this number.
    /// `None` counts equal results instead.
    pub trust: Option<u32>,
    /// Whether one result of a device with ten or more correct results in a row is enough, except for one
    /// task in that many; other devices need two equal results. Ignored with `trust`.
    pub adaptive: bool,
    /// Class of service.
    pub service: Service,
    /// Whether early results are paid more, up to twice the price.
    pub bonus: bool,
    /// Percentage of accepted results after which a device gets a task with a known result, 0 to 50.
    pub spot_checks: u8,
}

impl GridOptions {
    /// Returns the number of devices for each task, including the class of service.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.replicas.max(self.service.replicas()).clamp(1, 16)
    }

    /// Whether all numbers lie within their bounds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (1..=16).contains(&self.replicas)
            && self.trust.is_none_or(|trust| (2..=1_000_000).contains(&trust))
            && self.spot_checks <= 50
    }
}

impl Default for GridOptions {
    fn default() -> Self {
        Self {
            replicas: 1,
            prefer: Prefer::default(),
            trust: None,
            adaptive: false,
            service: Service::default(),
            bonus: false,
            spot_checks: 0,
        }
    }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJob {
    version: u32,
    name: Option<String>,
    module: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    stdin: Option<String>,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    priority: i8,
    deadline: Option<Span>,
    attempts: Option<u32>,
    #[serde(default)]
    seed: u64,
    segment: Option<u64>,
    map: Option<RawMap>,
    result: Option<RawResult>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    memory: Option<Size>,
    disk: Option<Size>,
    units: Option<u64>,
    wall: Option<Span>,
    stack: Option<Size>,
    table_elements: Option<u64>,
    log: Option<Size>,
    module: Option<Size>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMap {
    range: Option<[i64; 2]>,
    inputs: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResult {
    assemble: String,
    columns: Option<u32>,
}

/// A size in bytes: a number, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a size is wanted: a number of bytes, or a text such as \"64MiB\"")]
enum Size {
    Bytes(u64),
    Text(String),
}

/// A span of time: a number of seconds, or text such as `90s`, `15min`, `2h`, `7d`.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a span of time is wanted: a number of seconds, or a text such as \"90s\", \"15min\", \"2h\" or \"7d\""
)]
enum Span {
    Seconds(u64),
    Text(String),
}

impl Size {
    fn bytes(&self) -> Result<ByteCount, JobFileError> {
        match self {
            Self::Bytes(n) => Ok(ByteCount(*n)),
            Self::Text(text) => text.parse().map_err(|message| JobFileError::Value { message }),
        }
    }
}

impl Span {
    fn seconds(&self) -> Result<u64, JobFileError> {
        match self {
            Self::Seconds(n) => Ok(*n),
            Self::Text(text) => parse_span(text).map_err(|message| JobFileError::Value { message }),
        }
    }
}

/// Parses a span of time such as `90s`, `15min`, `2h`, `7d`, or a plain number of seconds.
///
/// # Errors
/// Returns a sentence that says which values are valid.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let bad = || {
        let shown: String = text.chars().take(40).collect();
        format!("'{shown}' is not a span of time, such as 90s, 15min, 2h or 7d")
    };
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().map_err(|_| bad())?;
    let factor = match text[split..].trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    number.checked_mul(factor).ok_or_else(bad)
}

/// Parses and checks a job file.
///
/// # Errors
/// Returns a [`JobFileError`] whose message names the field and says which values are valid.
pub fn parse(text: &str) -> Result<JobFile, JobFileError> {
    let text = crate::without_mark(text);
    if text.len() > MAX_FILE_BYTES {
        return Err(value(format!(
            "it is {} long; at most {} is read",
            ByteCount(text.len() as u64),
            ByteCount(MAX_FILE_BYTES as u64)
        )));
    }
    #[derive(Deserialize)]
    struct OnlyVersion {
        version: Option<u32>,
    }
    let syntax = |e: toml::de::Error| JobFileError::Syntax { message: e.to_string().trim_end().to_owned() };
    let OnlyVersion { version } = toml::from_str(text).map_err(syntax)?;
    match version {
        Some(VERSION) => {}
        Some(found) => return Err(JobFileError::Version { found }),
        None => return Err(value("the line 'version = 1' is missing".to_owned())),
    }
    let raw: RawJob = toml::from_str(text).map_err(syntax)?;
    debug_assert_eq!(raw.version, VERSION);
    raw.check()
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

    /// Checks all values of a job, such as one that was built rather than parsed.
    ///
    /// # Errors
    /// Returns [`JobFileError::Value`] for the first value that is not valid.
    pub fn check(&self) -> Result<(), JobFileError> {
        let name_length = self.name.chars().count();
        if name_length == 0 || name_length > 120 || self.name.chars().any(char::is_control) {
            return Err(value("'name' must have 1 to 120 printable characters".to_owned()));
        }
        if self.module.is_empty() {
            return Err(value("'module' must name a .wasm file".to_owned()));
        }
        for (what, length) in
            [("args", self.args.len()), ("env", self.env.len()), ("inputs", self.inputs.len())]
        {
            if length > MAX_LIST {
                return Err(value(format!("'{what}' has {length} entries; at most {MAX_LIST} are allowed")));
            }
        }
        for text in self.args.iter().chain(self.env.values()) {
            if text.len() > MAX_TEXT || text.contains('\0') {
                return Err(value(format!(
                    "an argument or variable is longer than {MAX_TEXT} bytes or holds a NUL"
                )));
            }
        }
        for key in self.env.keys() {
            if key.is_empty() || key.contains(['=', '\0']) || key.len() > 255 {
                return Err(value(format!("'{key}' cannot be the name of an environment variable")));
            }
        }
        for name in self.inputs.keys() {
            check_inside_path(name)?;
            if matches!(self.map, Map::Inputs(_)) && (name == "item" || name.starts_with("item/")) {
                return Err(value("the input name 'item' is taken by [map] inputs".to_owned()));
            }
        }
        for (name, deeper) in self.inputs.keys().zip(self.inputs.keys().skip(1)) {
            if deeper.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                return Err(value(format!("input '{name}' is a file, so '{deeper}' cannot lie below it")));
            }
        }
        let item = matches!(self.map, Map::Inputs(_)).then_some("item");
        check_input_names(item.into_iter().chain(self.inputs.keys().map(String::as_str)))?;
        if !(-10..=10).contains(&self.priority) {
            return Err(value(format!("'priority' is {}; it must lie between -10 and 10", self.priority)));
        }
        if self.deadline_seconds == 0 || self.deadline_seconds > MAX_DEADLINE_SECONDS {
            return Err(value("'deadline' must lie between 1 second and 366 days".to_owned()));
        }
        if !(1..=100).contains(&self.attempts) {
            return Err(value(format!("'attempts' is {}; it must lie between 1 and 100", self.attempts)));
        }
        if let Some(segment) = self.segment
            && (segment.0 == 0 || self.limits.units.0 / segment.0 > MAX_MARKS)
        {
            let least = (self.limits.units.0 / MAX_MARKS).max(1);
            return Err(value(format!(
                "'segment' is {}; with this limit of units it must be at least {least} (at most {MAX_MARKS} marks)",
                segment.0
            )));
        }
        if let Map::Range { from, to } = self.map
            && (to <= from || to.checked_sub(from).is_none_or(|n| n > i64::from(MAX_TASKS)))
        {
            return Err(value(format!("[map] range must rise and hold at most {MAX_TASKS} numbers")));
        }
        if let Map::Inputs(list) = &self.map
            && (list.is_empty() || list.len() > MAX_TASKS as usize)
        {
            return Err(value(format!("[map] inputs must list 1 to {MAX_TASKS} files")));
        }
        if let Assemble::Tiles { columns } = self.assemble
            && (columns == 0 || columns > 1024 || !self.task_count().is_multiple_of(columns))
        {
            return Err(value(format!(
                "[result] columns is {columns}; it must divide the {} tasks",
                self.task_count()
            )));
        }
        self.limits.problem().map_or(Ok(()), |message| Err(value(message)))
    }
}

impl RawJob {
    fn check(self) -> Result<JobFile, JobFileError> {
        let map = match self.map {
            None => Map::One,
            Some(RawMap { range: Some([from, to]), inputs: None }) => Map::Range { from, to },
            Some(RawMap { range: None, inputs: Some(list) }) => Map::Inputs(list),
            Some(_) => return Err(value("[map] needs either 'range' or 'inputs'".to_owned())),
        };
        let assemble = match self.result {
            None => Assemble::Separate,
            Some(RawResult { assemble, columns }) => match (assemble.as_str(), columns) {
                ("separate", None) => Assemble::Separate,
                ("concat", None) => Assemble::Concat,
                ("tiles", Some(columns)) => Assemble::Tiles { columns },
                ("tiles", None) => return Err(value("[result] assemble = \"tiles\" needs 'columns'".to_owned())),
                _ => return Err(value("[result] assemble must be \"separate\", \"concat\" or \"tiles\" (only \"tiles\" takes 'columns')".to_owned())),
            },
        };
        let name = self.name.unwrap_or_else(|| name_of_module(&self.module));
        let defaults = JobFile::for_module("", "");
        let job = JobFile {
            name,
            module: self.module,
            args: self.args,
            env: self.env,
            stdin: self.stdin,
            inputs: self.inputs,
            limits: self.limits.fill()?,
            priority: self.priority,
            deadline_seconds: self.deadline.map_or(Ok(defaults.deadline_seconds), |span| span.seconds())?,
            attempts: self.attempts.unwrap_or(defaults.attempts),
            seed: self.seed,
            map,
            assemble,
            segment: self.segment.map(WorkUnits),
        };
        job.check()?;
        Ok(job)
    }
}

impl RawLimits {
    fn fill(self) -> Result<Limits, JobFileError> {
        let base = Limits::default();
        let size = |raw: Option<Size>, default| raw.map_or(Ok(default), |size| size.bytes());
        Ok(Limits {
            memory: size(self.memory, base.memory)?,
            disk: size(self.disk, base.disk)?,
            units: self.units.map_or(base.units, WorkUnits),
            wall_seconds: self.wall.map_or(Ok(base.wall_seconds), |span| span.seconds())?,
            stack: size(self.stack, base.stack)?,
            table_elements: self.table_elements.unwrap_or(base.table_elements),
            log: size(self.log, base.log)?,
            module: size(self.module, base.module)?,
        })
    }
}

/// Checks a path below a folder of the job: relative, without `.`, `..` or empty components, and valid on
/// every system.
///
/// # Errors
/// Returns [`JobFileError::Value`], which names the path and the problem.
pub fn check_inside_path(path: &str) -> Result<(), JobFileError> {
    path_problem(path).map_or(Ok(()), |problem| {
        Err(value(format!("'{}' cannot be the name of a file: {problem}", shown(path))))
    })
}

/// Checks the input names of one task: each is valid, and no two are the same file on any system.
///
/// # Errors
/// Returns [`JobFileError::Value`], which names the first wrong input and the one it collides with.
pub fn check_input_names<'a>(inputs: impl IntoIterator<Item = &'a str>) -> Result<(), JobFileError> {
    let mut names = ResultNames::default();
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    for name in inputs {
        check_inside_path(name)?;
        if names.add(name).as_deref() != Some(name) {
            let other = known.get(&fold(name)).map_or_else(
                || "of a file and of a folder".to_owned(),
                |other| format!("'{}'", shown(other)),
            );
            return Err(value(format!(
                "the input '{}' has the same name as another one on some systems: {other}",
                shown(name)
            )));
        }
        known.insert(fold(name), name);
    }
    Ok(())
}

/// Checks the paths of one result: each is valid, and no two are the same file on any system.
///
/// # Errors
/// Returns [`JobFileError::Value`], which names the first wrong path.
pub fn check_result_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), JobFileError> {
    let mut names = ResultNames::default();
    for path in paths {
        check_inside_path(path)?;
        if names.add(path).as_deref() != Some(path) {
            return Err(value(format!(
                "'{}' is the same file as another one of the result, on some systems",
                shown(path)
            )));
        }
    }
    Ok(())
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
