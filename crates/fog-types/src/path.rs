//! Names of files in jobs and results: relative, and the same file on every system.
//!
//! A job's program may leave names that one system keeps and another reads as a device, as a stream of
//! another file or as the same file (`CON`, `a:b`, `Case` beside `case`). Such names are refused where
//! somebody says them, and replaced by a portable one where a program left them.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization;

use crate::text::clean;

/// Longest path inside a job, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest part of a path, in bytes; the limit of most file systems.
pub const MAX_NAME_BYTES: usize = 255;

/// Device names of Windows, which it takes with any extension and in any case:
/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
/// Devices that are followed by a digit, which may be a superscript one.
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];

/// Returns why `path` cannot be the name of a file on every system, or `None` when it can.
#[must_use]
pub fn path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty() || path.len() > MAX_PATH_BYTES || path.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > MAX_NAME_BYTES) {
        return Some("it is not a plain relative path, such as data/query.fasta");
    }
    if path.contains(is_refused) {
        return Some("it holds a character that some systems do not allow in names: one of < > : \" | ? * \\ or a control character");
    }
    if path.split('/').any(|part| part.ends_with(['.', ' '])) {
        return Some("a part of it ends in a dot or a blank, which some systems leave out");
    }
    path.split('/').any(is_device).then_some("a part of it is the name of a device on some systems")
}

/// Returns the nearest path that [`path_problem`] has nothing against: refused bytes as `%XX`, a `_` before
/// the name of a device. `None` when there is none, because it is too long or leads out of its folder.
#[must_use]
pub fn portable_path(path: &str) -> Option<String> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let path = path.split('/').map(portable_name).collect::<Vec<_>>().join("/");
    path_problem(&path).is_none().then_some(path)
}

fn portable_name(name: &str) -> String {
    let mut portable = String::new();
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        let is_trailing = rest.peek().is_none() && matches!(c, '.' | ' ');
        if is_refused(c) || is_trailing {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                portable.push_str(&format!("%{byte:02X}"));
            }
        } else {
            portable.push(c);
        }
    }
    if is_device(&portable) {
        portable.insert(0, '_');
    }
    cut(&portable, MAX_NAME_BYTES).to_owned()
}

/// At most `most` bytes of a name, not ending in what some systems leave out.
fn cut(name: &str, most: usize) -> &str {
    if name.len() <= most { name } else { name[..name.floor_char_boundary(most)].trim_end_matches(['.', ' ']) }
}

fn is_refused(c: char) -> bool {
    c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\')
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ').to_uppercase();
    let is_numbered = |device: &&str| {
        let mut number = stem.strip_prefix(*device).unwrap_or_default().chars();
        matches!(number.next(), Some('0'..='9' | '¹' | '²' | '³')) && number.next().is_none()
    };
    DEVICES.contains(&stem.as_str()) || NUMBERED_DEVICES.iter().any(is_numbered)
}

/// The names of one result: no two of them are one file on any system.
///
/// The same paths in the same order get the same names everywhere.
#[derive(Debug, Clone, Default)]
pub struct ResultNames {
    /// Folded names of files, and of the folders that hold them.
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
    /// Folders as they were said, and as they are kept.
    kept_folders: BTreeMap<String, String>,
    /// The last number that was tried for a folded name: a result of many twins must not try all of them for each.
    tried: BTreeMap<String, usize>,
}

impl ResultNames {
    /// Takes a path into the result and returns the portable one under which it is kept, which is the
    /// same one where nothing is wrong with it. `None` when it cannot be kept.
    pub fn add(&mut self, path: &str) -> Option<String> {
        let portable = portable_path(path)?;
        let mut kept = String::new();
        let mut new_folders = Vec::new();
        let mut at = 0;
        while let Some(length) = portable[at..].find('/') {
            let (said, part) = (&portable[..at + length], &portable[at..at + length]);
            kept = match self.kept_folders.get(said) {
                Some(known) => known.clone(),
                None => {
                    let (folder, folded) = self.free(&kept, part, false)?;
                    new_folders.push((said.to_owned(), folder.clone(), folded));
                    folder
                }
            };
            at += length + 1;
        }
        let (kept, folded) = self.free(&kept, &portable[at..], true)?;
        if kept.len() > MAX_PATH_BYTES {
            return None;
        }
        self.files.insert(folded);
        for (said, folder, folded) in new_folders {
            self.kept_folders.insert(said, folder);
            self.folders.insert(folded);
        }
        Some(kept)
    }

