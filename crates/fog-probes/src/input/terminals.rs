use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{OnInput, Shared};

const EVERY: Duration = Duration::from_secs(1);
/// Folders that hold terminal devices.
const FOLDERS: [&str; 2] = ["/dev/pts", "/dev"];

/// Watches the last key on any console or remote terminal, on a machine without a display.
///
/// The kernel keeps it as the access time of the terminal device. Without any terminal the machine counts
/// as idle since it was started.
pub(super) fn start(shared: &Arc<Shared>, on_input: OnInput) {
    // Published here, because the first sample is taken before the thread first runs.
    let mut terminals = Terminals::default();
    if let Some(idle) = terminals.look(&accesses(&FOLDERS), Instant::now(), SystemTime::now()) {
        shared.publish(idle, Some(false));
    }
    let weak = Arc::downgrade(shared);
    let run = move || {
        let mut last = Duration::ZERO;
        while let Some(shared) = weak.upgrade().filter(|shared| !shared.should_stop()) {
            let idle = terminals.look(&accesses(&FOLDERS), Instant::now(), SystemTime::now());
            if let Some(idle) = idle {
                if idle < last && last >= EVERY {
                    on_input();
                }
                last = idle;
                shared.publish(idle, Some(false));
            }
            drop(shared);
            std::thread::sleep(EVERY);
        }
    };
    let _ = std::thread::Builder::new().name("input".to_owned()).stack_size(128 << 10).spawn(run);
}

/// Last use of each terminal. Between two looks, time is counted by a monotonic clock.
#[derive(Default)]
struct Terminals(BTreeMap<PathBuf, Use>);

struct Use {
    /// Access time of the device, as the kernel gives it.
    accessed: SystemTime,
    /// Time since that access when it was first seen. `None` for an access time in the future, after the
    /// clock was set back.
    idle: Option<Duration>,
    seen: Instant,
}

impl Terminals {
    /// Time since the newest key; `None` when no terminal gives it.
    fn look(&mut self, found: &[(PathBuf, SystemTime)], at: Instant, now: SystemTime) -> Option<Duration> {
        self.0.retain(|known, _| found.iter().any(|(path, _)| path == known));
        for (path, accessed) in found {
            let known = self.0.get(path);
            if known.is_some_and(|known| known.accessed == *accessed) {
                continue;
            }
            let ago = now.duration_since(*accessed).ok();
            // A new access time is a key pressed since the last look, whatever the clock says.
            let idle = if known.is_some() { Some(ago.unwrap_or_default()) } else { ago };
            self.0.insert(path.clone(), Use { accessed: *accessed, idle, seen: at });
        }
        if found.is_empty() {
            return uptime();
        }
        self.0.values().filter_map(|last| Some(last.idle? + at.saturating_duration_since(last.seen))).min()
    }
}

fn accesses(folders: &[&str]) -> Vec<(PathBuf, SystemTime)> {
    let is_terminal = |name: &str| {
        name.strip_prefix("tty")
            .is_some_and(|rest| rest.len() <= 2 && rest.parse::<u8>().is_ok_and(|n| n > 0))
            || name.parse::<u32>().is_ok()
    };
    folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_str().is_some_and(is_terminal))
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.accessed().ok()?)))
        .collect()
}

fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_look_busy() {
        let (mut terminals, begun, now) = (Terminals::default(), Instant::now(), SystemTime::now());
        let used = |ago: Duration| vec![(PathBuf::from("/dev/pts/0"), now - ago)];
        assert_eq!(terminals.look(&used(7 * SECOND), begun, now), Some(7 * SECOND));
        // The clock is set back by ten years, without a key.
        let past = now - 315_000_000 * SECOND;
        assert_eq!(terminals.look(&used(7 * SECOND), begun + 40 * SECOND, past), Some(47 * SECOND));
        // A key, timed by either clock.
        assert_eq!(
            terminals.look(&used(315_000_000 * SECOND), begun + 50 * SECOND, past),
            Some(Duration::ZERO)
        );
        assert_eq!(terminals.look(&used(6 * SECOND), begun + 60 * SECOND, past), Some(Duration::ZERO));
        assert_eq!(terminals.look(&used(6 * SECOND), begun + 90 * SECOND, now), Some(30 * SECOND));
    }

    #[test]
    fn a_time_in_the_future_is_no_reading() {
        let (mut terminals, begun, now) = (Terminals::default(), Instant::now(), SystemTime::now());
        let future = (PathBuf::from("/dev/pts/0"), now + 60 * SECOND);
        assert_eq!(terminals.look(std::slice::from_ref(&future), begun, now), None);
        assert_eq!(
            terminals.look(std::slice::from_ref(&future), begun + SECOND, now + SECOND),
            None,
            "nor later"
        );
        let other = (PathBuf::from("/dev/pts/1"), now - 9 * SECOND);
        assert_eq!(
            terminals.look(&[future, other.clone()], begun + 2 * SECOND, now),
            Some(9 * SECOND),
            "the others say it"
        );
        assert_eq!(terminals.look(&[other], begun + 3 * SECOND, now), Some(10 * SECOND));
    }
}
