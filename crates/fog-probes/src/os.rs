//! Readings that need an interface of one operating system.

#[cfg(target_os = "linux")]
#[path = "os/linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "os/macos.rs"]
mod system;
#[cfg(windows)]
#[path = "os/windows.rs"]
mod system;
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
#[path = "os/fallback.rs"]
mod system;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(not(target_os = "linux"))]
pub(crate) use system::fan_rpm;
#[cfg(any(target_os = "macos", windows))]
pub(crate) use system::{charger, on_battery};
pub(crate) use system::{fullscreen, thermal_pressure};

const EVERY: Duration = Duration::from_secs(5);
/// Age at which the last answer of a source is dropped.
const EXPIRES: Duration = Duration::from_secs(30);
/// Whether this system has a source to ask; on phones the host application gives these readings.
const HAS_SOURCE: bool = cfg!(any(target_os = "linux", target_os = "macos", windows));

/// Readings whose source may hang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SlowReadings {
    /// Whether another program keeps the screen or the session awake.
    pub(crate) inhibited: Option<bool>,
    pub(crate) metered: Option<bool>,
}

/// [`SlowReadings`], taken in a separate thread.
pub(crate) struct Slow {
    latest: Arc<Mutex<Option<(Instant, SlowReadings)>>>,
}

impl Slow {
    pub(crate) fn start() -> Self {
        let latest = Arc::new(Mutex::new(None));
        if !HAS_SOURCE {
            *latest.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Instant::now(), SlowReadings::default()));
            return Self { latest };
        }
        let shared = Arc::downgrade(&latest);
        let run = move || {
            let mut source = system::Source::default();
            while let Some(latest) = shared.upgrade() {
                let readings = source.ask();
                *latest.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some((Instant::now(), readings.unwrap_or_default()));
                drop(latest);
                std::thread::sleep(if readings.is_some() { EVERY } else { EXPIRES });
            }
        };
        // Without the thread these readings stay unknown.
        let _ = std::thread::Builder::new().name("slow".to_owned()).spawn(run);
        Self { latest }
    }

    /// Whether the source came back lately, with or without an answer. One that hangs says nothing about now.
    pub(crate) fn has_looked(&self) -> bool {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        // A source without an answer is asked again after one such time.
        latest.is_some_and(|(at, _)| at.elapsed() < EXPIRES * 2 || !HAS_SOURCE)
    }

    pub(crate) fn latest(&self) -> SlowReadings {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.filter(|(at, _)| at.elapsed() < EXPIRES).map(|(_, readings)| readings).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_hangs_has_not_been_asked() {
        let answered = |ago: Duration| Slow {
            latest: Arc::new(Mutex::new(Some((
                Instant::now().checked_sub(ago).unwrap(),
                SlowReadings::default(),
            )))),
        };
        assert!(answered(EXPIRES).has_looked(), "a source without an answer is asked that rarely");
        assert_eq!(answered(EXPIRES * 3).has_looked(), !HAS_SOURCE);
    }
}
