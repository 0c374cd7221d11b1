use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use fog_runtime::{FromWorker, LimitKind, Outcome, Report, result_hash};
use fog_types::WorkUnits;
use fog_types::job::check_inside_path;

use crate::output::Failure;

/// A limit ended the program; what `timeout` of coreutils uses.
const LIMIT_REACHED: u8 = 124;
/// The program cannot run; what shells use.
pub const CANNOT_RUN: u8 = 126;

/// Where a run's words go: output to standard output, progress to a terminal on standard error.
pub struct Screen {
    out: Option<PathBuf>,
    json: bool,
    shows_progress: bool,
    has_line: bool,
    /// Everything written so far, for the result and for checkpoints.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    files: Vec<(String, blake3::Hasher)>,
}

impl Screen {
    pub fn new(out: Option<PathBuf>, json: bool) -> Self {
        Self { out, json, shows_progress: std::io::stderr().is_terminal() && !json, has_line: false, stdout: Vec::new(), stderr: Vec::new(), files: Vec::new() }
    }

    pub fn note(&mut self, text: &str) {
        if self.shows_progress {
            eprint!("\r\x1b[K{text}");
            self.has_line = true;
        }
    }

    pub fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            eprint!("\r\x1b[K");
        }
    }

    pub fn take(&mut self, message: FromWorker) -> Result<(), Failure> {
        match message {
            FromWorker::Started => self.clear(),
            FromWorker::Stdout(bytes) => {
                if !self.json {
                    self.clear();
                    let mut stdout = std::io::stdout().lock();
                    // A reader that went away is not an error of the program that runs.
                    let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
                }
                self.stdout.extend(bytes);
            }
            FromWorker::Stderr(bytes) => {
                if !self.json {
                    self.clear();
                    let _ = std::io::stderr().lock().write_all(&bytes);
                }
                self.stderr.extend(bytes);
            }
            FromWorker::Progress { units, permille } => {
                let done = permille.map_or_else(String::new, |p| format!("{} %, ", p / 10));
                self.note(&format!("{done}{}", WorkUnits(units)));
            }
            FromWorker::File { path, chunk } => self.write(&path, &chunk)?,
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, path: &str, chunk: &[u8]) -> Result<(), Failure> {
        check_inside_path(path).map_err(|e| Failure::bug(e.to_string()))?;
        let is_new = self.files.last().is_none_or(|(last, _)| last != path);
        if is_new {
            self.files.push((path.to_owned(), blake3::Hasher::new()));
        }
        if let Some((_, hasher)) = self.files.last_mut() {
            hasher.update(chunk);
        }
        let Some(folder) = &self.out else { return Ok(()) };
        let target = folder.join(path);
        let failed = |e: std::io::Error| Failure::storage(&target, &e);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut options = std::fs::File::options();
        let options = if is_new { options.create(true).write(true).truncate(true) } else { options.append(true) };
        options.open(&target).and_then(|mut file| file.write_all(chunk)).map_err(failed)
    }

    pub fn finish(mut self, report: &Report) -> Result<ExitCode, Failure> {
        let (code, problem) = match &report.outcome {
            // Exit codes have a byte on most systems; anything else must not look like success.
            Outcome::Exited(code) => (u8::try_from(*code).unwrap_or(255), None),
            Outcome::Trapped(what) => (134, Some(format!("the program broke off: {what}"))),
            Outcome::Limit(LimitKind::Units) => (LIMIT_REACHED, Some("the limit of work units was reached; --units raises it".to_owned())),
            Outcome::Limit(LimitKind::WallTime) => (LIMIT_REACHED, Some("the limit of running time was reached; --wall raises it".to_owned())),
            Outcome::Limit(LimitKind::Memory) => {
                (LIMIT_REACHED, Some("the program used more memory than its limits allow; --memory and --disk raise them".to_owned()))
            }
            Outcome::Limit(LimitKind::Stack) => (LIMIT_REACHED, Some("the stack overflowed".to_owned())),
            Outcome::Refused(why) => (CANNOT_RUN, Some(format!("the module cannot run: {why}"))),
        };
        if self.out.is_none() && !self.files.is_empty() && !self.json {
            eprintln!("fog: the program left {} files; --out DIR keeps them", self.files.len());
        }
        self.end(Some(report), problem.as_deref())?;
        Ok(ExitCode::from(code))
    }

    /// The identity of the result; none when the program did not end by itself.
    pub fn result_hash(&self, report: &Report) -> Option<String> {
        let Outcome::Exited(code) = report.outcome else { return None };
        let files = self.files.iter().map(|(path, hasher)| (path.as_str(), hasher.finalize()));
        Some(result_hash(code, report.units, &self.stdout, files).to_hex().to_string())
    }

    pub fn end(&mut self, report: Option<&Report>, problem: Option<&str>) -> Result<(), Failure> {
        self.clear();
        if self.json {
            let exit_code = report.and_then(|report| if let Outcome::Exited(code) = report.outcome { Some(code) } else { None });
            let hash = report.and_then(|report| self.result_hash(report));
            return crate::output::print_json(&serde_json::json!({
                "exit_code": exit_code,
                "result_hash": hash,
                "problem": problem,
                "units": report.map(|report| report.units),
                "memory": report.map(|report| report.memory),
                "disk": report.map(|report| report.disk),
                "active_ms": report.map(|report| report.active_millis),
                "stdout": String::from_utf8_lossy(&self.stdout),
                "stderr": String::from_utf8_lossy(&self.stderr),
                "files": self.files.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            }));
        }
        if let Some(problem) = problem {
            eprintln!("fog: {problem}");
        }
        Ok(())
    }
}
