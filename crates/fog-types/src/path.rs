//! Names of files in jobs and results: relative paths that mean the same file on every system.
//!
//! A job's program may create names that one system keeps and another reads as a device, as a stream of
//! another file or as the same file (`CON`, `a:b`, `Case` beside `case`). Such names are refused in job
//! files and replaced by portable ones in results.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use unicode_normalization::UnicodeNormalization;

use crate::text::clean;

/// Longest path inside a job, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest component of a path, in bytes; the limit of most file systems.
pub const MAX_NAME_BYTES: usize = 255;

/// Device names of Windows, reserved with any extension and in any case:
/// <https://learn.microsoft.com/windows/win32/fileio/naming-a-file>.
const DEVICES: [&str; 6] = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"];
/// Device names that are followed by one digit, which may be superscript.
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];

/// Returns why `path` cannot be the name of a file on every system, or `None` when it can.
#[must_use]
pub fn path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty()
        || path.len() > MAX_PATH_BYTES
        || path.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > MAX_NAME_BYTES)
    {
        return Some("it is not a plain relative path, such as data/query.fasta");
    }
    if path.contains(is_refused) {
        return Some(
            "it holds a character that some systems do not allow in names: one of < > : \" | ? * \\ or a control character",
        );
    }
    if path.split('/').any(|part| part.ends_with(['.', ' '])) {
        return Some("a part of it ends in a dot or a blank, which some systems leave out");
    }
    path.split('/').any(is_device).then_some("a part of it is the name of a device on some systems")
}

/// Returns the nearest path that [`path_problem`] accepts: refused characters as `%XX` bytes, a `_` before
/// a device name. `None` for a path that stays too long, or has an empty, `.` or `..` component.
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

