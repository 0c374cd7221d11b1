use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use fog_runtime::{FromWorker, LimitKind, NewFile, Outcome, OutputFolder, Report, result_hash};
use fog_types::WorkUnits;
use fog_types::path::{Remarks, ResultNames};
use fog_types::text::{clean, clean_lines, counted};

use crate::output::{Failure, base64_of, complain, say_part, write_out};
use crate::program::KEPT_LOG;

/// Exit code when a limit ended the program, as for `timeout` of coreutils.
const LIMIT_REACHED: u8 = 124;
/// Exit code when the program cannot run, as for shells.
pub const CANNOT_RUN: u8 = 126;

/// Output of a run: results on standard output, progress on a terminal at standard error.
pub struct Screen {
    out: Option<OutputFolder>,
    json: bool,
    shows_progress: bool,
    has_line: bool,
    keeps_output: bool,
    /// Standard output so far, for the result and for checkpoints, if one of them is wanted.
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    names: ResultNames,
    remarks: Remarks,
    /// Hashes of the files by the names under which they are kept.
    files: BTreeMap<String, blake3::Hasher>,
    /// File that is being received; files come one after the other.
    incoming: Option<Incoming>,
}

/// A file of the program that arrives in pieces.
struct Incoming {
    said: String,
    /// Name in the result; `None` when the file is left out.
    kept: Option<String>,
    /// Path and file that is written, when files are kept.
    file: Option<(PathBuf, NewFile)>,
}

impl Screen {
    pub fn new(out: Option<PathBuf>, json: bool, keeps_output: bool) -> Self {
        Self {
            out: out.map(OutputFolder::new),
            json,
            shows_progress: std::io::stderr().is_terminal() && !json,
            has_line: false,
            keeps_output,
            stdout: Vec::new(),
            stderr: Vec::new(),
            names: ResultNames::default(),
            remarks: if json { Remarks::keeping_all() } else { Remarks::default() },
            files: BTreeMap::new(),
            incoming: None,
        }
    }

    /// Checks that a result can be written to a folder of this name, before anything runs.
    pub fn check(out: &Path) -> Result<(), Failure> {
        OutputFolder::check(out).map_err(|e| {
            Failure::input(format!("no result can be written to {}: {e}. Nothing was run", out.display()))
        })
    }

    pub fn note(&mut self, text: &str) {
        if self.shows_progress {
            say_part!("\r\x1b[K{text}");
            self.has_line = true;
        }
    }

    pub fn clear(&mut self) {
        if std::mem::take(&mut self.has_line) {
            say_part!("\r\x1b[K");
        }
    }

