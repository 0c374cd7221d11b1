use fluent_bundle::FluentValue;
use fog_api::{ApiError, TextValue};

use crate::Words;

/// Texts of errors.
impl Words {
    /// Returns the text of an error: its English sentence when this catalogue has none.
    #[must_use]
    pub fn error(&self, error: &ApiError) -> String {
        if !self.has(&error.key) {
            return error.message.clone();
        }
        let values: Vec<(&str, FluentValue<'_>)> =
            error.values.iter().map(|(name, value)| (name.as_str(), self.value_of(value))).collect();
        self.with(&error.key, &values)
    }

    fn value_of<'a>(&self, value: &'a TextValue) -> FluentValue<'a> {
        match value {
            TextValue::Text(text) => text.as_str().into(),
            TextValue::Number(number) => (*number as f64).into(),
            TextValue::Bytes(bytes) => self.bytes(*bytes).into(),
        }
    }
}
