#![expect(unsafe_code, reason = "C calls of the system's libraries without a maintained wrapper")]

use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use block2::{Block, RcBlock};
use dispatch2::DispatchQueue;
use fog_eligibility::ThermalPressure;
use objc2_core_foundation::{CFDictionary, CFNumber, CFRetained, CFString};
use objc2_io_kit::IOPMCopyAssertionsStatus;

use super::SlowReadings;

#[path = "fallback.rs"]
mod fallback;

pub(crate) use fallback::{charger, fan_rpm, fullscreen, on_battery};

/// Power assertions that keep the screen on, as for a film or a call. Fog Compute itself holds only an
/// assertion for the system.
const KEEPS_SCREEN: [&str; 2] = ["PreventUserIdleDisplaySleep", "NoDisplaySleepAssertion"];

/// Power assertions, and whether the internet connection is expensive.
#[derive(Default)]
pub(crate) struct Source {
    path: Option<PathMonitor>,
}

impl Source {
    pub(crate) fn ask(&mut self) -> Option<SlowReadings> {
        let path = self.path.get_or_insert_with(PathMonitor::start);
        Some(SlowReadings { inhibited: inhibited(), metered: path.metered() })
    }
}

/// Whether a program holds an assertion that keeps the screen on:
/// <https://developer.apple.com/documentation/iokit/1557093-iopmcopyassertionsstatus>
fn inhibited() -> Option<bool> {
    let mut status: *const CFDictionary = ptr::null();
    // SAFETY: the pointer is to a live local of the declared type.
    if unsafe { IOPMCopyAssertionsStatus(&raw mut status) } != 0 {
        return None;
    }
    let status = NonNull::new(status.cast_mut())?;
    // SAFETY: a call with Copy in its name transfers ownership: a map from assertion names to levels.
    let status: CFRetained<CFDictionary<CFString, CFNumber>> = unsafe { CFRetained::from_raw(status.cast()) };
    let is_held = |name: &str| {
        status.get(&CFString::from_str(name)).and_then(|level| level.as_i64()).is_some_and(|level| level > 0)
    };
    Some(KEEPS_SCREEN.into_iter().any(is_held))
}

#[link(name = "Network", kind = "framework")]
unsafe extern "C" {
    fn nw_path_monitor_create() -> *mut c_void;
    fn nw_path_monitor_set_queue(monitor: *mut c_void, queue: &DispatchQueue);
    fn nw_path_monitor_set_update_handler(monitor: *mut c_void, handler: &Block<dyn Fn(*mut c_void)>);
    fn nw_path_monitor_start(monitor: *mut c_void);
    fn nw_path_monitor_cancel(monitor: *mut c_void);
    fn nw_path_get_status(path: *mut c_void) -> i32;
    fn nw_path_is_expensive(path: *mut c_void) -> bool;
    fn nw_path_is_constrained(path: *mut c_void) -> bool;
    fn nw_release(object: *mut c_void);
}

/// Longest wait for the first report, which the system sends at once.
const FIRST_WORD: Duration = Duration::from_secs(2);
const SATISFIED: i32 = 1;
const UNKNOWN: u8 = 0;
const FREE: u8 = 1;
const METERED: u8 = 2;

/// Monitor of the network path: a phone's hotspot is expensive, Low Data Mode is constrained. See
/// <https://developer.apple.com/documentation/network/nw_path_monitor_t>.
struct PathMonitor {
    monitor: *mut c_void,
    latest: Arc<AtomicU8>,
}

impl PathMonitor {
    fn start() -> Self {
        let latest = Arc::new(AtomicU8::new(UNKNOWN));
        let told = Arc::clone(&latest);
        let (first, came) = sync_channel(1);
        let handler = RcBlock::new(move |path: *mut c_void| {
            // SAFETY: the system hands the block a live path.
            let state = unsafe {
                match nw_path_get_status(path) == SATISFIED {
                    false => UNKNOWN,
                    true if nw_path_is_expensive(path) || nw_path_is_constrained(path) => METERED,
                    true => FREE,
                }
            };
            told.store(state, Ordering::Relaxed);
            let _ = first.try_send(());
        });
        let queue = DispatchQueue::new("network.fog.compute.path", None);
        // SAFETY: the calls come in the documented order; the monitor retains the queue and the handler.
        let monitor = unsafe {
            let monitor = nw_path_monitor_create();
            if !monitor.is_null() {
                nw_path_monitor_set_queue(monitor, &queue);
                nw_path_monitor_set_update_handler(monitor, &handler);
                nw_path_monitor_start(monitor);
            }
            monitor
        };
        // Waits for the first report, because an unknown state does not hold back downloads.
        let _ = came.recv_timeout(FIRST_WORD);
        Self { monitor, latest }
    }

    fn metered(&self) -> Option<bool> {
        match self.latest.load(Ordering::Relaxed) {
            FREE => Some(false),
            METERED => Some(true),
            _ => None,
        }
    }
}

impl Drop for PathMonitor {
    fn drop(&mut self) {
        if !self.monitor.is_null() {
            // SAFETY: the monitor was made by nw_path_monitor_create and is released once.
            unsafe {
                nw_path_monitor_cancel(self.monitor);
                nw_release(self.monitor);
            }
        }
    }
}

unsafe extern "C" {
    fn notify_register_check(name: *const c_char, token: *mut i32) -> u32;
    fn notify_get_state(token: i32, state: *mut u64) -> u32;
    fn notify_cancel(token: i32) -> u32;
}

/// Level of `com.apple.system.thermalpressurelevel`, declared in the system's `OSThermalNotification.h`.
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