    pub fn take(&mut self, message: FromWorker) -> Result<(), Failure> {
        match message {
            FromWorker::Started => self.clear(),
            // A write error ends the program, as it would end a native one.
            FromWorker::Stdout(bytes) => {
                // Kept first, so that output that cannot be passed on is in the checkpoint.
                if self.keeps_output {
                    self.stdout.extend(&bytes);
                }
                if !self.json {
                    self.clear();
                    write_out(&bytes)?;
                }
            }
            FromWorker::Stderr(bytes) => {
                if self.keeps_output {
                    self.stderr.extend(&bytes);
                }
                if !self.json {
                    self.clear();
                    std::io::stderr()
                        .lock()
                        .write_all(&bytes)
                        .map_err(|e| Failure::of_stream("standard error", &e))?;
                }
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
        if self.incoming.as_ref().is_none_or(|incoming| incoming.said != path) {
            self.close_file()?;
            let kept = self.names.add(path);
            self.remarks.file(path, kept.as_deref());
            let file = match (&mut self.out, &kept) {
                (Some(out), Some(name)) => Some((
                    PathBuf::from(name),
                    out.create(name).map_err(|e| Failure::storage(Path::new(name), &e))?,
                )),
                _ => None,
            };
            if let Some(name) = &kept {
                self.files.insert(name.clone(), blake3::Hasher::new());
            }
            self.incoming = Some(Incoming { said: path.to_owned(), kept, file });
        }
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        if let Some(hasher) = incoming.kept.as_ref().and_then(|name| self.files.get_mut(name)) {
            hasher.update(chunk);
        }
        let Some((path, file)) = &mut incoming.file else { return Ok(()) };
        file.write_all(chunk).map_err(|e| Failure::storage(path, &e))
    }

    /// Gives the complete file its final name.
    fn close_file(&mut self) -> Result<(), Failure> {
        let (Some(out), Some(Incoming { file: Some((path, file)), .. })) =
            (&mut self.out, self.incoming.take())
        else {
            return Ok(());
        };
        out.finish(file).map(drop).map_err(|e| Failure::storage(&path, &e))
    }

    pub fn finish(mut self, report: &Report) -> Result<ExitCode, Failure> {
        self.close_file()?;
        report.left_out.remark(&mut self.remarks);
        let (code, problem) = match &report.outcome {
            // Exit codes are one byte on most systems; any other value must not look like success.
            Outcome::Exited(code) => (u8::try_from(*code).unwrap_or(255), None),
            Outcome::Trapped(what) => (134, Some(format!("the program broke off: {what}"))),
            Outcome::Limit(LimitKind::Units) => {
                (LIMIT_REACHED, Some("the limit of work units was reached; --units raises it".to_owned()))
            }
            Outcome::Limit(LimitKind::WallTime) => {
                (LIMIT_REACHED, Some("the limit of running time was reached; --wall raises it".to_owned()))
            }
            Outcome::Limit(LimitKind::Memory) => (
                LIMIT_REACHED,
                Some(
                    "the program used more memory than its limits allow; --memory and --disk raise them"
                        .to_owned(),
                ),
            ),
            Outcome::Limit(LimitKind::Stack) => (LIMIT_REACHED, Some("the stack overflowed".to_owned())),
            Outcome::Refused(why) => (CANNOT_RUN, Some(format!("the module cannot run: {why}"))),
        };
        if self.out.is_none() && !self.files.is_empty() && !self.json {
            let (what, them) = if self.files.len() == 1 {
                ("a file".to_owned(), "it")
            } else {
                (format!("{} files", self.files.len()), "them")
            };
            complain(&format!("fog: the program left {what}; --out DIR keeps {them}"));
        }
        if !self.json {
            if !self.remarks.is_empty() {
                complain(&clean(&format!("fog: {}", self.remarks)));
            }
            for (stream, dropped) in [("output", report.stdout_dropped), ("error", report.stderr_dropped)] {
                if dropped > 0 {
                    let why = "with --checkpoint, --history or --json only so many are kept";
                    let bytes = counted(
                        dropped,
                        &format!("byte of standard {stream} was"),
                        &format!("bytes of standard {stream} were"),
                    );
                    complain(&format!("fog: {bytes} dropped after {KEPT_LOG}: {why}"));
                }
            }
        }
        self.end(Some(report), problem.as_deref())?;
        Ok(ExitCode::from(code))
    }

    /// Returns the identity of the result; `None` when the program did not end by itself.
    pub fn result_hash(&self, report: &Report) -> Option<String> {
        let Outcome::Exited(code) = report.outcome else { return None };
        let files = self.files.iter().map(|(path, hasher)| (path.as_str(), hasher.finalize()));
        Some(result_hash(code, report.units, &self.stdout, files).to_hex().to_string())
    }

    pub fn end(&mut self, report: Option<&Report>, problem: Option<&str>) -> Result<(), Failure> {
        self.clear();
        if self.json {
            let exit_code =
                report.and_then(
                    |report| if let Outcome::Exited(code) = report.outcome { Some(code) } else { None },
                );
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
                // The exact bytes, where the text cannot represent them.
                "stdout_base64": base64_of(&self.stdout),
                "stderr_base64": base64_of(&self.stderr),
                "stdout_dropped": report.map_or(0, |report| report.stdout_dropped),
                "stderr_dropped": report.map_or(0, |report| report.stderr_dropped),
                "files": self.files.keys().collect::<Vec<_>>(),
                // All files that were renamed or left out; those that were only counted are not listed.
                "renamed": self.remarks.files(),
                "renamed_count": self.remarks.count(),
                "note": self.remarks.to_string(),
            }));
        }
        if let Some(problem) = problem {
            complain(&format!("fog: {}", clean_lines(problem)));
        }
        Ok(())
    }
}