    /// The first of the numbered names below a folder that is free, and the same folded.
    fn free(&mut self, folder: &str, part: &str, is_file: bool) -> Option<(String, String)> {
        let below = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let is_free = |folded: &str| !(self.files.contains(folded) || is_file && self.folders.contains(folded));
        let first = fold(&below(part.to_owned()));
        let mut number = if is_free(&first) { 1 } else { self.tried.get(&first).copied().unwrap_or(1) + 1 };
        // Among more numbers than there are names, one is free.
        let last = number + self.files.len() + self.folders.len();
        while number <= last {
            let name = below(numbered(part, number));
            let folded = fold(&name);
            if is_free(&folded) {
                if number > 1 {
                    self.tried.insert(first, number);
                }
                return Some((name, folded));
            }
            number += 1;
        }
        None
    }
}

/// What is said about files of a result whose names were changed or that were left out.
#[derive(Debug, Clone, Default)]
pub struct Remarks {
    /// The first few, in words.
    named: Vec<String>,
    count: u64,
}

impl Remarks {
    /// Most files that are named; the others are counted.
    const MAX_NAMED: usize = 20;

    /// Notes what became of a file: its name in the result, or `None` when it is not in there.
    pub fn file(&mut self, said: &str, kept: Option<&str>) {
        if kept == Some(said) {
            return;
        }
        self.count += 1;
        if self.named.len() < Self::MAX_NAMED {
            self.named.push(match kept {
                Some(kept) => format!("'{}' is kept as '{}'", shown(said), shown(kept)),
                None => format!("'{}' is left out, because no system could keep it", shown(said)),
            });
        }
    }

    /// Notes a file that is not in the result, and why.
    pub fn left_out(&mut self, path: &str, why: &str) {
        self.count += 1;
        if self.named.len() < Self::MAX_NAMED {
            self.named.push(format!("'{}' is left out, because {why}", shown(path)));
        }
    }

