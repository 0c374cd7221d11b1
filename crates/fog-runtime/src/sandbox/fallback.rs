use super::SandboxStatus;
use crate::program::Priority;

/// Does nothing: phones give each app its own priority.
pub(crate) fn lower_priority(_priority: Priority) {}

/// Returns false: a priority changes at the worker's next start here.
pub fn set_priority(_pid: u32, _priority: Priority) -> bool {
    false
}

/// Does nothing: a thread has no memory limit of its own.
pub(crate) fn limit_memory(_bytes: u64) {}

/// Returns no walls: a worker is a thread of the app here, with Wasm's sandbox only.
pub(crate) fn restrict() -> SandboxStatus {
    SandboxStatus::default()
}
