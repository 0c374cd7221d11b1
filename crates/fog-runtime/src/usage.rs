//! Processor time and memory of a thread or a process, as the system reports them.
#![cfg_attr(any(unix, windows), expect(unsafe_code, reason = "calls of the system's library"))]

use std::time::{Duration, Instant};

/// Clock of the processor time of the calling thread. Waiting for the processor does not count, so a task
/// is charged the same on a busy machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadClock {
    since: Duration,
    /// Start time for systems that do not report the time of a thread.
    started: Instant,
}

impl ThreadClock {
    pub(crate) fn start() -> Self {
        Self { since: thread_time().unwrap_or_default(), started: Instant::now() }
    }

    /// Processor time since the start; elapsed time where the system does not report it.
    pub(crate) fn elapsed(&self) -> Duration {
        thread_time().map_or_else(|| self.started.elapsed(), |now| now.saturating_sub(self.since))
    }
}

#[cfg(unix)]
fn thread_time() -> Option<Duration> {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[cfg(unix)]
fn clock(id: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is live and the system writes only to it.
    let read = unsafe { libc::clock_gettime(id, &raw mut time) };
    (read == 0).then(|| {
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    })
}

/// Resources that a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time of all its threads.
    pub(crate) processor: Duration,
    /// Resident bytes, on systems where only the parent limits them.
    pub(crate) resident: Option<u64>,
}

/// Usage of another process; `None` when it has ended or the system does not report it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn of_process(pid: u32) -> Option<Usage> {
    let mut id = 0;
    // SAFETY: the number is live and the system writes only to it.
    let found = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut id) };
    if found != 0 {
        return None;
    }
    Some(Usage { processor: clock(id)?, resident: None })
}

/// Usage of another process; `None` when it has ended or the system does not report it.
#[cfg(target_os = "macos")]
pub(crate) fn of_process(pid: u32) -> Option<Usage> {
    // SAFETY: the structure holds plain numbers, for which zeros are valid.
    let mut usage: libc::rusage_info_v0 = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is live and of the requested flavour.
    let read =
        unsafe { libc::proc_pid_rusage(pid.cast_signed(), libc::RUSAGE_INFO_V0, (&raw mut usage).cast()) };
    if read != 0 {
        return None;
    }
    // The times are ticks of 125/3 ns on Apple's own processors and nanoseconds on others.
    let ticks = u128::from(usage.ri_user_time) + u128::from(usage.ri_system_time);
    let nanos = if cfg!(target_arch = "aarch64") { ticks * 125 / 3 } else { ticks };
    Some(Usage {
        processor: Duration::from_nanos(u64::try_from(nanos).ok()?),
        resident: Some(usage.ri_phys_footprint),
    })
}

#[cfg(windows)]
mod windows {
    use std::time::Duration;

    use windows_sys::Win32::Foundation::{CloseHandle, FILETIME};
    use windows_sys::Win32::System::Threading::{
        GetCurrentThread, GetProcessTimes, GetThreadTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
    };

    const NONE: FILETIME = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };

    /// Converts a time, which the system counts in 100 ns.
    fn span(time: FILETIME) -> Duration {
        let ticks = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
        Duration::from_nanos(ticks.saturating_mul(100))
    }

    pub(super) fn thread_time() -> Option<Duration> {
        let [mut made, mut ended, mut kernel, mut user] = [NONE; 4];
        // SAFETY: the handle stands for this thread; the four structures are live.
        let read = unsafe {
            GetThreadTimes(GetCurrentThread(), &raw mut made, &raw mut ended, &raw mut kernel, &raw mut user)
        };
        (read != 0).then(|| span(kernel) + span(user))
    }

    pub(super) fn process_time(pid: u32) -> Option<Duration> {
        let [mut made, mut ended, mut kernel, mut user] = [NONE; 4];
        // SAFETY: the handle is closed once; the four structures are live.
        let read = unsafe {
            let process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid);
            if process.is_null() {
                return None;
            }
            let read =
                GetProcessTimes(process, &raw mut made, &raw mut ended, &raw mut kernel, &raw mut user);
            CloseHandle(process);
            read
        };
        (read != 0).then(|| span(kernel) + span(user))
    }
}

#[cfg(windows)]
fn thread_time() -> Option<Duration> {
    windows::thread_time()
}

/// Usage of another process; `None` when it has ended or the system does not report it. A job object limits
/// its memory.
#[cfg(windows)]
pub(crate) fn of_process(pid: u32) -> Option<Usage> {
    Some(Usage { processor: windows::process_time(pid)?, resident: None })
}

#[cfg(not(any(unix, windows)))]
fn thread_time() -> Option<Duration> {
    None
}

/// Returns `None`: this system does not report the usage of another process.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", windows)))]
pub(crate) fn of_process(_pid: u32) -> Option<Usage> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_is_not_charged_and_working_is() {
        let (clock, begun) = (ThreadClock::start(), Instant::now());
        std::thread::sleep(Duration::from_millis(50));
        let slept = clock.elapsed();
        assert!(slept < begun.elapsed(), "{slept:?}");
        let mut sum = 0_u64;
        while clock.elapsed() < slept + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(
            of_process(std::process::id()).is_none_or(|usage| usage.processor >= Duration::from_millis(20))
        );
    }
}
