#![expect(unsafe_code, reason = "one call of the Windows API")]

use windows_sys::Win32::UI::Shell::{QUNS_BUSY, QUNS_PRESENTATION_MODE, QUNS_RUNNING_D3D_FULL_SCREEN, SHQueryUserNotificationState};

#[path = "fallback.rs"]
mod fallback;

pub(crate) use fallback::{Slow, charger, fan_rpm, on_battery, thermal_pressure};

/// Whether Windows holds notifications back because something covers the screen.
pub(crate) fn fullscreen() -> Option<bool> {
    let mut state = 0;
    // SAFETY: the pointer is to a live local of the declared type.
    let result = unsafe { SHQueryUserNotificationState(&raw mut state) };
    (result == 0).then_some(matches!(state, QUNS_BUSY | QUNS_RUNNING_D3D_FULL_SCREEN | QUNS_PRESENTATION_MODE))
}
