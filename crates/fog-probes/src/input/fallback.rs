use std::sync::Arc;
use std::time::Duration;

use super::{InputSource, OnInput, Shared};

pub(crate) fn start(_shared: &Arc<Shared>, _on_input: OnInput) -> InputSource {
    InputSource::None
}

pub(crate) fn idle_now() -> Option<Duration> {
    None
}
