//! Names that several people share or that look alike, since people choose their names freely.

use std::collections::{BTreeMap, BTreeSet};

use unicode_security::confusable_detection::skeleton;

/// Number of id digits after a name that is not unique; a larger one is used when shorter prefixes collide.
const DIGITS: [usize; 3] = [4, 8, 16];

/// Index of people by the look of their names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ids: BTreeMap<String, BTreeSet<String>>,
    key_of: BTreeMap<String, String>,
}

/// Key of a name's look: names with equal keys cannot be told apart at a glance. Case, blanks, invisible
/// characters and similar letters of other scripts make no difference.
fn key(name: &str) -> String {
    let name: String = fog_types::text::clean(name)
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '\u{200c}' | '\u{200d}' | '\u{fe0e}' | '\u{fe0f}'))
        .collect();
    // A capital I looks like a small l and becomes a small i by folding, so i and l count as one letter.
    let folded: String = skeleton(&name.to_lowercase()).collect();
    folded.to_lowercase().replace('i', "l")
}

impl Names {
    /// Sets a person's name. Returns the ids of other people whose labels may change with it.
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

    /// Removes a person. Returns the ids of the others with that name.
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

    /// Label of a person: the name, with digits of the id when another person's name looks the same or the
    /// name itself contains a `#`; the beginning of the id when there is no name.
    pub(crate) fn label(&self, id: &str, name: &str) -> String {
        let name = fog_types::text::clean_name(name);
        if name.is_empty() {
            return id.get(..8).unwrap_or(id).to_owned();
        }
        let others: Vec<&String> =
            self.ids.get(&key(&name)).into_iter().flatten().filter(|other| *other != id).collect();
        if id.is_empty() || (others.is_empty() && !name.contains('#')) {
            return name;
        }
        let is_own = |digits: &&usize| {
            id.get(..**digits).is_some_and(|own| others.iter().all(|other| !other.starts_with(own)))
        };
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
        for (n, twin) in
            ["anna", "an\u{200b}na", "Anna", "\u{430}nna", "a n n a", "anna\u{202e}"].into_iter().enumerate()
        {
            let id = format!("bbb{n}000000000000");
            assert!(names.set(&id, twin).contains(&"aaaa000000000000".to_owned()), "{twin:?}");
            assert_eq!(names.label("aaaa000000000000", "anna"), "anna#aaaa");
            assert!(names.label(&id, twin).ends_with(&format!("#bbb{n}")), "{twin:?}");
            assert_eq!(names.remove(&id), ["aaaa000000000000"]);
        }
        assert_eq!(names.label("aaaa000000000000", "anna"), "anna");
        assert!(
            names.set("cccc000000000000", "lllian").is_empty()
                && names.set("dddd000000000000", "Illian").len() == 1
        );
        assert_eq!(names.label("eeee000000000000", "bert"), "bert");
    }

    #[test]
    fn digits_of_an_id_cannot_be_borrowed() {
        let mut names = Names::default();
        names.set("aaaa111100000000", "anna");
        names.set("aaaa222200000000", "anna");
        assert_eq!(
            names.label("aaaa111100000000", "anna"),
            "anna#aaaa1111",
            "somebody made an id with the same beginning"
        );
        assert_eq!(
            names.label("bbbb000000000000", "anna#aaaa"),
            "anna#aaaa#bbbb",
            "a name with digits gets its own"
        );
        assert_eq!(
            (names.label("bbbb000000000000", "\u{200b}"), names.label("", "anna")),
            ("bbbb0000".to_owned(), "anna".to_owned())
        );
        // A renamed person no longer shares the old name.
        assert_eq!(names.set("aaaa222200000000", "bert"), ["aaaa111100000000"]);
        assert_eq!(names.label("aaaa111100000000", "anna"), "anna");
        // Earlier messages under the old name do not look like those of the other person.
        assert_eq!(names.label("aaaa222200000000", "anna"), "anna#aaaa2222");
    }
}
