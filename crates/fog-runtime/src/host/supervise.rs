//! What a worker may take, watched from outside: a job that never comes to a safe point, or has taken its
//! worker over, is held to its share of the processor and to its running time all the same.
//!
//! Checkpoints that the device asks for are no running time, and are not stopped for being ahead of the share; that is
//! made up for afterwards. Marks are where the job wants them: they are work like any other. One that has taken its
//! worker over and says it were at safe points can take its running time and a tenth for itself, and as much again under
//! the name of checkpoints.

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
/// Part of the running time that words and pauses of an honest worker may take beside it, which it does not count.
const UNCOUNTED_PART: u32 = 10;
/// How far a running job may be ahead of its share. It keeps to it by itself where it comes to safe points.
const RUNNING_DEBT: Duration = Duration::from_millis(100);
/// The same of a frozen one, which only answers requests.
const FROZEN_DEBT: Duration = Duration::from_secs(2);
/// The same of one that was asked for a checkpoint, which may have to go.
const SAVING_DEBT: Duration = LONG_SILENCE;
/// A request is answered by the second checkpoint after it at the latest: the first may be one of a mark, begun before.
const ANSWERS: u8 = 2;

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

    /// Begins anew with this share; who calls lets a stopped process go on.
    pub(super) fn set_duty(&mut self, duty: Percent) {
        *self = Self::new(duty, self.debt_limit);
    }

    /// Whether the process should stand still until the next look. One that `is_saving` may go ahead and makes up for it
    /// afterwards.
    pub(super) fn look(&mut self, now: Instant, used: Duration, is_saving: bool) -> bool {
        let (since, before) = self.last.replace((now, used)).unwrap_or((now, used));
        if self.duty == Percent::FULL {
            (self.balance, self.is_held) = (self.balance.clamp(0.0, LOOK_EVERY.as_secs_f64()), false);
            return false;
        }
        let share = f64::from(self.duty.get()) / 100.0;
        let earned = now.saturating_duration_since(since).as_secs_f64() * share;
        // What was not used is not kept past a look: a process that waited may not run faster afterwards.
        self.balance = (self.balance + earned - used.saturating_sub(before).as_secs_f64()).min(LOOK_EVERY.as_secs_f64());
        let limit = match self.duty {
            _ if is_saving => SAVING_DEBT,
            Percent::ZERO => FROZEN_DEBT,
            _ => self.debt_limit,
        };
        self.is_held = if self.is_held && !is_saving { self.balance < 0.0 } else { self.balance < -limit.as_secs_f64() };
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
    /// Processor time when the job began.
    started: Option<Duration>,
    /// Processor time at the last word that came from a safe point.
    heard: Duration,
    is_at_safe_point: bool,
    /// Checkpoints that may still come before a request for one is answered.
    asked: u8,
    /// The checkpoint that comes next is one of a mark.
    is_marked: bool,
    /// Processor time that checkpoints took for which the job was asked.
    saving: Duration,
    /// Processor time when what the job left began to come.
    ended: Option<Duration>,
    latest: Duration,
}

impl Supervisor {
    /// `running_time` is what its limits leave it, `memory` what the worker may hold.
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

    /// Processor time of the job so far, without that of checkpoints for which it was asked.
    pub(super) fn job_time(&self) -> Duration {
        let Some(started) = self.started else { return Duration::ZERO };
        // A worker that was taken over may say that it saves for ever.
        let saving = self.saving.min(self.running_time.max(LONG_SILENCE));
        self.ended.unwrap_or(self.latest).saturating_sub(started).saturating_sub(saving)
    }

