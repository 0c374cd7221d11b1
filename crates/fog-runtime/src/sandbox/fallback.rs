use super::Walls;

/// Phones give each app its own walls and its own share of time.
pub(crate) fn lower_priority() {}

/// A thread has no limit of its own.
pub(crate) fn limit_memory(_bytes: u64) {}

/// A worker is a thread of the app here: Wasm's own walls hold alone.
pub(crate) fn restrict() -> Walls {
    Walls::default()
}
