#![expect(unsafe_code, reason = "calls of the Windows API")]

use std::ptr;

use windows::Networking::Connectivity::{NetworkCostType, NetworkInformation};
use windows_sys::Win32::System::Power::{CallNtPowerInformation, ES_DISPLAY_REQUIRED, SystemExecutionState};
use windows_sys::Win32::UI::Shell::{
    QUNS_BUSY, QUNS_PRESENTATION_MODE, QUNS_RUNNING_D3D_FULL_SCREEN, SHQueryUserNotificationState,
};

use super::SlowReadings;

#[path = "fallback.rs"]
mod fallback;

pub(crate) use fallback::{charger, fan_rpm, on_battery, thermal_pressure};

/// Requests to keep the screen on, and the cost of the connection.
#[derive(Default)]
pub(crate) struct Source;

impl Source {
    #[expect(clippy::unused_self, reason = "the same shape on every system")]
    pub(crate) fn ask(&mut self) -> Option<SlowReadings> {
        Some(SlowReadings { inhibited: inhibited(), metered: metered() })
    }
}

/// Whether any program keeps the display on; Fog Compute itself keeps only the system awake. See
/// <https://learn.microsoft.com/windows/win32/api/powerbase/nf-powerbase-callntpowerinformation>.
fn inhibited() -> Option<bool> {
    let mut state = 0_u32;
    // SAFETY: the buffer is a live local of the size that is passed.
    let status = unsafe {
        CallNtPowerInformation(
            SystemExecutionState,
            ptr::null(),
            0,
            (&raw mut state).cast(),
            size_of::<u32>() as u32,
        )
    };
    (status == 0).then_some(state & ES_DISPLAY_REQUIRED != 0)
}

/// Whether the connection is metered; unknown while there is none. See
/// <https://learn.microsoft.com/uwp/api/windows.networking.connectivity.connectioncost>.
fn metered() -> Option<bool> {
    let cost = NetworkInformation::GetInternetConnectionProfile().ok()?.GetConnectionCost().ok()?;
    let is_costly = match cost.NetworkCostType().ok()? {
        NetworkCostType::Unrestricted => false,
        NetworkCostType::Fixed | NetworkCostType::Variable => true,
        _ => return None,
    };
    Some(is_costly || cost.Roaming().unwrap_or(false) || cost.OverDataLimit().unwrap_or(false))
}

/// Whether Windows holds notifications back because a program covers the screen.
pub(crate) fn fullscreen() -> Option<bool> {
    let mut state = 0;
    // SAFETY: the pointer is to a live local of the declared type.
    let result = unsafe { SHQueryUserNotificationState(&raw mut state) };
    (result == 0)
        .then_some(matches!(state, QUNS_BUSY | QUNS_RUNNING_D3D_FULL_SCREEN | QUNS_PRESENTATION_MODE))
}
