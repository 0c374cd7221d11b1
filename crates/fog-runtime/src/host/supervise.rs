//! What a worker may take, watched from outside: a job that never comes to a safe point, or has taken its
//! worker over, is held to its share of the processor and to its running time all the same.

use std::time::{Duration, Instant};

use fog_types::Percent;

use crate::protocol::FromWorker;
use crate::usage::Usage;

/// Time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Processor time past its running time after which a job that says nothing is ended.
const TIME_GRACE: Duration = Duration::from_millis(500);
/// Processor time without a word from a safe point: a worker sends its progress twice a second.
const SILENCE: Duration = Duration::from_millis(750);
/// Most processor time without a word while a checkpoint is worked out, or a task begins.
const LONG_SILENCE: Duration = Duration::from_secs(120);
/// How far a running job may be ahead of its share. It keeps to it by itself where it comes to safe points.
const RUNNING_DEBT: Duration = Duration::from_millis(100);
/// The same of a frozen one, which only answers requests.
const FROZEN_DEBT: Duration = Duration::from_secs(2);

/// Holds a process to its share of processor time by stopping it and letting it go on.
#[derive(Debug)]
pub(super) struct Throttle {
    duty: Percent,
    /// How far the process may be ahead of its share before it is stopped.
    debt_limit: Duration,
    /// Seconds of processor time it is behind its share, negative when it is ahead.
    balance: f64,
    last: Option<(Instant, Duration)>,
    /// The process is stopped for being ahead.
    pub(super) is_held: bool,
}

impl Throttle {
    pub(super) fn new(duty: Percent, debt_limit: Duration) -> Self {
        Self { duty, debt_limit, balance: 0.0, last: None, is_held: false }
    }

    pub(super) fn duty(&self) -> Percent {
        self.duty
    }

    /// Begins anew with this share; who calls lets a stopped process go on.
    pub(super) fn set_duty(&mut self, duty: Percent) {
        *self = Self::new(duty, self.debt_limit);
    }

    /// Whether the process should stand still until the next look. `is_free` time is not counted.
    pub(super) fn look(&mut self, now: Instant, used: Duration, is_free: bool) -> bool {
        let (since, before) = self.last.replace((now, used)).unwrap_or((now, used));
        if is_free || self.duty == Percent::FULL {
            (self.balance, self.is_held) = (self.balance.clamp(0.0, LOOK_EVERY.as_secs_f64()), false);
            return false;
        }
        let share = f64::from(self.duty.get()) / 100.0;
        let earned = now.saturating_duration_since(since).as_secs_f64() * share;
        // What was not used is not kept past a look: a process that waited may not run faster afterwards.
        self.balance = (self.balance + earned - used.saturating_sub(before).as_secs_f64()).min(LOOK_EVERY.as_secs_f64());
        let limit = if self.duty == Percent::ZERO { FROZEN_DEBT } else { self.debt_limit };
        self.is_held = if self.is_held { self.balance < 0.0 } else { self.balance < -limit.as_secs_f64() };
        self.is_held
    }
}

/// What a look finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// It should run on, or go on.
    Run,
    /// It is ahead of its share: stop it for now.
    Hold,
    /// Its running time is over, and it does not end by itself.
    TimeOver,
    /// It holds more memory than its limits allow.
    MemoryOver,
}

/// Watches one running job.
#[derive(Debug)]
pub(super) struct Supervisor {
    running_time: Duration,
    memory: u64,
    pub(super) throttle: Throttle,
    has_started: bool,
    /// Processor time when the job began, or at the last word that came from a safe point.
    started: Duration,
    heard: Duration,
    is_at_safe_point: bool,
    latest: Duration,
}

impl Supervisor {
    /// `running_time` is what its limits leave it, `memory` what the worker may hold.
    pub(super) fn new(running_time: Duration, memory: u64, duty: Percent) -> Self {
        let throttle = Throttle::new(duty, RUNNING_DEBT);
        let none = Duration::ZERO;
        Self { running_time, memory, throttle, has_started: false, started: none, heard: none, is_at_safe_point: false, latest: none }
    }