/// Returns at most `most` bytes of a name; a cut name does not end in a dot or space.
fn cut(name: &str, most: usize) -> &str {
    if name.len() <= most {
        name
    } else {
        name[..name.floor_char_boundary(most)].trim_end_matches(['.', ' '])
    }
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

/// Set of the file names of one result, no two of which are the same file on any system.
///
/// Equal paths in equal order always get equal names.
#[derive(Debug, Clone, Default)]
pub struct ResultNames {
    /// Folded names of files; `folders` holds those of the folders.
    files: BTreeSet<String>,
    folders: BTreeSet<String>,
    /// Kept name of each folder, by its portable path.
    kept_folders: BTreeMap<String, String>,
    /// Last number tried for each folded name, so that many equal names do not repeat the search.
    tried: BTreeMap<String, usize>,
}

impl ResultNames {
    /// Adds a path to the result and returns the portable path under which it is kept: the same path when
    /// it is valid and free. `None` when it cannot be kept.
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

    /// Returns the first free numbered name below a folder, and its folded form.
    fn free(&mut self, folder: &str, part: &str, is_file: bool) -> Option<(String, String)> {
        let below = |name: String| if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let is_free =
            |folded: &str| !(self.files.contains(folded) || is_file && self.folders.contains(folded));
        let first = fold(&below(part.to_owned()));
        let mut number = if is_free(&first) { 1 } else { self.tried.get(&first).copied().unwrap_or(1) + 1 };
        // There are more numbers to try than names in use, so one is free.
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

/// A file of a program that was renamed in the result or left out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// Name that the program gave the file.
    pub name: String,
    /// Name of the file in the result; `None` when it was left out.
    pub kept: Option<String>,
    /// Reason why the file was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
}

/// Reason for leaving out a file whose name cannot be made portable.
const NO_NAME: &str = "no system could keep it";

/// List of the files of a result that were renamed or left out.
#[derive(Debug, Clone, Default)]
pub struct Remarks {
    /// Recorded files: the first [`Self::MAX_NAMED`], or more while `room` lasts.
    named: Vec<Renamed>,
    count: u64,
    /// Bytes left for files beyond the first [`Self::MAX_NAMED`].
    room: usize,
}

impl Remarks {
    /// Number of files listed in words; further ones are only counted.
    const MAX_NAMED: usize = 20;
    /// Bytes of names recorded in full, enough for the files of any result.
    const MAX_NAME_BYTES: usize = 64 << 20;
    /// Length in bytes of a name recorded beyond the first [`Self::MAX_NAMED`], at most.
    const MAX_NAME: usize = 64 << 10;

    /// Creates a list that records all files instead of the first few, for reading by programs.
    #[must_use]
    pub fn keeping_all() -> Self {
        Self { room: Self::MAX_NAME_BYTES, ..Self::default() }
    }

    /// Returns the recorded files: the first few, or all.
    #[must_use]
    pub fn files(&self) -> &[Renamed] {
        &self.named
    }

    /// Returns the number of files, recorded or only counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Records the name of a file in the result, unless it is unchanged; `None` means left out.
    pub fn file(&mut self, said: &str, kept: Option<&str>) {
        if kept == Some(said) {
            return;
        }
        self.add(said, kept, kept.is_none().then_some(NO_NAME));
    }

    fn add(&mut self, said: &str, kept: Option<&str>, reason: Option<&'static str>) {
        self.count += 1;
        let bytes = said.len().saturating_add(kept.map_or(0, str::len)).saturating_add(size_of::<Renamed>());
        let has_room = said.len() <= Self::MAX_NAME && bytes <= self.room;
        if has_room || self.named.len() < Self::MAX_NAMED {
            self.room = self.room.saturating_sub(bytes);
            self.named.push(Renamed { name: said.to_owned(), kept: kept.map(str::to_owned), reason });
        }
    }

    /// Records a file that was left out, and the reason.
    pub fn left_out(&mut self, path: &str, why: &'static str) {
        self.add(path, None, Some(why));
    }

    /// Adds to the number of files without recording them.
    pub fn more(&mut self, files: u64) {
        self.count = self.count.saturating_add(files);
    }

    /// Whether no file was renamed or left out.
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
        let named = &self.named[..self.named.len().min(Self::MAX_NAMED)];
        let words: Vec<String> = named.iter().map(Renamed::in_words).collect();
        write!(f, "files of the result: {}", words.join(", "))?;
        match self.count - named.len() as u64 {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl Renamed {
    fn in_words(&self) -> String {
        match &self.kept {
            Some(kept) => {
                let (said, kept) = shown_apart(&self.name, kept);
                format!("'{said}' is kept as '{kept}'")
            }
            None => {
                format!("'{}' is left out, because {}", shown(&self.name), self.reason.unwrap_or(NO_NAME))
            }
        }
    }
}

/// Number of characters of a path that are shown, at most.
const MAX_SHOWN: usize = 80;
/// Number of equal characters shown before the first difference of two long paths.
const SHOWN_ALIKE: usize = 30;

/// Returns the parts of two different paths to show, chosen so that their first difference is visible.
fn shown_apart(one: &str, other: &str) -> (String, String) {
    let alike = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let from = if alike + SHOWN_ALIKE < MAX_SHOWN { 0 } else { alike - SHOWN_ALIKE };
    let part = |path: &str| {
        let (begin, length) =
            (path.char_indices().nth(from).map_or(path.len(), |(at, _)| at), path.chars().count());
        let begins = if from > 0 { "…" } else { "" };
        let ends = if length > from + MAX_SHOWN { "…" } else { "" };
        format!("{begins}{}{ends}", shown(&path[begin..]))
    };
    (part(one), part(other))
}

/// Returns the beginning of a path on one line, with control characters escaped and the rest cleaned.
pub(crate) fn shown(path: &str) -> String {
    let escaped: String = path
        .chars()
        .take(MAX_SHOWN)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    clean(&escaped)
}

/// Returns the name with a number before its extension: `name.txt`, `name-2.txt`, `name-3.txt`, …
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

/// Returns the key by which systems that ignore case and Unicode normalization may compare paths. The key
/// unites more than any of them does: ß, ẞ and ss are equal.
pub(crate) fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    // Each letter is mapped alone, since a final sigma differs within a word; lower case first, since ẞ is
    // a capital itself.
    let one_case =
        path.nfd().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    one_case.nfd().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_mean_something_to_a_system_are_refused() {
        for path in [
            "a",
            "data/query.fasta",
            ".hidden",
            "with space",
            "-rf",
            "café",
            "context",
            "com",
            "COM10",
            "nul1",
            "a..b",
            "Console.txt",
        ] {
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
    fn two_long_names_are_shown_where_they_differ() {
        let long = "x".repeat(200);
        for (said, differs) in [(format!("{long}."), "x.' is kept as"), (format!("{long}:{long}"), "x:x")] {
            let kept = portable_path(&said).unwrap();
            let mut remarks = Remarks::default();
            remarks.file(&said, Some(&kept));
            let words = remarks.to_string();
            let (before, after) = words.split_once(" is kept as ").unwrap();
            assert!(words.contains(differs) && after.contains('%'), "{words}");
            assert_ne!(before.strip_prefix("files of the result: ").unwrap(), after, "{words}");
            assert!(words.chars().count() < 250, "{words}");
        }
        let twin = "y".repeat(255);
        assert!(shown_apart(&twin, &numbered(&twin, 2)).1.ends_with("y-2"));
        assert_eq!(shown_apart("a:b", "a%3Ab"), ("a:b".to_owned(), "a%3Ab".to_owned()));
    }

    #[test]
    fn all_files_are_kept_for_programs_and_few_are_said() {
        let (mut few, mut all) = (Remarks::default(), Remarks::keeping_all());
        for number in 0..1_000 {
            for remarks in [&mut few, &mut all] {
                remarks.file(&format!("a:{number}"), Some(&format!("a%3A{number}")));
            }
        }
        assert_eq!((few.files().len(), all.files().len(), all.count()), (20, 1_000, 1_000));
        assert_eq!(few.to_string(), all.to_string());
        assert!(all.to_string().ends_with("and 980 more"));
        // Endless names from a program cannot fill the memory.
        for _ in 0..100 {
            all.file(&"y".repeat(1 << 20), None);
        }
        assert_eq!((all.files().len(), all.count()), (1_000, 1_100));
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
        for (one, other) in [
            ("a", "A"),
            ("straße", "STRASSE"),
            ("ß", "ẞ"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("ΟΔΟΣ", "οδος"),
            ("οδός", "οδόσ"),
        ] {
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
        let twin = |number: u32| {
            (0..16).map(|bit| if number >> bit & 1 == 1 { 'A' } else { 'a' }).collect::<String>()
        };
        let kept: BTreeSet<String> =
            (0..20_000).filter_map(|number| names.add(&twin(number))).map(|name| fold(&name)).collect();
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
