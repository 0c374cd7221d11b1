//! Time since the last input on the device.

#[cfg(target_os = "linux")]
#[path = "input/linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "input/macos.rs"]
mod system;
#[cfg(windows)]
#[path = "input/windows.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "input/fallback.rs"]
mod system;

#[cfg(target_os = "linux")]
mod logind;
#[cfg(target_os = "linux")]
mod terminals;
#[cfg(target_os = "linux")]
mod wayland;
#[cfg(target_os = "linux")]
mod x11;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Source of the idle time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputSource {
    /// No source: the idle time is unknown.
    None,
    /// The X server's idle counter.
    X11,
    /// The Wayland compositor, through `ext-idle-notify`.
    Wayland,
    /// The login manager's idle hint, where the display gives no idle time.
    Logind,
    /// The last key on any terminal, on a machine without a display.
    Terminals,
    /// The window system of macOS or Windows.
    System,
}

/// Age at which a reading is dropped, so that a hung thread cannot make the device look idle for ever.
const EXPIRES: Duration = Duration::from_secs(5);

/// Watches for input in a separate thread.
pub(crate) struct InputMonitor {
    shared: Arc<Shared>,
    source: InputSource,
}

#[derive(Default)]
pub(crate) struct Shared {
    latest: Mutex<Option<Latest>>,
    stop: AtomicBool,
}

#[derive(Clone, Copy)]
struct Latest {
    read_at: Instant,
    idle: Duration,
    fullscreen: Option<bool>,
}

pub(crate) type OnInput = Arc<dyn Fn() + Send + Sync>;

impl InputMonitor {
    pub(crate) fn start(on_input: OnInput) -> Self {
        let shared = Arc::new(Shared::default());
        let source = system::start(&shared, on_input);
        Self { shared, source }
    }

    pub(crate) fn source(&self) -> InputSource {
        self.source
    }

    pub(crate) fn idle_seconds(&self) -> Option<f32> {
        if let Some(now) = system::idle_now() {
            return Some(now.as_secs_f32());
        }
        self.latest().map(|latest| (latest.idle + latest.read_at.elapsed()).as_secs_f32())
    }

    pub(crate) fn fullscreen(&self) -> Option<bool> {
        self.latest()?.fullscreen
    }

    fn latest(&self) -> Option<Latest> {
        let latest = *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.filter(|latest| latest.read_at.elapsed() < EXPIRES)
    }
}

impl Drop for InputMonitor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "other systems are asked directly"))]
    pub(crate) fn publish(&self, idle: Duration, fullscreen: Option<bool>) {
        let latest = Latest { read_at: Instant::now(), idle, fullscreen };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(latest);
    }

    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "other systems are asked directly"))]
    pub(crate) fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Polls the idle time often enough to notice input within 50 ms, on systems that send no events.
#[cfg(any(target_os = "macos", windows))]
fn poll_for_input(on_input: OnInput, idle_now: fn() -> Option<Duration>) {
    let run = move || {
        let mut last = Duration::ZERO;
        loop {
            let idle = idle_now().unwrap_or_default();
            if idle < last && last >= Duration::from_secs(1) {
                on_input();
            }
            last = idle;
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let _ = std::thread::Builder::new().name("input".to_owned()).spawn(run);
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
#[cfg(all(test, target_os = "linux"))]
mod wayland_tests;
