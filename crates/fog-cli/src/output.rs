use std::io::{Read, Write};

use base64::Engine as _;
use fog_api::ApiError;
use fog_types::text::{clean, clean_lines};
use fog_types::{ErrorKind, HasKind};
use fog_words::Words;
use serde::Serialize;

/// Exit code of a program whose output nobody reads any more; shells use it for SIGPIPE.
pub const READER_GONE: u8 = 141;

/// Reason why a verb failed.
#[derive(Debug)]
pub struct Failure {
    /// Error of the engine or of this program; its kind decides the exit code.
    pub error: ApiError,
}

impl Failure {
    pub fn new(kind: ErrorKind, message: impl ToString) -> Self {
        ApiError::new(kind, message).into()
    }

    pub fn input(message: impl ToString) -> Self {
        Self::new(ErrorKind::BadInput, message)
    }

    /// Failure for a named file that cannot be read.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::of_named_file(error.kind()), format!("{}: {error}", path.display()))
    }

    pub fn storage(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Storage, format!("{}: {error}", path.display()))
    }

    /// Failure for an output stream that cannot be written to; without a text when its reader went away.
    pub fn of_stream(name: &str, error: &std::io::Error) -> Self {
        let message = if error.kind() == std::io::ErrorKind::BrokenPipe {
            String::new()
        } else {
            format!("{name} cannot be written to: {error}")
        };
        Self::new(ErrorKind::Storage, message)
    }

    /// Whether the reader of the output went away; the program then ends without a message.
    pub fn is_quiet(&self) -> bool {
        self.error.message.is_empty()
    }

    /// Returns the exit code of this failure.
    pub fn exit_code(&self) -> u8 {
        if self.is_quiet() { READER_GONE } else { self.error.kind.exit_code() }
    }

    /// Adds what became of the request.
    pub fn with(self, outcome: &str) -> Self {
        Self::new(self.error.kind, format!("{}; {outcome}", self.error.message))
    }

    /// Returns the failure with its text in the language of `words`.
    pub fn in_words(self, words: &Words) -> Self {
        let message = words.error(&self.error);
        Self { error: ApiError { message, ..self.error } }
    }

    pub fn bug(message: impl ToString) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    pub fn of<E: HasKind + std::fmt::Display>(error: &E) -> Self {
        ApiError::of(error).into()
    }

    /// Prints the failure on standard error, as JSON if requested.
    pub fn print(&self, json: bool) {
        if self.is_quiet() {
            return;
        }
        if json {
            let ApiError { kind, message, key, .. } = &self.error;
            let mut body = serde_json::json!({ "error": { "kind": kind, "message": message } });
            if !key.is_empty() {
                body["error"]["key"] = key.as_str().into();
            }
            complain(&body.to_string());
        } else {
            // A name or a problem in the message may be a stranger's text.
            complain(&format!("fog: {}", clean_lines(&self.error.message)));
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { error }
    }
}

/// Reads a text file of at most `most` bytes, without a byte order mark.
pub fn read_text(path: &std::path::Path, most: u64) -> Result<String, Failure> {
    let wrong = |what: String| Failure::input(format!("{}: {what}", path.display()));
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::file(path, &e))?;
    if bytes.len() as u64 > most {
        return Err(wrong(format!("it is longer than {}", fog_types::ByteCount(most))));
    }
    fog_types::decode_text(&bytes).map_err(wrong)
}

/// Prints a value as JSON on standard output.
pub fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::bug(e.to_string()))?;
    write_out(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output unchanged.
pub fn write_out(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::of_stream("standard output", &e))
}

/// Prints a line. A write error ends this program at once with an exit code: otherwise nobody would notice
/// the missing output. Everything requested before has been done.
pub fn print_text(text: &str) {
    if let Err(failure) = write_out(format!("{text}\n").as_bytes()) {
        failure.print(false);
        std::process::exit(i32::from(failure.exit_code()));
    }
}

/// Returns base64 of bytes that are not UTF-8; `None` for text.
pub fn base64_of(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).is_err().then(|| base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// Prints a line on standard error; ignored when that is closed or full.
pub fn complain(text: &str) {
    complain_in_part(format_args!("{text}\n"));
}

/// Prints text on standard error.
pub fn complain_in_part(text: std::fmt::Arguments<'_>) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
}

/// Prints a line on standard error. The standard macro panics when that is closed or full.
macro_rules! say {
    ($($text:tt)*) => { $crate::output::complain(&format!($($text)*)) };
}

/// Prints like [`say!`], without ending the line.
macro_rules! say_part {
    ($($text:tt)*) => { $crate::output::complain_in_part(format_args!($($text)*)) };
}

pub(crate) use {say, say_part};

/// Prints rows with aligned columns; the first row is the heading. Each cell stays on one line, whatever
/// text it contains.
pub fn print_table(rows: &[Vec<String>]) {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let line: String = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}  ", " ".repeat(width - cell.chars().count())))
            .collect();
        print_text(line.trim_end());
    }
}
