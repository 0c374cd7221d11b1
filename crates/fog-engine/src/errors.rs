//! Errors that commands are answered with: one enum for each subsystem, whose texts are in `fog-words`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fog_api::{ApiError, TextValue};
use fog_types::ErrorKind;
use fog_words::Words;

/// Defines an enum of errors. The text of `Variant` is `error-AREA-variant` in the catalogues, and names
/// the fields as its values.
macro_rules! errors {
    (
        $(#[$about:meta])*
        $name:ident, $area:literal {
            $($(#[$doc:meta])* $variant:ident $({ $($field:ident: $type:ty),+ })? => $kind:ident,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone)]
        pub(crate) enum $name {
            $($(#[$doc])* $variant $({ $($field: $type),+ })?,)+
        }

        impl From<$name> for fog_api::ApiError {
            fn from(error: $name) -> Self {
                match error {
                    $($name::$variant $({ $($field),+ })? => $crate::errors::render(
                        fog_types::ErrorKind::$kind,
                        concat!("error-", $area),
                        stringify!($variant),
                        vec![$($((stringify!($field), fog_api::TextValue::from($field))),+)?],
                    ),)+
                }
            }
        }

        #[cfg(test)]
        impl $name {
            /// Area, name and values of each error.
            pub(crate) const ALL: &'static [(&'static str, &'static str, &'static [&'static str])] =
                &[$(($area, stringify!($variant), &[$($(stringify!($field)),+)?])),+];
        }
    };
}
pub(crate) use errors;

/// Returns the key of a text: `error-chat` and `NobodyCalled` make `error-chat-nobody-called`.
fn key_of(area: &str, name: &str) -> String {
    let mut key = area.to_owned();
    for c in name.chars() {
        if c.is_uppercase() {
            key.push('-');
        }
        key.push(c.to_ascii_lowercase());
    }
    key
}

/// Makes the answer to a command from an error. The English text goes with it, for logs, for scripts and
/// for front ends that do not know the key.
pub(crate) fn render(
    kind: ErrorKind,
    area: &str,
    name: &str,
    values: Vec<(&'static str, TextValue)>,
) -> ApiError {
    let values: BTreeMap<String, TextValue> =
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut error = ApiError { kind, message: String::new(), key: key_of(area, name), values };
    error.message = Words::new("en").error(&error);
    error
}

errors! {
    /// An error of the engine as a whole.
    EngineError, "engine" {
        NotStoredYet { folder: PathBuf, why: String } => Storage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_text_with_its_values() {
        let words = Words::new("en");
        let all = [
            EngineError::ALL,
            crate::chat::errors::ChatError::ALL,
            crate::duty::errors::DutyError::ALL,
            crate::exchange::errors::ExchangeError::ALL,
            crate::network::errors::NetworkError::ALL,
            crate::tasks::errors::TaskError::ALL,
        ];
        for (area, name, values) in all.into_iter().flatten() {
            let key = key_of(&format!("error-{area}"), name);
            let mut values: Vec<&str> = values.to_vec();
            values.sort_unstable();
            assert_eq!(
                words.values_of(&key).as_deref(),
                Some(values.iter().map(|&v| v.to_owned()).collect::<Vec<_>>().as_slice()),
                "{key}"
            );
        }
    }
}
