#![expect(unsafe_code, reason = "two C calls of the system library without a maintained wrapper")]

use std::ffi::c_char;

use fog_eligibility::ThermalPressure;

#[path = "fallback.rs"]
mod fallback;

pub(crate) use fallback::{Slow, charger, fan_rpm, fullscreen, on_battery};

unsafe extern "C" {
    fn notify_register_check(name: *const c_char, token: *mut i32) -> u32;
    fn notify_get_state(token: i32, state: *mut u64) -> u32;
    fn notify_cancel(token: i32) -> u32;
}

/// `com.apple.system.thermalpressurelevel`, declared in the system's `OSThermalNotification.h`.
pub(crate) fn thermal_pressure() -> Option<ThermalPressure> {
    let (mut token, mut state) = (0, 0);
    // SAFETY: the name is NUL-ended and both pointers are to live locals of the declared types.
    let known = unsafe {
        notify_register_check(c"com.apple.system.thermalpressurelevel".as_ptr(), &raw mut token) == 0 && {
            let read = notify_get_state(token, &raw mut state) == 0;
            notify_cancel(token);
            read
        }
    };
    known.then_some(match state {
        0 => ThermalPressure::Nominal,
        1 => ThermalPressure::Fair,
        2 => ThermalPressure::Serious,
        _ => ThermalPressure::Critical,
    })
}