    /// Notes files of which only the number is known.
    pub fn more(&mut self, files: u64) {
        self.count = self.count.saturating_add(files);
    }

    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl std::fmt::Display for Remarks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        write!(f, "files of the result: {}", self.named.join(", "))?;
        match self.count - self.named.len() as u64 {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// The beginning of a path, on one line, as words of others are shown; control characters as programs write them.
pub(crate) fn shown(path: &str) -> String {
    let escaped: String = path.chars().take(80).flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect();
    clean(&escaped)
}

/// `name.txt`, `name-2.txt`, `name-3.txt`, …
#[must_use]
pub fn numbered(name: &str, number: usize) -> String {
    if number < 2 {
        return name.to_owned();
    }
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    };
    let end = format!("-{number}{extension}");
    format!("{}{end}", cut(stem, MAX_NAME_BYTES.saturating_sub(end.len())))
}

/// What systems compare that do not tell upper and lower case apart, nor the two ways to write a letter with an accent.
/// Folds more than any of them does: ß, ẞ and ss are one.
pub(crate) fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    // Letter by letter, since a whole word has a sigma of its own at its end. Down first: a capital ẞ has no other capital.
    let one_case = path.nfd().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    one_case.nfd().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_mean_something_to_a_system_are_refused() {
        for path in ["a", "data/query.fasta", ".hidden", "with space", "-rf", "café", "context", "com", "COM10", "nul1", "a..b", "Console.txt"] {
            assert_eq!(path_problem(path), None, "{path}");
        }
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "C:x",
            "C:\\x",
            "a:stream",
            "a\\b",
            "\\\\server\\share",
            "NUL",
            "nul.txt",
            "CON",
            "con .txt",
            "aux.a.b",
            "x/COM1",
            "lpt9.log",
            "COM¹",
            "CONIN$",
            "end.",
            "end ",
            "a/b./c",
            "...",
            "new\nline",
            "esc\u{1b}[31m",
            "del\u{7f}",
            "c1\u{9b}",
            "what?",
            "*",
            "a|b",
            "<a>",
            "\"",
        ] {
            assert!(path_problem(path).is_some(), "{path:?}");
        }
        assert!(path_problem(&"n".repeat(256)).is_some());
        assert!(path_problem(&"d/".repeat(600)).is_some());
    }

    #[test]
    fn a_name_that_is_not_portable_gets_one_that_is() {
        let portable = |path: &str| portable_path(path).unwrap();
        assert_eq!(portable("a\\b"), "a%5Cb");
        assert_eq!(portable("C:AppData/a.bat"), "C%3AAppData/a.bat");
        assert_eq!(portable("CON"), "_CON");
        assert_eq!(portable("nul.txt"), "_nul.txt");
        assert_eq!(portable("end."), "end%2E");
        assert_eq!(portable("..."), "..%2E");
        assert_eq!(portable("new\nline"), "new%0Aline");
        assert_eq!(portable_path("../a"), None);
        assert_eq!(portable_path("/a"), None);
        assert_eq!(portable_path(&"d/".repeat(600)), None);
    }

    #[test]
    fn a_name_that_turns_the_reading_direction_is_not_shown_as_it_is() {
        let mut remarks = Remarks::default();
        remarks.file("a\u{202e}gpj.exe:", Some("a\u{202e}gpj.exe%3A"));
        remarks.file("x\u{1b}[31m\n", None);
        let said = remarks.to_string();
        assert!(said.contains("'agpj.exe:' is kept as 'agpj.exe%3A'"), "{said}");
        assert!(said.contains("x\\u{1b}[31m\\n"), "{said}");
        assert_eq!(crate::text::clean(&said), said);
    }

    #[test]
    fn no_two_names_of_a_result_are_one_file() {
        let mut names = ResultNames::default();
        let mut kept = |path: &str| names.add(path).unwrap();
        assert_eq!(kept("Case.txt"), "Case.txt");
        assert_eq!(kept("case.txt"), "case-2.txt");
        assert_eq!(kept("CASE.txt"), "CASE-3.txt");
        assert_eq!(kept("a\\b"), "a%5Cb");
        assert_eq!(kept("a%5Cb"), "a%5Cb-2");
        assert_eq!(kept("DATA"), "DATA");
        assert_eq!(kept("data/x"), "data-2/x");
        assert_eq!(kept("data/y"), "data-2/y");
        assert_eq!(kept("deep/er/z"), "deep/er/z");
        assert_eq!(kept("Deep"), "Deep-2");
        assert_eq!(kept("stdout.txt/inside"), "stdout.txt/inside");
        assert_eq!(kept("stdout.txt"), "stdout-2.txt");
    }

    #[test]
    fn letters_that_a_system_takes_for_the_same_are_the_same() {
        for (one, other) in
            [("a", "A"), ("straße", "STRASSE"), ("ß", "ẞ"), ("caf\u{e9}", "cafe\u{301}"), ("caf\u{e9}", "CAFE\u{301}"), ("ΟΔΟΣ", "οδος"), ("οδός", "οδόσ")]
        {
            assert_eq!(fold(one), fold(other), "{one} {other}");
            let mut names = ResultNames::default();
            assert_eq!(names.add(one).as_deref(), Some(one));
            assert_eq!(names.add(other), Some(format!("{other}-2")));
        }
        for (one, other) in [("a", "b"), ("e", "é"), ("x2", "x²")] {
            assert_ne!(fold(one), fold(other));
        }
    }

    #[test]
    fn many_twins_are_named_at_once() {
        let mut names = ResultNames::default();
        let twin = |number: u32| (0..16).map(|bit| if number >> bit & 1 == 1 { 'A' } else { 'a' }).collect::<String>();
        let kept: BTreeSet<String> = (0..20_000).filter_map(|number| names.add(&twin(number))).map(|name| fold(&name)).collect();
        assert_eq!(kept.len(), 20_000);
    }

    proptest! {
        #[test]
        fn a_portable_path_has_no_problem_and_stays_as_it_is(path in "[a-zA-Z:.\\\\ \u{1}é/%]{1,40}") {
            if let Some(portable) = portable_path(&path) {
                prop_assert_eq!(path_problem(&portable), None);
                prop_assert_eq!(portable_path(&portable), Some(portable.clone()));
            }
        }

        #[test]
        fn names_of_a_result_differ_in_more_than_their_case(paths in proptest::collection::vec("[aAbB:/]{1,4}|(nul|NUL)", 1..20)) {
            let mut names = ResultNames::default();
            let kept: Vec<String> = paths.iter().filter_map(|path| names.add(path)).collect();
            let mut folded: Vec<String> = kept.iter().map(|name| fold(name)).collect();
            for (name, folded_name) in kept.iter().zip(&folded) {
                prop_assert_eq!(path_problem(name), None);
                let below = format!("{folded_name}/");
                prop_assert!(!folded.iter().any(|other| other.starts_with(&below)), "{} is a file and a folder", name);
            }
            let all = folded.len();
            folded.sort();
            folded.dedup();
            prop_assert_eq!(folded.len(), all);
        }
    }
}
