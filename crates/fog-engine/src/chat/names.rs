//! Names that several people have, or that look alike: anybody may call themselves anything.

use std::collections::{BTreeMap, BTreeSet};

use unicode_security::confusable_detection::skeleton;

/// Digits of an id that follow a name which is not one person's alone; more if these are the same as well.
const DIGITS: [usize; 3] = [4, 8, 16];

/// Who looks as if they were called what.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<String, BTreeSet<String>>,
    key_of: BTreeMap<String, String>,
}

/// What a name looks like: two with the same key cannot be told apart at a glance. Case, blanks, characters that nobody
/// sees and letters of other scripts that look the same make no difference.
fn key(name: &str) -> String {
    let name: String =
        fog_types::text::clean(name).chars().filter(|c| !c.is_whitespace() && !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}')).collect();
    // A capital I looks like a small l, and becomes a small i: so these count as one.
    let folded: String = skeleton(&name.to_lowercase()).collect();
    folded.to_lowercase().replace('i', "l")
}

impl Names {
    /// Somebody calls themselves so from now on; gives the others who are called something else to be told apart since.
    pub(crate) fn set(&mut self, id: &str, name: &str) -> Vec<String> {
        let key = key(name);
        if self.key_of.get(id) == Some(&key) {
            return Vec::new();
        }
        let mut others = self.remove(id);
        let alike = self.ids.entry(key.clone()).or_default();
        others.extend(alike.iter().cloned());
        alike.insert(id.to_owned());
        self.key_of.insert(id.to_owned(), key);
        others
    }

    /// Somebody is not known any more; gives the others of that name.
    pub(crate) fn remove(&mut self, id: &str) -> Vec<String> {
        let Some(key) = self.key_of.remove(id) else { return Vec::new() };
        let Some(alike) = self.ids.get_mut(&key) else { return Vec::new() };
        alike.remove(id);
        let others: Vec<String> = alike.iter().cloned().collect();
        if others.is_empty() {
            self.ids.remove(&key);
        }
        others
    }

    /// How somebody is shown who calls themselves so: with digits of their id when somebody else looks the same, or when
    /// the name itself looks as if it had some; by their id when there is no name.
    pub(crate) fn label(&self, id: &str, name: &str) -> String {
        let name = fog_types::text::clean_name(name);
        if name.is_empty() {
            return id.get(..8).unwrap_or(id).to_owned();
        }
        let others: Vec<&String> = self.ids.get(&key(&name)).into_iter().flatten().filter(|other| *other != id).collect();
        if id.is_empty() || (others.is_empty() && !name.contains('#')) {
            return name;
        }
        let is_own = |digits: &&usize| id.get(..**digits).is_some_and(|own| others.iter().all(|other| !other.starts_with(own)));
        let digits = DIGITS.iter().find(is_own).and_then(|digits| id.get(..*digits)).unwrap_or(id);
        format!("{name}#{digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_the_same_has_digits() {
        let mut names = Names::default();
        assert!(names.set("aaaa000000000000", "anna").is_empty());
        assert_eq!(names.label("aaaa000000000000", "anna"), "anna");
        for (n, twin) in ["anna", "an\u{200b}na", "Anna", "\u{430}nna", "a n n a", "anna\u{202e}"].into_iter().enumerate() {
            let id = format!("bbb{n}000000000000");
            assert!(names.set(&id, twin).contains(&"aaaa000000000000".to_owned()), "{twin:?}");
            assert_eq!(names.label("aaaa000000000000", "anna"), "anna#aaaa");
            assert!(names.label(&id, twin).ends_with(&format!("#bbb{n}")), "{twin:?}");
            assert_eq!(names.remove(&id), ["aaaa000000000000"]);
        }
        assert_eq!(names.label("aaaa000000000000", "anna"), "anna");
        assert!(names.set("cccc000000000000", "lllian").is_empty() && names.set("dddd000000000000", "Illian").len() == 1);
        assert_eq!(names.label("eeee000000000000", "bert"), "bert");
    }

    #[test]
    fn digits_of_an_id_cannot_be_borrowed() {
        let mut names = Names::default();
        names.set("aaaa111100000000", "anna");
        names.set("aaaa222200000000", "anna");
        assert_eq!(names.label("aaaa111100000000", "anna"), "anna#aaaa1111", "somebody made an id with the same beginning");
        assert_eq!(names.label("bbbb000000000000", "anna#aaaa"), "anna#aaaa#bbbb", "a name with digits gets its own");
        assert_eq!((names.label("bbbb000000000000", "\u{200b}"), names.label("", "anna")), ("bbbb0000".to_owned(), "anna".to_owned()));
        // Who renames themselves is somebody else.
        assert_eq!(names.set("aaaa222200000000", "bert"), ["aaaa111100000000"]);
        assert_eq!(names.label("aaaa111100000000", "anna"), "anna");
        // What was said under the name of before does not look like somebody else's.
        assert_eq!(names.label("aaaa222200000000", "anna"), "anna#aaaa2222");
    }
}
