use std::sync::Arc;
use std::time::Duration;

use super::{InputSource, OnInput, Shared, logind, terminals, wayland, x11};

/// Starts the first source that works: Wayland, else X11, else the login manager; terminals when there is
/// no display at all.
///
/// A display without a working source leaves the idle time unknown, so that its user is not disturbed.
pub(crate) fn start(shared: &Arc<Shared>, on_input: OnInput) -> InputSource {
    let has = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let (has_wayland, has_x11) = (has("WAYLAND_DISPLAY"), has("DISPLAY"));
    if has_wayland && wayland::start(shared, &on_input) {
        return InputSource::Wayland;
    }
    // Xwayland sees only input to X programs, so it cannot replace Wayland.
    if !has_wayland && has_x11 && x11::start(shared, &on_input) {
        return InputSource::X11;
    }
    if !has_wayland && !has_x11 {
        terminals::start(shared, on_input);
        return InputSource::Terminals;
    }
    if logind::start(shared, on_input) { InputSource::Logind } else { InputSource::None }
}

pub(crate) fn idle_now() -> Option<Duration> {
    None
}
