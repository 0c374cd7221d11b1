//! Errors of commands about placement and other devices.

use fog_types::JobId;

use crate::errors::errors;

errors! {
    /// An error of a command about placement and other devices.
    ExchangeError, "exchange" {
        OnlyHere { job: JobId } => Conflict,
        NobodyHere => NotFound,
        NoTasks => BadInput,
    }
}
