use super::Walls;
use crate::program::Priority;

/// Phones give each app its own walls and its own share of time.
pub(crate) fn lower_priority(_priority: Priority) {}

/// This system leaves a priority as it is until the worker's next start.
pub fn set_priority(_pid: u32, _priority: Priority) -> bool {
    false
}

/// A thread has no limit of its own.
pub(crate) fn limit_memory(_bytes: u64) {}

/// A worker is a thread of the app here: Wasm's own walls hold alone.
pub(crate) fn restrict() -> Walls {
    Walls::default()
}
