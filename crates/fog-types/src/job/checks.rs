//! Job file: checks of its values, and of the names of files.

use std::collections::BTreeMap;

use super::{
    Assemble, JobFile, JobFileError, MAX_DEADLINE_SECONDS, MAX_LIST, MAX_MARKS, MAX_TASKS, Map, value,
};
use crate::path::{ResultNames, fold, path_problem, shown};

const MAX_TEXT: usize = 64 << 10;

impl JobFile {
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
