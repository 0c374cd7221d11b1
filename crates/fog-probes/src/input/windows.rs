#![expect(unsafe_code, reason = "two calls of the Windows API")]

use std::sync::Arc;
use std::time::Duration;

use windows_sys::Win32::System::SystemInformation::GetTickCount;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{GetLastInputInfo, LASTINPUTINFO};

use super::{InputSource, OnInput, Shared};

pub(crate) fn start(_shared: &Arc<Shared>, on_input: OnInput) -> InputSource {
    super::poll_for_input(on_input, idle_now);
    InputSource::System
}

pub(crate) fn idle_now() -> Option<Duration> {
    let mut info = LASTINPUTINFO { cbSize: size_of::<LASTINPUTINFO>() as u32, dwTime: 0 };
    // SAFETY: the structure is live and holds its own size; GetTickCount takes no argument.
    let (known, now) = unsafe { (GetLastInputInfo(&raw mut info) != 0, GetTickCount()) };
    known.then(|| Duration::from_millis(u64::from(now.wrapping_sub(info.dwTime))))
}
