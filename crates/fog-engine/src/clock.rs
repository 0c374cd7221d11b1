//! Clock of the engine: the one place where the engine reads the time.
//!
//! Two clocks are read: the calendar, which people, time servers and empty batteries set, and a steady
//! clock that only goes forward, also while the device sleeps. Durations come from the steady clock. When
//! the calendar is set, every stored moment at which something is due moves with it (see [`Clock::look`]),
//! so that nothing ends sooner or later for that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fog_eligibility::Moment;
use fog_types::UnixMillis;
use serde::{Deserialize, Serialize};

/// Deviation of the two clocks in milliseconds up to which the calendar does not count as set: they are
/// never read at the same moment.
const SET_MS: i64 = 1_000;
/// Change of the calendar in milliseconds above which stored moments are moved.
const SHIFT_MS: i64 = 10_000;
/// Value of a moment at the start. It is above zero so that moments before the start can be expressed.
const OFFSET_MS: u64 = 86_400_000;
/// Longest time in milliseconds between two starts of the device that is believed at once: a device without
/// a clock battery has a wrong calendar until it reaches a time server.
const PLAUSIBLE_GAP_MS: i64 = 600_000;
/// Milliseconds without a change of the calendar after which such a time is believed.
const SETTLE_MS: u64 = 3_600_000;

/// Source of time; tests use their own.
pub(crate) trait TimeSource: Send + Sync {
    /// Milliseconds since 1970 by the calendar.
    fn wall_ms(&self) -> i64;
    /// Milliseconds of a clock that continues while the device sleeps and cannot be set.
    fn steady_ms(&self) -> u64;
    /// Current time of a clock that stands still while the device sleeps; for durations of work.
    fn instant(&self) -> Instant {
        Instant::now()
    }
    /// Id of the boot that `steady_ms` counts from; empty when the system has none.
    fn boot_id(&self) -> String;
}

struct SystemTimeSource {
    #[cfg(not(unix))]
    start: Instant,
}

impl TimeSource for SystemTimeSource {
    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    #[cfg(unix)]
    fn steady_ms(&self) -> u64 {
        // On Apple's systems the monotonic clock continues during sleep.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        const CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(CLOCK);
        u64::try_from(now.tv_sec)
            .unwrap_or(0)
            .saturating_mul(1000)
            .saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
    }

    #[cfg(not(unix))]
    fn steady_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn boot_id(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    }
}

/// Both clocks as stored for the next run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClockState {
    wall_ms: i64,
    steady_ms: u64,
    boot_id: String,
}

/// Relation of the calendar to the steady clock.
#[derive(Debug, Clone, Copy, Default)]
struct Calendar {
    /// Offset that is added to a steady time to get the calendar. It is kept because the two clocks are
    /// never read at once: a new offset at every look would make every look a change.
    anchor: i64,
    /// Milliseconds between two starts of the device that are not believed yet.
    gap_ms: i64,
    /// Steady time from which they are believed.
    settled_ms: u64,
}

impl Calendar {
    /// Begins with the state of the last run. Returns the milliseconds by which stored moments have to
    /// move.
    fn start(wall: i64, steady: u64, boot_id: &str, saved: Option<&ClockState>) -> (Self, i64) {
        let mut calendar = Self { anchor: wall.saturating_sub_unsigned(steady), gap_ms: 0, settled_ms: 0 };
        let Some(saved) = saved else { return (calendar, 0) };
        if !boot_id.is_empty() && saved.boot_id == boot_id && saved.steady_ms <= steady {
            // The device was not restarted: the time in between is known.
            let set = calendar.anchor.saturating_sub(saved.wall_ms.saturating_sub_unsigned(saved.steady_ms));
            return (calendar, if set.abs() > SHIFT_MS { set } else { 0 });
        }
        let gap = wall.saturating_sub(saved.wall_ms);
        if gap > PLAUSIBLE_GAP_MS {
            (calendar.gap_ms, calendar.settled_ms) = (gap, steady.saturating_add(SETTLE_MS));
        }
        (calendar, if gap < -SHIFT_MS { gap } else { 0 })
    }

