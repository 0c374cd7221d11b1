use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{OnInput, Shared};

const EVERY: Duration = Duration::from_secs(1);

/// A machine without a display: the last key on any console or remote terminal.
///
/// The kernel keeps it as the access time of the terminal's device. With no terminal at all
/// nobody can be at the machine, and it counts as idle since it was started.
pub(super) fn start(shared: &Arc<Shared>, on_input: OnInput) {
    // The first sample comes before the thread's first look.
    if let Some(idle) = newest_access(&["/dev/pts", "/dev"]).or_else(uptime) {
        shared.publish(idle, Some(false));
    }
    let weak = Arc::downgrade(shared);
    let run = move || {
        let mut last = Duration::ZERO;
        while let Some(shared) = weak.upgrade().filter(|shared| !shared.should_stop()) {
            let idle = newest_access(&["/dev/pts", "/dev"]).or_else(uptime);
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

fn newest_access(folders: &[&str]) -> Option<Duration> {
    let is_terminal =
        |name: &str| name.strip_prefix("tty").is_some_and(|rest| rest.len() <= 2 && rest.parse::<u8>().is_ok_and(|n| n > 0)) || name.parse::<u32>().is_ok();
    folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .filter(|entry| entry.file_name().to_str().is_some_and(is_terminal))
        .filter_map(|entry| entry.metadata().ok()?.accessed().ok())
        .max()
        .map(|accessed| SystemTime::now().duration_since(accessed).unwrap_or_default())
}

fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}
