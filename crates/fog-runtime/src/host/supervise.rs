//! Limits of a worker, enforced from outside: a job that never comes to a safe point, or has taken over its
//! worker, is still held to its share of the processor and to its running time.
//!
//! Checkpoints that the device requests do not count as running time. They are not stopped for being ahead
//! of the share, which is made up for afterwards. Marks are requested by the job and count as its work. A
//! job that has taken over its worker, and only claims to be at safe points, can use its running time and a
//! tenth, and as much again under the name of checkpoints.

use std::time::{Duration, Instant};

use fog_types::Percent;

use crate::protocol::FromWorker;
use crate::usage::Usage;

/// Time between two checks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Processor time past its running time after which a silent job is ended.
const TIME_GRACE: Duration = Duration::from_millis(500);
/// Processor time without a message from a safe point that counts as silence; a worker sends its progress
/// twice a second.
const SILENCE: Duration = Duration::from_millis(750);
/// Longest silence, in processor time, while a checkpoint is made or a task begins.
const LONG_SILENCE: Duration = Duration::from_secs(120);
/// Divisor for the part of the running time that messages and pauses of an honest worker may take
/// uncounted.
const UNCOUNTED_PART: u32 = 10;
/// Time that a running job may be ahead of its share. At safe points it keeps its share by itself.
const RUNNING_DEBT: Duration = Duration::from_millis(100);
/// Time that a frozen job, which only answers requests, may be ahead of its share.
const FROZEN_DEBT: Duration = Duration::from_secs(2);
/// Time that a job may be ahead of its share when a checkpoint is requested, which may be urgent.
const SAVING_DEBT: Duration = LONG_SILENCE;
/// Number of checkpoints that may pass before a request is answered: the first may belong to a mark.
const ANSWERS: u8 = 2;

/// Holds a process to its share of processor time by stopping and continuing it.
#[derive(Debug)]
pub(super) struct Throttle {
    duty: Percent,
    /// Time that the process may be ahead of its share before it is stopped.
    debt_limit: Duration,
    /// Seconds of processor time that the process is behind its share; negative when it is ahead.
    balance: f64,
    last: Option<(Instant, Duration)>,
    /// Whether the process is stopped for being ahead.
    pub(super) is_held: bool,
}

impl Throttle {
    pub(super) fn new(duty: Percent, debt_limit: Duration) -> Self {
        Self { duty, debt_limit, balance: 0.0, last: None, is_held: false }
    }

    /// Begins again with this share; the caller continues a stopped process.
    pub(super) fn set_duty(&mut self, duty: Percent) {
        *self = Self::new(duty, self.debt_limit);
    }

    /// Returns whether the process should be stopped until the next check. A process that `is_saving` may
    /// go ahead and makes up for it afterwards.
    pub(super) fn look(&mut self, now: Instant, used: Duration, is_saving: bool) -> bool {
        let (since, before) = self.last.replace((now, used)).unwrap_or((now, used));
        if self.duty == Percent::FULL {
            (self.balance, self.is_held) = (self.balance.clamp(0.0, LOOK_EVERY.as_secs_f64()), false);
            return false;
        }
        let share = f64::from(self.duty.get()) / 100.0;
        let earned = now.saturating_duration_since(since).as_secs_f64() * share;
        // At most one interval of unused time is kept: a process that waited may not run faster afterwards.
        self.balance =
            (self.balance + earned - used.saturating_sub(before).as_secs_f64()).min(LOOK_EVERY.as_secs_f64());
        let limit = match self.duty {
            _ if is_saving => SAVING_DEBT,
            Percent::ZERO => FROZEN_DEBT,
            _ => self.debt_limit,
        };
        self.is_held =
            if self.is_held && !is_saving { self.balance < 0.0 } else { self.balance < -limit.as_secs_f64() };
        self.is_held
    }
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// The process runs on, or continues.
    Run,
    /// The process is ahead of its share and is stopped for now.
    Hold,
    /// The running time is over and the job does not end by itself.
    TimeOver,
    /// The process uses more memory than its limits allow.
    MemoryOver,
}

