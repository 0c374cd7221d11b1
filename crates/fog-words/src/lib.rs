//! What the program says to people: one catalogue a language, and the sentences made from a
//! verdict. The command line and the window say the same words because both ask here.
//!
//! Not the contract (`fog-api`) and not logic: it only turns values into text.

mod chat;
mod format;
mod peers;
mod sentence;

use fluent_bundle::{FluentArgs, FluentBundle, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

/// Languages that are complete: code and own name.
pub const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("de", "Deutsch")];

const CATALOGUES: [(&str, &str); 2] = [("en", include_str!("../words/en.ftl")), ("de", include_str!("../words/de.ftl"))];

/// One language.
pub struct Words {
    bundle: FluentBundle<FluentResource>,
    language: &'static str,
}

impl Words {
    /// The words of a language, from a code such as `de`, `de-AT` or `de_AT.UTF-8`; English when it
    /// is not known.
    #[must_use]
    pub fn new(code: &str) -> Self {
        let wanted = code.split(['-', '_', '.']).next().unwrap_or_default().to_lowercase();
        let (language, text) = CATALOGUES.into_iter().find(|(known, _)| *known == wanted).unwrap_or(CATALOGUES[0]);
        let id: LanguageIdentifier = language.parse().unwrap_or_default();
        let mut bundle = FluentBundle::new(vec![id]);
        // Marks around every value would show in terminals.
        bundle.set_use_isolating(false);
        // A catalogue with a mistake still gives the words before it; a test finds the mistake.
        let resource = FluentResource::try_new(text.to_owned()).unwrap_or_else(|(resource, _)| resource);
        bundle.add_resource_overriding(resource);
        Self { bundle, language }
    }

    /// The code of this language.
    #[must_use]
    pub fn language(&self) -> &'static str {
        self.language
    }

    /// The text with this key; the key itself when there is none, so that a hole shows.
    #[must_use]
    pub fn t(&self, key: &str) -> String {
        self.with(key, &[])
    }

    /// The text with this key and some values in it.
    #[must_use]
    pub fn with(&self, key: &str, values: &[(&str, FluentValue<'_>)]) -> String {
        let Some(pattern) = self.bundle.get_message(key).and_then(|message| message.value()) else {
            return key.to_owned();
        };
        let args: FluentArgs<'_> = values.iter().map(|(name, value)| (*name, value.clone())).collect();
        self.bundle.format_pattern(pattern, Some(&args), &mut Vec::new()).into_owned()
    }

    /// Whether there is a text with this key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.bundle.has_message(key)
    }
}

#[cfg(test)]
mod tests;
