//! Errors of commands about settings and duty.

use crate::errors::errors;

errors! {
    /// An error of a command about settings and duty.
    DutyError, "duty" {
        UnknownSetting { key: String } => BadInput,
        ConflictingSettings { why: String } => BadInput,
    }
}