    /// The worker is asked for a checkpoint.
    pub(super) fn ask(&mut self) {
        self.asked = ANSWERS;
        // It has to come to a safe point first.
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

    /// Takes note of a word from the worker. What a job says itself, such as its output, proves nothing.
    pub(super) fn hear(&mut self, message: &FromWorker, usage: Option<Usage>) {
        self.spent(usage.map_or(self.latest, |usage| usage.processor));
        match message {
            FromWorker::Started => _ = self.started.get_or_insert(self.latest),
            FromWorker::AtSafePoint => (self.is_at_safe_point, self.is_marked) = (true, false),
            FromWorker::State(_) => self.is_at_safe_point = true,
            FromWorker::Mark(_) => (self.is_at_safe_point, self.is_marked) = (false, true),
            FromWorker::Saved(_) => {
                self.asked = if std::mem::take(&mut self.is_marked) { self.asked.saturating_sub(1) } else { 0 };
                self.is_at_safe_point = false;
            }
            FromWorker::Progress { .. } | FromWorker::Frozen | FromWorker::Thawed => self.is_at_safe_point = false,
            FromWorker::File { .. } => _ = self.ended.get_or_insert(self.latest),
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
        // Whatever it says meanwhile.
        let is_far_past = job_time > self.running_time + self.running_time / UNCOUNTED_PART + TIME_GRACE
            || self.ended.is_some_and(|ended| self.latest.saturating_sub(ended) > LONG_SILENCE);
        let is_quiet_by_right = self.started.is_none() || self.ended.is_some() || self.is_at_safe_point && (self.is_saving() || !is_past);
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

    const SAVED: FromWorker = FromWorker::Saved(Err(String::new()));
    const PROGRESS: FromWorker = FromWorker::Progress { units: 1, permille: None };

    fn mark() -> FromWorker {
        FromWorker::Mark(crate::protocol::Mark { number: 1, units: 1, state: String::new() })
    }

    /// Taking checkpoints that the device asks for is not the job's running time.
    #[test]
    fn a_job_that_comes_to_safe_points_ends_by_itself() {
        let mut job = Supervisor::new(Duration::from_secs(3), u64::MAX, Percent::FULL);
        let now = Instant::now();
        job.hear(&FromWorker::Started, Some(at(0)));
        job.ask();
        job.hear(&FromWorker::AtSafePoint, Some(at(3_000)));
        assert_eq!(job.look(now, at(60_000), false), Finding::Run);
        job.hear(&SAVED, Some(at(60_000)));
        assert_eq!((job.look(now, at(60_500), false), job.job_time()), (Finding::Run, Duration::from_millis(3_500)));
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
        // One that is asked for meanwhile comes behind it.
        job.ask();
        job.hear(&SAVED, Some(at(2_600)));
        job.hear(&FromWorker::State(vec![1]), Some(at(2_600)));
        job.hear(&SAVED, Some(at(50_000)));
        assert_eq!((job.look(now, at(50_000), false), job.job_time()), (Finding::Run, Duration::from_millis(2_600)));
        job.hear(&FromWorker::AtSafePoint, Some(at(50_100)));
        assert_eq!(job.look(now, at(51_300), false), Finding::TimeOver);
    }

    /// Whoever has taken a worker over can say whatever an honest one says, as often as it likes.
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
                // The device wants a checkpoint each minute.
                if look % 600 == 1 {
                    job.ask();
                }
                words.iter().for_each(|word| job.hear(word, Some(at(look * 100))));
                job.look(now, at(look * 100), true) == Finding::TimeOver
            });
            assert!(ended.is_some_and(|look| look <= most_seconds * 10), "{what}: {ended:?} tenths of a second");
        }
    }

    /// The owner does not wait for a checkpoint, nor lends more for it.
    #[test]
    fn what_a_checkpoint_takes_is_made_up_for() {
        let mut job = Supervisor::new(Duration::from_secs(30), u64::MAX, Percent::new(50));
        let (begun, mut used) = (Instant::now(), 0);
        let look = |job: &mut Supervisor, number: u32, used: u64| job.look(begun + LOOK_EVERY * number, at(used), false);
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
        // Nobody asked for what a mark takes.
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