/// Supervisor of one running job.
#[derive(Debug)]
pub(super) struct Supervisor {
    running_time: Duration,
    memory: u64,
    pub(super) throttle: Throttle,
    /// Processor time when the job began.
    started: Option<Duration>,
    /// Processor time at the last message from a safe point.
    heard: Duration,
    is_at_safe_point: bool,
    /// Number of checkpoints that may still come before a request is answered.
    asked: u8,
    /// Whether the next checkpoint belongs to a mark.
    is_marked: bool,
    /// Processor time that requested checkpoints took.
    saving: Duration,
    /// Processor time at the first file of the result.
    ended: Option<Duration>,
    latest: Duration,
}

impl Supervisor {
    /// Creates a supervisor. `running_time` is what the limits leave the job, `memory` what the worker may
    /// hold.
    pub(super) fn new(running_time: Duration, memory: u64, duty: Percent) -> Self {
        let throttle = Throttle::new(duty, RUNNING_DEBT);
        let none = Duration::ZERO;
        Self {
            running_time,
            memory,
            throttle,
            started: None,
            heard: none,
            is_at_safe_point: false,
            asked: 0,
            is_marked: false,
            saving: none,
            ended: None,
            latest: none,
        }
    }

    /// Processor time of the job so far, without requested checkpoints.
    pub(super) fn job_time(&self) -> Duration {
        let Some(started) = self.started else { return Duration::ZERO };
        // A worker that was taken over may claim to save for ever.
        let saving = self.saving.min(self.running_time.max(LONG_SILENCE));
        self.ended.unwrap_or(self.latest).saturating_sub(started).saturating_sub(saving)
    }

    /// Notes that a checkpoint is requested.
    pub(super) fn ask(&mut self) {
        self.asked = ANSWERS;
        // The job must come to a safe point first.
        self.throttle.is_held = false;
    }

    fn is_saving(&self) -> bool {
        self.asked > 0 && self.is_at_safe_point && !self.is_marked
    }

    fn spent(&mut self, processor: Duration) {
        if self.is_saving() {
            self.saving += processor.saturating_sub(self.latest);
        }
        self.latest = processor;
    }

    /// Takes note of a message from the worker. Output of the job itself proves nothing.
    pub(super) fn hear(&mut self, message: &FromWorker, usage: Option<Usage>) {
        self.spent(usage.map_or(self.latest, |usage| usage.processor));
        match message {
            FromWorker::Started => _ = self.started.get_or_insert(self.latest),
            FromWorker::AtSafePoint => (self.is_at_safe_point, self.is_marked) = (true, false),
            FromWorker::State(_) => self.is_at_safe_point = true,
            FromWorker::Mark(_) => (self.is_at_safe_point, self.is_marked) = (false, true),
            FromWorker::Saved(_) => {
                self.asked =
                    if std::mem::take(&mut self.is_marked) { self.asked.saturating_sub(1) } else { 0 };
                self.is_at_safe_point = false;
            }
            FromWorker::Progress { .. } | FromWorker::Frozen | FromWorker::Thawed => {
                self.is_at_safe_point = false
            }
            FromWorker::Files { .. } | FromWorker::File { .. } => _ = self.ended.get_or_insert(self.latest),
            FromWorker::Stdout(_) | FromWorker::Stderr(_) => return,
            FromWorker::CompiledTo(_)
            | FromWorker::Compiled
            | FromWorker::CannotCompile(_)
            | FromWorker::CannotWrite(_)
            | FromWorker::SandboxStatus(_)
            | FromWorker::Done(_)
            | FromWorker::Failed { .. } => {}
        }
        self.heard = self.latest;
    }

    /// Checks the usage of the process. With `has_unread` messages, silence is excused.
    pub(super) fn look(&mut self, now: Instant, usage: Usage, has_unread: bool) -> Finding {
        self.spent(usage.processor);
        if usage.resident.is_some_and(|resident| resident > self.memory) {
            return Finding::MemoryOver;
        }
        if self.is_over(has_unread) {
            return Finding::TimeOver;
        }
        if self.throttle.look(now, usage.processor, self.asked > 0) { Finding::Hold } else { Finding::Run }
    }

