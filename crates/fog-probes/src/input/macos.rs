#![expect(unsafe_code, reason = "one call of Core Graphics")]

use std::sync::Arc;
use std::time::Duration;

use super::{InputSource, OnInput, Shared};

const HID_SYSTEM_STATE: i32 = 1;
const ANY_INPUT: u32 = u32::MAX;

#[link(name = "CoreGraphics", kind = "framework")]
unsafe extern "C" {
    fn CGEventSourceSecondsSinceLastEventType(state: i32, event: u32) -> f64;
}

pub(crate) fn start(_shared: &Arc<Shared>, on_input: OnInput) -> InputSource {
    super::poll_for_input(on_input, idle_now);
    InputSource::System
}

pub(crate) fn idle_now() -> Option<Duration> {
    // SAFETY: the call takes two numbers and touches no memory of this program.
    let seconds = unsafe { CGEventSourceSecondsSinceLastEventType(HID_SYSTEM_STATE, ANY_INPUT) };
    Duration::try_from_secs_f64(seconds).ok()
}
