use std::io::{Read, Write};

use fog_api::ApiError;
use fog_types::{ErrorKind, HasKind};
use serde::Serialize;

/// Why a verb did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl Failure {
    pub fn input(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::BadInput, message: message.into() }
    }

    pub fn storage(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self { kind: ErrorKind::Storage, message: format!("{}: {error}", path.display()) }
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Bug, message: message.into() }
    }

    pub fn of<E: HasKind + std::fmt::Display>(error: &E) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }

    /// On standard error, as JSON if asked.
    pub fn print(&self, json: bool) {
        if json {
            let body = serde_json::json!({ "error": { "kind": self.kind, "message": self.message } });
            eprintln!("{body}");
        } else {
            eprintln!("fog: {}", self.message);
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { kind: error.kind, message: error.message }
    }
}

/// The text of a file, with whatever mark an editor put before it; at most `most` bytes.
pub fn read_text(path: &std::path::Path, most: u64) -> Result<String, Failure> {
    let wrong = |what: String| Failure::input(format!("{}: {what}", path.display()));
    let file = std::fs::File::open(path).map_err(|e| wrong(e.to_string()))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(wrong(format!("it is longer than {}", fog_types::ByteCount(most))));
    }
    fog_types::decode_text(&bytes).map_err(wrong)
}

/// Prints a value as JSON on standard output.
pub fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::bug(e.to_string()))?;
    print_text(&text);
    Ok(())
}

/// Prints a line; a reader that went away is not an error.
pub fn print_text(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Rows with aligned columns; the first row is the heading.
pub fn print_table(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let line: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell}{}  ", " ".repeat(width - cell.chars().count()))).collect();
        print_text(line.trim_end());
    }
}
