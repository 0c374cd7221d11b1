//! Texts for people: one catalogue per language, and sentences made from verdicts. The command line and the
//! window both use this crate, so that they show the same texts.
//!
//! This crate only turns values into text; types are in `fog-api`.

mod chat;
mod error;
mod format;
mod peers;
mod sentence;

use fluent_bundle::resolver::ResolverError;
use fluent_bundle::resolver::errors::ReferenceKind;
use fluent_bundle::{FluentArgs, FluentBundle, FluentError, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

/// Languages with a complete catalogue: code and own name.
pub const LANGUAGES: [(&str, &str); 2] = [("en", "English"), ("de", "Deutsch")];

const CATALOGUES: [(&str, &str); 2] =
    [("en", include_str!("../words/en.ftl")), ("de", include_str!("../words/de.ftl"))];

/// Texts of one language.
pub struct Words {
    bundle: FluentBundle<FluentResource>,
    language: &'static str,
}

impl Words {
    /// Returns the texts of a language, from a code such as `de`, `de-AT` or `de_AT.UTF-8`; English when
    /// the language is not known.
    #[must_use]
    pub fn new(code: &str) -> Self {
        let wanted = code.split(['-', '_', '.']).next().unwrap_or_default().to_lowercase();
        let (language, text) =
            CATALOGUES.into_iter().find(|(known, _)| *known == wanted).unwrap_or(CATALOGUES[0]);
        let id: LanguageIdentifier = language.parse().unwrap_or_default();
        let mut bundle = FluentBundle::new(vec![id]);
        // Isolation marks around values would show in terminals.
        bundle.set_use_isolating(false);
        // A catalogue with an error still gives the texts before it; a test finds the error.
        let resource = FluentResource::try_new(text.to_owned()).unwrap_or_else(|(resource, _)| resource);
        bundle.add_resource_overriding(resource);
        Self { bundle, language }
    }

    /// Returns the code of this language.
    #[must_use]
    pub fn language(&self) -> &'static str {
        self.language
    }

    /// Returns the text with this key; the key itself when there is none, so that the gap is visible.
    #[must_use]
    pub fn t(&self, key: &str) -> String {
        self.with(key, &[])
    }

    /// Returns the text with this key, with values inserted.
    #[must_use]
    pub fn with(&self, key: &str, values: &[(&str, FluentValue<'_>)]) -> String {
        let Some(pattern) = self.bundle.get_message(key).and_then(|message| message.value()) else {
            return key.to_owned();
        };
        let args: FluentArgs<'_> = values.iter().map(|(name, value)| (*name, value.clone())).collect();
        self.bundle.format_pattern(pattern, Some(&args), &mut Vec::new()).into_owned()
    }

    /// Returns the names of the values in the text with this key, in order; `None` when there is no text.
    #[must_use]
    pub fn values_of(&self, key: &str) -> Option<Vec<String>> {
        let pattern = self.bundle.get_message(key)?.value()?;
        let mut missing = Vec::new();
        // Values that are not given are reported as errors.
        let _ = self.bundle.format_pattern(pattern, None, &mut missing);
        let name = |error| match error {
            FluentError::ResolverError(ResolverError::Reference(ReferenceKind::Variable { id })) => Some(id),
            _ => None,
        };
        let mut names: Vec<String> = missing.into_iter().filter_map(name).collect();
        names.sort();
        names.dedup();
        Some(names)
    }

    /// Whether a text with this key exists.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.bundle.has_message(key)
    }
}

#[cfg(test)]
mod tests;