    /// Checks whether the calendar was set. Returns the milliseconds by which stored moments have to move.
    fn look(&mut self, wall: i64, steady: u64) -> i64 {
        if self.gap_ms > 0 && steady >= self.settled_ms {
            self.gap_ms = 0;
        }
        let set = wall.saturating_sub_unsigned(steady).saturating_sub(self.anchor);
        if set.abs() <= SET_MS {
            return 0;
        }
        self.anchor = self.anchor.saturating_add(set);
        if set.abs() <= SHIFT_MS {
            return 0;
        }
        // An amount that is set back was no time between two starts: stored moments return to their earlier
        // place.
        let unbelieved = self.gap_ms.min(set.saturating_neg()).max(0);
        self.gap_ms -= unbelieved;
        if self.gap_ms > 0 {
            self.settled_ms = steady.saturating_add(SETTLE_MS);
        }
        set.saturating_add(unbelieved)
    }
}

/// Clock that ties the monotonic time of the rules to the calendar.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn TimeSource>,
    start_ms: u64,
    calendar: Arc<Mutex<Calendar>>,
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("start_ms", &self.start_ms)
            .field("calendar", &self.calendar)
            .finish_non_exhaustive()
    }
}

impl Clock {
    /// Creates a clock that begins now.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default that differs on every call surprises")]
    pub fn new() -> Self {
        Self::with(Arc::new(SystemTimeSource {
            #[cfg(not(unix))]
            start: Instant::now(),
        }))
    }

    pub(crate) fn with(source: Arc<dyn TimeSource>) -> Self {
        let steady = source.steady_ms();
        let calendar =
            Calendar { anchor: source.wall_ms().saturating_sub_unsigned(steady), ..Calendar::default() };
        Self { source, start_ms: steady, calendar: Arc::new(Mutex::new(calendar)) }
    }