    fn is_over(&self, has_unread: bool) -> bool {
        let (job_time, silent) = (self.job_time(), self.latest.saturating_sub(self.heard));
        let is_past = job_time > self.running_time + TIME_GRACE;
        // A limit that no message extends.
        let is_far_past = job_time > self.running_time + self.running_time / UNCOUNTED_PART + TIME_GRACE
            || self.ended.is_some_and(|ended| self.latest.saturating_sub(ended) > LONG_SILENCE);
        let is_quiet_by_right = self.started.is_none()
            || self.ended.is_some()
            || self.is_at_safe_point && (self.is_saving() || !is_past);
        let longest = match is_past {
            _ if is_quiet_by_right => LONG_SILENCE,
            true => SILENCE,
            false => Duration::MAX,
        };
        is_far_past || silent > longest && !has_unread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Usage {
        Usage { processor: Duration::from_millis(millis), resident: None }
    }

    /// Share of processor time of a process that takes all it can.
    fn share_of(duty: u8, speed: f64) -> f64 {
        let mut throttle = Throttle::new(Percent::new(duty), RUNNING_DEBT);
        let (begun, mut used, mut is_held) = (Instant::now(), Duration::ZERO, false);
        let looks = 4_000;
        for look in 0..looks {
            if !is_held {
                used += LOOK_EVERY.mul_f64(speed);
            }
            is_held = throttle.look(begun + LOOK_EVERY * look, used, false);
        }
        used.as_secs_f64() / (LOOK_EVERY * looks).as_secs_f64()
    }

    #[test]
    fn a_share_is_kept_whatever_the_process_does() {
        for duty in [1, 10, 30, 60, 90] {
            let share = share_of(duty, 1.0);
            assert!((share - f64::from(duty) / 100.0).abs() < 0.01, "{duty} %: {share}");
        }
        assert!((share_of(100, 1.0) - 1.0).abs() < 0.001);
        // A busy machine gives less than the share; the process is not stopped.
        assert!((share_of(50, 0.2) - 0.2).abs() < 0.001);
        assert!(share_of(0, 1.0) < 0.02);
    }

    #[test]
    fn a_job_that_comes_to_no_safe_point_ends_with_its_running_time() {
        let mut job = Supervisor::new(Duration::from_secs(3), u64::MAX, Percent::FULL);
        let now = Instant::now();
        job.hear(&FromWorker::Started, Some(at(1_000)));
        job.hear(&FromWorker::Progress { units: 1, permille: None }, Some(at(2_000)));
        assert_eq!(job.look(now, at(4_400), false), Finding::Run);
        job.hear(&FromWorker::Stdout(vec![1]), Some(at(4_550)));
        assert_eq!(job.look(now, at(4_600), true), Finding::Run, "a word is waiting");
        assert_eq!(job.look(now, at(4_600), false), Finding::TimeOver);
        assert_eq!(job.job_time(), Duration::from_millis(3_600));
    }

    const SAVED: FromWorker = FromWorker::Saved(Err(String::new()));
    const PROGRESS: FromWorker = FromWorker::Progress { units: 1, permille: None };

    fn mark() -> FromWorker {
        FromWorker::Mark(crate::protocol::Mark { number: 1, units: 1, state: String::new() })
    }

    /// Requested checkpoints do not count as running time.
    #[test]
    fn a_job_that_comes_to_safe_points_ends_by_itself() {
        let mut job = Supervisor::new(Duration::from_secs(3), u64::MAX, Percent::FULL);
        let now = Instant::now();
        job.hear(&FromWorker::Started, Some(at(0)));
        job.ask();
        job.hear(&FromWorker::AtSafePoint, Some(at(3_000)));
        assert_eq!(job.look(now, at(60_000), false), Finding::Run);
        job.hear(&SAVED, Some(at(60_000)));
        assert_eq!(
            (job.look(now, at(60_500), false), job.job_time()),
            (Finding::Run, Duration::from_millis(3_500))
        );
        job.ask();
        job.hear(&FromWorker::AtSafePoint, Some(at(60_500)));
        assert_eq!(job.look(now, at(200_000), false), Finding::TimeOver, "nothing takes that long");
    }

    #[test]
    fn marks_are_running_time() {
        let mut job = Supervisor::new(Duration::from_secs(3), u64::MAX, Percent::FULL);
        let now = Instant::now();
        job.hear(&FromWorker::Started, Some(at(0)));
        job.hear(&FromWorker::AtSafePoint, Some(at(1_000)));
        assert_eq!(job.look(now, at(2_400), false), Finding::Run);
        job.hear(&mark(), Some(at(2_400)));
        job.hear(&FromWorker::State(vec![1]), Some(at(2_500)));
        // A checkpoint requested meanwhile comes after that of the mark.
        job.ask();
        job.hear(&SAVED, Some(at(2_600)));
        job.hear(&FromWorker::State(vec![1]), Some(at(2_600)));
        job.hear(&SAVED, Some(at(50_000)));
        assert_eq!(
            (job.look(now, at(50_000), false), job.job_time()),
            (Finding::Run, Duration::from_millis(2_600))
        );
        job.hear(&FromWorker::AtSafePoint, Some(at(50_100)));
        assert_eq!(job.look(now, at(51_300), false), Finding::TimeOver);
    }

    /// A job that has taken over its worker can send any message as often as it likes.
    #[test]
    fn words_do_not_make_the_running_time_longer() {
        let file = || FromWorker::File { path: "a".to_owned(), chunk: Vec::new() };
        let words: [(&str, &[FromWorker], u64); 5] = [
            ("progress", &[PROGRESS], 34),
            ("beginning", &[FromWorker::Started], 34),
            ("marks", &[FromWorker::AtSafePoint, mark(), FromWorker::State(vec![1]), SAVED], 34),
            ("checkpoints", &[FromWorker::AtSafePoint, FromWorker::State(vec![1])], 154),
            ("files", &[file()], 122),
        ];
        for (what, words, most_seconds) in words {
            let mut job = Supervisor::new(Duration::from_secs(30), u64::MAX, Percent::FULL);
            let now = Instant::now();
            job.hear(&FromWorker::Started, Some(at(0)));
            let ended = (1..10_000).find(|look| {
                // The device requests a checkpoint each minute.
                if look % 600 == 1 {
                    job.ask();
                }
                words.iter().for_each(|word| job.hear(word, Some(at(look * 100))));
                job.look(now, at(look * 100), true) == Finding::TimeOver
            });
            assert!(
                ended.is_some_and(|look| look <= most_seconds * 10),
                "{what}: {ended:?} tenths of a second"
            );
        }
    }

    /// A requested checkpoint may use more than the share, which is made up for afterwards.
    #[test]
    fn what_a_checkpoint_takes_is_made_up_for() {
        let mut job = Supervisor::new(Duration::from_secs(30), u64::MAX, Percent::new(50));
        let (begun, mut used) = (Instant::now(), 0);
        let look = |job: &mut Supervisor, number: u32, used: u64| {
            job.look(begun + LOOK_EVERY * number, at(used), false)
        };
        job.hear(&FromWorker::Started, Some(at(0)));
        assert_eq!(look(&mut job, 0, 0), Finding::Run);
        job.ask();
        job.hear(&FromWorker::AtSafePoint, Some(at(0)));
        for number in 1..=20 {
            used += 50;
            assert_eq!(look(&mut job, number, used), Finding::Run);
        }
        job.hear(&SAVED, Some(at(used)));
        let held = (21..100).take_while(|number| look(&mut job, *number, used) == Finding::Hold).count();
        assert!((18..=20).contains(&held), "{held}");
        // Time for a mark is not requested by the device.
        job.hear(&FromWorker::AtSafePoint, Some(at(used)));
        assert!((1..=8).any(|more| look(&mut job, 41 + more, used + u64::from(more) * 50) == Finding::Hold));
    }

    #[test]
    fn memory_is_looked_at_where_nothing_else_limits_it() {
        let mut job = Supervisor::new(Duration::from_secs(3), 1_000, Percent::FULL);
        let resident = |bytes| Usage { resident: Some(bytes), ..at(1) };
        assert_eq!(job.look(Instant::now(), resident(1_000), false), Finding::Run);
        assert_eq!(job.look(Instant::now(), resident(1_001), false), Finding::MemoryOver);
    }
}