    /// Processor time of the job so far.
    pub(super) fn job_time(&self) -> Duration {
        self.latest.saturating_sub(self.started)
    }

    /// Takes note of a word from the worker. What a job says itself, such as its output, proves nothing.
    pub(super) fn hear(&mut self, message: &FromWorker, usage: Option<Usage>) {
        self.latest = usage.map_or(self.latest, |usage| usage.processor);
        match message {
            FromWorker::Started => (self.has_started, self.started) = (true, self.latest),
            FromWorker::AtSafePoint | FromWorker::State(_) => self.is_at_safe_point = true,
            FromWorker::Progress { .. } | FromWorker::Frozen | FromWorker::Thawed | FromWorker::Saved(_) | FromWorker::Mark(_) => self.is_at_safe_point = false,
            // The job has ended: what it left is on its way.
            FromWorker::File { .. } => self.is_at_safe_point = true,
            FromWorker::Stdout(_) | FromWorker::Stderr(_) => return,
            FromWorker::Compiled
            | FromWorker::CannotCompile(_)
            | FromWorker::CannotWrite(_)
            | FromWorker::Walls(_)
            | FromWorker::Done(_)
            | FromWorker::Failed { .. } => {}
        }
        self.heard = self.latest;
    }

    /// Looks at what the process has used. `has_unread` words from it excuse its silence.
    pub(super) fn look(&mut self, now: Instant, usage: Usage, has_unread: bool) -> Finding {
        self.latest = usage.processor;
        if usage.resident.is_some_and(|resident| resident > self.memory) {
            return Finding::MemoryOver;
        }
        let silent = usage.processor.saturating_sub(self.heard);
        let is_quiet_by_right = self.is_at_safe_point || !self.has_started;
        let is_over = if is_quiet_by_right { silent > LONG_SILENCE } else { self.job_time() > self.running_time + TIME_GRACE && silent > SILENCE };
        if is_over && !has_unread {
            return Finding::TimeOver;
        }
        let is_free = self.is_at_safe_point && silent <= LONG_SILENCE;
        if self.throttle.look(now, usage.processor, is_free) { Finding::Hold } else { Finding::Run }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Usage {
        Usage { processor: Duration::from_millis(millis), resident: None }
    }

    /// Share of processor time a process gets that takes all it can.
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
        // A busy machine gives less than the share anyway: it is not stopped.
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

    /// Taking checkpoints is not the job's running time.
    #[test]
    fn a_job_that_comes_to_safe_points_ends_by_itself() {
        let mut job = Supervisor::new(Duration::from_secs(3), u64::MAX, Percent::FULL);
        let now = Instant::now();
        job.hear(&FromWorker::Started, Some(at(0)));
        job.hear(&FromWorker::AtSafePoint, Some(at(4_000)));
        assert_eq!(job.look(now, at(60_000), false), Finding::Run);
        job.hear(&FromWorker::Saved(Err(String::new())), Some(at(60_000)));
        assert_eq!(job.look(now, at(60_500), false), Finding::Run);
        job.hear(&FromWorker::AtSafePoint, Some(at(61_000)));
        assert_eq!(job.look(now, at(200_000), false), Finding::TimeOver, "nothing takes that long");
    }

    #[test]
    fn memory_is_looked_at_where_nothing_else_limits_it() {
        let mut job = Supervisor::new(Duration::from_secs(3), 1_000, Percent::FULL);
        let resident = |bytes| Usage { resident: Some(bytes), ..at(1) };
        assert_eq!(job.look(Instant::now(), resident(1_000), false), Finding::Run);
        assert_eq!(job.look(Instant::now(), resident(1_001), false), Finding::MemoryOver);
    }
}