    fn calendar(&self) -> MutexGuard<'_, Calendar> {
        self.calendar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Current time for the rules.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(OFFSET_MS.saturating_add(self.source.steady_ms().saturating_sub(self.start_ms)))
    }

    /// Current time for durations.
    pub(crate) fn now(&self) -> Instant {
        self.source.instant()
    }

    /// Current time for people: by the calendar as of the last look.
    #[must_use]
    pub fn unix(&self) -> UnixMillis {
        self.to_unix(self.moment())
    }

    /// Current time for actions that cannot be undone, such as giving up a job or deleting its result: it
    /// leaves out a time between two starts that is not believed yet.
    #[must_use]
    pub fn lived(&self) -> UnixMillis {
        let gap = self.calendar().gap_ms;
        UnixMillis(self.unix().0.saturating_sub(gap))
    }

    /// Milliseconds between two starts of the device that are not believed yet.
    pub(crate) fn gap(&self) -> i64 {
        self.calendar().gap_ms
    }

    /// Source of time of this clock.
    pub(crate) fn source(&self) -> Arc<dyn TimeSource> {
        self.source.clone()
    }

    /// Converts a moment to calendar time.
    #[must_use]
    pub fn to_unix(&self, moment: Moment) -> UnixMillis {
        UnixMillis(self.anchor().saturating_add(i64::try_from(moment.0).unwrap_or(i64::MAX)))
    }

    /// Converts calendar time to a moment.
    #[must_use]
    pub fn to_moment(&self, unix: UnixMillis) -> Moment {
        Moment(u64::try_from(unix.0.saturating_sub(self.anchor())).unwrap_or(0))
    }

    /// Checks whether the calendar was set, and follows it from then on. Returns the milliseconds by which
    /// every stored moment has to move to come due as soon as before.
    #[must_use]
    pub fn look(&self) -> i64 {
        let (wall, steady) = (self.source.wall_ms(), self.source.steady_ms());
        self.calendar().look(wall, steady)
    }

    /// Continues with the state of the last run. Returns the same as [`Clock::look`].
    pub(crate) fn resume(&self, saved: Option<&ClockState>) -> i64 {
        let (calendar, shift) =
            Calendar::start(self.source.wall_ms(), self.source.steady_ms(), &self.source.boot_id(), saved);
        *self.calendar() = calendar;
        shift
    }

    /// State to store for the next run.
    pub(crate) fn state(&self) -> ClockState {
        let steady_ms = self.source.steady_ms();
        let calendar = self.calendar();
        // A time that is not believed yet is not believed by the next run either.
        let wall_ms = calendar.anchor.saturating_add_unsigned(steady_ms).saturating_sub(calendar.gap_ms);
        let boot_id = if calendar.gap_ms > 0 { String::new() } else { self.source.boot_id() };
        ClockState { wall_ms, steady_ms, boot_id }
    }

    /// Offset that is added to a moment to get calendar time.
    fn anchor(&self) -> i64 {
        self.calendar().anchor.saturating_add_unsigned(self.start_ms).saturating_sub_unsigned(OFFSET_MS)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: i64 = 1_790_000_000_000;

    /// Two clocks that a test moves.
    pub(crate) struct Fake {
        wall: AtomicI64,
        steady: AtomicU64,
        /// Time that has passed on both clocks.
        passed: AtomicU64,
        begun: Instant,
        boot: Mutex<String>,
    }

    impl Fake {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Self {
                wall: AtomicI64::new(NOW),
                steady: AtomicU64::new(5_000_000),
                passed: AtomicU64::new(0),
                begun: Instant::now(),
                boot: Mutex::new("one".to_owned()),
            })
        }

        /// Lets time pass on both clocks.
        pub(crate) fn pass(&self, ms: u64) {
            self.wall.fetch_add(ms.cast_signed(), Ordering::Relaxed);
            self.steady.fetch_add(ms, Ordering::Relaxed);
            self.passed.fetch_add(ms, Ordering::Relaxed);
        }

        /// Sets the calendar by an amount.
        pub(crate) fn set(&self, by: i64) {
            self.wall.fetch_add(by, Ordering::Relaxed);
        }

        fn reboot(&self, off_ms: i64, name: &str) {
            self.wall.fetch_add(off_ms, Ordering::Relaxed);
            self.steady.store(1_000, Ordering::Relaxed);
            *self.boot.lock().unwrap() = name.to_owned();
        }
    }

    impl TimeSource for Fake {
        fn wall_ms(&self) -> i64 {
            self.wall.load(Ordering::Relaxed)
        }
        fn steady_ms(&self) -> u64 {
            self.steady.load(Ordering::Relaxed)
        }
        fn instant(&self) -> Instant {
            self.begun + std::time::Duration::from_millis(self.passed.load(Ordering::Relaxed))
        }
        fn boot_id(&self) -> String {
            self.boot.lock().unwrap().clone()
        }
    }

    #[test]
    fn a_moment_stays_the_same_time_of_day() {
        let fake = Fake::new();
        let clock = Clock::with(fake.clone());
        let moment = clock.moment();
        let first = clock.to_unix(moment);
        for _ in 0..20 {
            fake.pass(60_000);
            fake.set(3);
            assert_eq!(clock.look(), 0);
            assert_eq!((clock.to_unix(moment), clock.to_moment(first)), (first, moment));
        }
    }

    #[test]
    fn what_waits_moves_with_the_calendar_and_takes_as_long() {
        let fake = Fake::new();
        let clock = Clock::with(fake.clone());
        let mut deadline = clock.unix().0 + 7 * DAY_MS;
        let begun = clock.moment();
        for by in [40 * DAY_MS, -40 * DAY_MS, -DAY_MS, 3_600_000] {
            fake.set(by);
            deadline += clock.look();
            assert_eq!(clock.unix().0, fake.wall_ms(), "people see the calendar");
            fake.pass(30_000);
            assert_eq!(clock.look(), 0);
        }
        let lived = i64::try_from(clock.moment().since(begun)).unwrap();
        assert_eq!((lived, deadline - clock.lived().0), (120_000, 7 * DAY_MS - lived));
    }

    #[test]
    fn between_two_runs_of_one_start_the_time_is_known() {
        let fake = Fake::new();
        let saved = Clock::with(fake.clone()).state();
        fake.pass(2 * DAY_MS.unsigned_abs());
        let clock = Clock::with(fake.clone());
        assert_eq!(clock.resume(Some(&saved)), 0);
        assert_eq!(clock.lived(), clock.unix(), "two days off are two days");
        fake.set(40 * DAY_MS);
        assert_eq!(Clock::with(fake.clone()).resume(Some(&saved)), 40 * DAY_MS);
    }

    #[test]
    fn a_start_of_the_device_with_a_wrong_calendar_ages_nothing() {
        // The device is off for a minute, and the calendar is forty days ahead until a time server is
        // asked.
        let fake = Fake::new();
        let mut deadline = NOW + 7 * DAY_MS;
        let saved = Clock::with(fake.clone()).state();
        fake.reboot(60_000 + 40 * DAY_MS, "two");
        let clock = Clock::with(fake.clone());
        deadline += clock.resume(Some(&saved));
        fake.pass(30_000);
        assert!(deadline > clock.lived().0, "not late");
        // The engine is killed and started again meanwhile.
        let clock = {
            let saved = clock.state();
            let next = Clock::with(fake.clone());
            deadline += next.resume(Some(&saved));
            next
        };
        assert!(deadline > clock.lived().0, "nor for the next run");
        fake.set(-40 * DAY_MS);
        deadline += clock.look();
        fake.pass(SETTLE_MS + 1);
        deadline += clock.look();
        assert_eq!(deadline, NOW + 7 * DAY_MS);
        assert_eq!(clock.lived(), clock.unix());
        // The calendar starts in 1970 and is set later.
        let fake = Fake::new();
        let mut deadline = NOW + 7 * DAY_MS;
        let saved = Clock::with(fake.clone()).state();
        fake.reboot(-NOW, "two");
        let clock = Clock::with(fake.clone());
        deadline += clock.resume(Some(&saved));
        fake.pass(30_000);
        fake.set(NOW);
        deadline += clock.look();
        assert_eq!(deadline - clock.lived().0, 7 * DAY_MS - 30_000);
    }

    /// The calendar is forty days ahead for half a minute: no job is given up or removed for that, and
    /// pending moments come due as before.
    #[test]
    fn a_calendar_that_is_wrong_for_a_while_ends_nothing() {
        use fog_store::{BlobFile, Blobs, FailedAttempt, Failure, JobFilter, NewJob, Store};
        use fog_types::job::JobFile;
        use fog_types::{ByteCount, JobState, WorkUnits};

        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let fake = Fake::new();
        let clock = Clock::with(fake.clone());
        let module = BlobFile::copy(folder.path(), &b"module"[..], ByteCount::mib(1)).unwrap();
        let module = store.add_blob(module, ByteCount::mib(1), clock.unix()).unwrap();
        let blobs = Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
        let job = |store: &mut Store, name: &str| {
            let new = NewJob {
                file: JobFile::for_module(name, "m.wasm"),
                blobs: blobs.clone(),
                owner: String::new(),
                grid: None,
                now: clock.unix(),
            };
            store.insert_job(&new).unwrap()
        };
        let ended = job(&mut store, "ended");
        store.set_job_state(ended, JobState::Cancelled, "", clock.unix()).unwrap();
        let waiting = job(&mut store, "waiting");
        let claim = store.claim_task("test", clock.unix()).unwrap().unwrap();
        let broke =
            FailedAttempt { problem: String::new(), units: WorkUnits(0), exit_code: None, logs: None };
        store
            .fail_task(claim, &broke, Failure::Retry(UnixMillis(clock.unix().0 + 60_000)), clock.unix())
            .unwrap();
        // One turn of the event loop with its chores.
        let turn = |store: &mut Store| {
            let shift = clock.look();
            if shift != 0 {
                store.shift_times(shift).unwrap();
            }
            assert_eq!(store.expire_jobs(clock.lived()).unwrap(), []);
            assert_eq!(store.remove_jobs(UnixMillis(clock.lived().0 - 7 * DAY_MS), None).unwrap(), 0);
            store.wake_tasks(clock.unix()).unwrap()
        };
        let mut woken = 0;
        for by in [40 * DAY_MS, -40 * DAY_MS, -DAY_MS] {
            fake.set(by);
            woken += turn(&mut store);
            fake.pass(15_000);
            woken += turn(&mut store);
        }
        assert_eq!(woken, 0, "45 of 60 seconds have passed");
        fake.pass(15_000);
        assert_eq!(turn(&mut store), 1, "and set back by a day it waits no day");
        let jobs = store.jobs(&JobFilter { limit: 9, ..JobFilter::default() }).unwrap();
        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [waiting, ended]);
        assert_eq!(jobs[0].deadline.0 - clock.unix().0, 7 * DAY_MS - 60_000);
        assert_eq!(
            jobs.iter().map(|job| clock.unix().0 - job.created.0).collect::<Vec<_>>(),
            [60_000; 2],
            "as old as they are"
        );
    }

    #[test]
    fn a_long_time_off_counts_after_an_hour() {
        let fake = Fake::new();
        let saved = Clock::with(fake.clone()).state();
        fake.reboot(10 * DAY_MS, "two");
        let clock = Clock::with(fake.clone());
        assert_eq!(clock.resume(Some(&saved)), 0);
        assert_eq!(clock.unix().0 - clock.lived().0, 10 * DAY_MS);
        fake.pass(SETTLE_MS + 1);
        assert_eq!(clock.look(), 0);
        assert_eq!(clock.unix(), clock.lived());
    }
}
