//! Job file: its fields in TOML, sizes and spans of time.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Assemble, JobFile, JobFileError, MAX_FILE_BYTES, Map, VERSION, name_of_module, value};
use crate::{ByteCount, Limits, WorkUnits};

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
