//! Follows a job to its end: prints each change of what it waits for, on a terminal or not.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use fog_api::{
    ActiveTask, Command, EffectView, Event, EventBody, JobCommand, JobSummary, PlacementCommand, ReasonView,
    Reply, Snapshot, Status, TaskPlace,
};
use fog_ipc::{Client, Events};
use fog_types::text::clean_name;
use fog_types::{ErrorKind, JobId, JobState};
use fog_words::Words;

use crate::connect::{Context, now_ms, unexpected};
use crate::output::{Failure, say, say_part};

/// Time between two checks of elapsed time.
const TICK: Duration = Duration::from_secs(1);
/// Shortest wait that is reported; a gap between two tasks is shorter.
const SETTLE: Duration = Duration::from_secs(5);
/// Time between two queries for the waiting reason of a grid job, which no event reports.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// Greatest number of devices named when several have a job paused.
const NAMED: usize = 3;

/// Time after which progress of a submission is shown.
const STORING_FIRST: Duration = Duration::from_secs(2);
/// Time between two lines of progress without a terminal.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Options for following a job.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// Whether the number of finished tasks is shown as well.
    pub shows_progress: bool,
    /// Longest time in which nothing of the job runs.
    pub stall_timeout: Option<Duration>,
    /// Whether the job was requested with `--now`; a status from before the request does not show that.
    pub is_requested: bool,
}

/// Activity of a job, or the reason why it waits.
#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// A task of the job runs.
    Works,
    /// A rule stops the job.
    Stopped(Box<ReasonView>),
    /// The engine starts no tasks any more.
    Finishing,
    /// A reason that only the job itself shows: its turn, a back-off, other devices.
    Waits { what: &'static str, sentence: String },
    /// The job is paused by a person.
    Paused,
}

impl Phase {
    /// Whether nothing new has to be printed between two phases; values of a reason change all the time.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stopped(a), Self::Stopped(b)) => a.rule == b.rule,
            (Self::Waits { what: a, sentence: s }, Self::Waits { what: b, sentence: t }) => {
                a == b && (matches!(*a, "turn" | "memory") || s == t)
            }
            _ => self == other,
        }
    }
}

/// Follows a job until it has ended and returns its final state.
///
/// # Errors
/// When the engine goes, the job is paused after failures, or nothing of it ran for the stall time.
pub async fn follow(
    context: &Context,
    client: &Client,
    events: &mut Events,
    words: &Words,
    first: JobSummary,
    watch: Watch,
) -> Result<JobSummary, Failure> {
    let mut this = Follower {
        words,
        json: context.json,
        watch,
        status: snapshot(client).await?.status,
        job: current(client, first.id).await?,
        withheld: String::new(),
        places: None,
        said: None,
        pending: None,
        last_ran: Instant::now(),
        last_told: Instant::now(),
        line: Line {
            shows: watch.shows_progress && !context.json && std::io::stderr().is_terminal(),
            is_drawn: false,
        },
    };
    let mut tick = tokio::time::interval(TICK);
    let mut asked = Instant::now();
    while !this.job.state.is_final() {
        this.look();
        this.check_stalled()?;
        tokio::select! {
            event = events.next() => match event {
                Ok(Some(event)) => this.handle(client, event).await?,
                Ok(None) => {
                    this.line.clear();
                    return Err(Failure::new(ErrorKind::NotRunning, format!("the engine stopped; job {} is kept and goes on at its next start", first.id)));
                }
                Err(()) => this.refresh(client).await?,
            },
            _ = tick.tick() => {
                this.tell_progress();
                if this.job.is_grid && asked.elapsed() >= ASK_EVERY {
                    asked = Instant::now();
                    this.withheld = withheld(client, first.id).await?;
                    this.places = Some(places(client, first.id).await?);
                }
            }
        }
    }
    this.line.clear();
    Ok(this.job)
}

struct Follower<'a> {
    words: &'a Words,
    json: bool,
    watch: Watch,
    status: Status,
    job: JobSummary,
    withheld: String,
    /// Devices that have tasks of the job, once queried.
    places: Option<Vec<TaskPlace>>,
    said: Option<Phase>,
    /// Phase that is reported unless it passes, and the time since which it holds.
    pending: Option<(Phase, Instant)>,
    last_ran: Instant,
    /// Time of the last output, where progress is printed line by line.
    last_told: Instant,
    line: Line,
}

impl Follower<'_> {
    async fn handle(&mut self, client: &Client, event: Event) -> Result<(), Failure> {
        let id = self.job.id;
        match event.body {
            EventBody::Job(job) if job.id == id => {
                if self.watch.shows_progress && job.tasks_finished != self.job.tasks_finished {
                    self.say_tasks(&job);
                }
                if job.state == JobState::Paused && !job.problem.is_empty() {
                    self.line.clear();
                    return Err(Failure::new(ErrorKind::Conflict, format!("job {id}: {}", job.problem)));
                }
                self.job = job;
            }
            EventBody::Status(status) => self.status = *status,
            EventBody::Progress(task) => {
                let same = |known: &&mut ActiveTask| known.job == task.job && known.index == task.index;
                if let Some(known) = self.status.active.iter_mut().find(same) {
                    *known = task;
                }
                self.draw();
            }
            EventBody::JobRemoved(removed) if removed == id => {
                self.line.clear();
                return Err(Failure::new(ErrorKind::NotFound, format!("job {id} was removed")));
            }
            EventBody::Missed => self.refresh(client).await?,
            _ => {}
        }
        Ok(())
    }

    async fn refresh(&mut self, client: &Client) -> Result<(), Failure> {
        self.status = snapshot(client).await?.status;
        self.job = current(client, self.job.id).await?;
        Ok(())
    }

    fn phase(&self) -> Phase {
        let id = self.job.id;
        let is_ours = |task: &&ActiveTask| task.job == id && !task.frozen;
        if self.job.state == JobState::Paused {
            return Phase::Paused;
        }
        if self.status.active.iter().any(|task| is_ours(&task)) {
            return Phase::Works;
        }
        if self.job.is_grid {
            let there = self.places.as_ref().map_or(Phase::Works, |places| elsewhere(self.words, places));
            // The reason why some tasks are not lent does not matter while others run.
            let is_withheld = !self.withheld.is_empty() && (self.places.is_none() || there != Phase::Works);
            return if is_withheld {
                Phase::Waits { what: "withheld", sentence: self.withheld.clone() }
            } else {
                there
            };
        }
        if let Some(reason) = stop_of(&self.status, id, self.watch.is_requested) {
            return Phase::Stopped(Box::new(reason.clone()));
        }
        if self.status.verdict.finishing {
            return Phase::Finishing;
        }
        if let Some(wait) = self.status.memory_waits.iter().find(|wait| wait.job == id) {
            return Phase::Waits { what: "memory", sentence: format!("{}.", self.words.memory_wait(wait)) };
        }
        let others = self.status.active.iter().filter(|task| task.job != id && !task.frozen).count();
        let sentence = if others > 0 {
            self.words.with("watch-turn", &[("n", (others as f64).into())])
        } else if self.job.problem.is_empty() {
            self.words.t("watch-starts")
        } else {
            self.words.with("watch-retry", &[("problem", self.job.problem.as_str().into())])
        };
        Phase::Waits { what: if others > 0 { "turn" } else { "start" }, sentence }
    }

    /// Reports a change of phase.
    fn look(&mut self) {
        let phase = self.phase();
        if phase == Phase::Works {
            self.last_ran = Instant::now();
        }
        if self.said.as_ref().is_some_and(|said| said.is_like(&phase)) {
            self.pending = None;
            return;
        }
        // Work is reported only after something else was.
        if phase == Phase::Works && self.said.is_none() {
            self.pending = None;
            return;
        }
        let since = match &self.pending {
            Some((pending, since)) if pending.is_like(&phase) => *since,
            _ => Instant::now(),
        };
        let settle = if matches!(phase, Phase::Waits { .. }) { SETTLE } else { Duration::ZERO };
        if since.elapsed() < settle {
            self.pending = Some((phase, since));
            return;
        }
        self.pending = None;
        self.say(&phase);
        self.said = Some(phase);
    }

    fn say(&mut self, phase: &Phase) {
        self.last_told = Instant::now();
        let (event, rule, sentence, way_on) = self.in_words(phase);
        self.line.clear();
        if self.json {
            let line = serde_json::json!({ "job": self.job.id, "event": event, "rule": rule, "sentence": sentence, "go_on": way_on });
            say!("{line}");
            return;
        }
        match way_on {
            Some(way_on) => say!("{sentence} {way_on}"),
            None => say!("{sentence}"),
        }
    }

    fn in_words(&self, phase: &Phase) -> (&'static str, Option<String>, String, Option<String>) {
        match phase {
            Phase::Works => ("working", None, self.words.t("watch-works"), None),
            Phase::Stopped(reason) => (
                "waiting",
                Some(reason.rule.clone()),
                self.words.reason(reason, now_ms()),
                self.words.way_on(reason, self.job.id),
            ),
            Phase::Finishing => (
                "waiting",
                Some("finishing".to_owned()),
                self.words.t("headline-finishing"),
                Some(self.words.t("hint-finishing")),
            ),
            Phase::Waits { what, sentence } => ("waiting", Some((*what).to_owned()), sentence.clone(), None),
            Phase::Paused => {
                let way_on = self.words.with("hint-job-paused", &[("job", self.job.id.to_string().into())]);
                ("waiting", Some("paused".to_owned()), self.words.t("watch-paused"), Some(way_on))
            }
        }
    }

    fn say_tasks(&mut self, job: &JobSummary) {
        self.last_told = Instant::now();
        if self.json {
            say!(
                "{}",
                serde_json::json!({ "job": job.id, "event": "tasks", "done": job.tasks_finished, "total": job.tasks_total })
            );
            return;
        }
        self.line.clear();
        say!("{}", done_of(self.words, job));
    }

    fn draw(&mut self) {
        let ours = self.status.active.iter().filter(|task| task.job == self.job.id && !task.frozen);
        let parts: Vec<String> =
            ours.filter_map(|task| Some(format!("{}: {} %", task.index, task.permille? / 10))).collect();
        if !parts.is_empty() {
            self.line.draw(&parts.join("  "));
        }
    }

    /// Prints progress from time to time where no line can be redrawn, as in a log.
    fn tell_progress(&mut self) {
        let is_due = self.watch.shows_progress && !self.line.shows && self.last_told.elapsed() >= TELL_EVERY;
        if !is_due || self.phase() != Phase::Works {
            return;
        }
        self.last_told = Instant::now();
        let ours = self.status.active.iter().filter(|task| task.job == self.job.id && !task.frozen);
        if self.json {
            let tasks: Vec<_> = ours.map(|task| serde_json::json!({ "index": task.index, "permille": task.permille, "units": task.units })).collect();
            let (done, total) = (self.job.tasks_finished, self.job.tasks_total);
            say!(
                "{}",
                serde_json::json!({ "job": self.job.id, "event": "progress", "done": done, "total": total, "tasks": tasks })
            );
            return;
        }
        let state = |task: &ActiveTask| match task.permille {
            Some(permille) => self.words.with("watch-percent", &[("n", f64::from(permille / 10).into())]),
            None if task.units == 0 => self.words.t("watch-compiling"),
            None => self.words.with("watch-units", &[("units", self.words.units(task.units).into())]),
        };
        let parts: Vec<String> = ours.map(|task| format!("{}: {}", task.index, state(task))).collect();
        say!("{} · {}", done_of(self.words, &self.job), parts.join(", "));
    }

    fn check_stalled(&mut self) -> Result<(), Failure> {
        let Some(limit) = self.watch.stall_timeout.filter(|limit| self.last_ran.elapsed() >= *limit) else {
            return Ok(());
        };
        let (_, _, sentence, way_on) = self.in_words(&self.phase());
        let id = self.job.id.to_string();
        let gave_up = self
            .words
            .with("watch-gave-up", &[("span", self.words.span(limit.as_secs()).into()), ("job", id.into())]);
        self.line.clear();
        let message = [sentence, way_on.unwrap_or_default(), gave_up]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        Err(Failure::new(ErrorKind::Conflict, message))
    }
}

/// Sends a submission and shows progress when copying and hashing its files takes long.
///
/// # Errors
/// The failure that the engine reports.
pub async fn submit(client: &Client, command: Command, words: &Words, json: bool) -> Result<Reply, Failure> {
    let files = files_of(&command);
    let is_terminal = std::io::stderr().is_terminal() && !json;
    let mut line = Line { shows: is_terminal, is_drawn: false };
    let begun = Instant::now();
    let every = if is_terminal { TICK } else { TELL_EVERY };
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + STORING_FIRST, every);
    let mut call = std::pin::pin!(client.call(command));
    loop {
        tokio::select! {
            reply = &mut call => {
                line.clear();
                return Ok(reply?);
            }
            _ = tick.tick() => {
                let seconds = begun.elapsed().as_secs();
                let text = words.with("submit-storing", &[("n", (files as f64).into()), ("span", words.span(seconds).into())]);
                if json {
                    say!("{}", serde_json::json!({ "event": "storing", "files": files, "seconds": seconds }));
                } else if is_terminal {
                    line.draw(&text);
                } else {
                    say!("{text}");
                }
            }
        }
    }
}

/// Returns the number of files that a submission names.
pub fn files_of(command: &Command) -> usize {
    let (Command::Jobs(JobCommand::Submit { job_file, .. })
    | Command::Jobs(JobCommand::Estimate { job_file, .. })
    | Command::Placement(PlacementCommand::Plan { job_file, .. })) = command
    else {
        return 1;
    };
    fog_types::job::parse(job_file).map_or(1, |job| {
        let items = if let fog_types::job::Map::Inputs(list) = &job.map { list.len() } else { 0 };
        1 + job.inputs.len() + usize::from(job.stdin.is_some()) + items
    })
}

/// Returns the first reason that stops this job.
pub fn stop_of(status: &Status, id: JobId, is_requested: bool) -> Option<&ReasonView> {
    let is_requested = is_requested || status.run_now.contains(&id);
    status
        .verdict
        .reasons
        .iter()
        .find(|reason| reason.effect == EffectView::Stops && !(is_requested && reason.yields))
}

/// Returns the phase of a job whose tasks are on other devices.
fn elsewhere(words: &Words, places: &[TaskPlace]) -> Phase {
    let has = |states: &[&str]| places.iter().any(|place| states.contains(&place.state.as_str()));
    if has(&["running", "fetching", "checking"]) {
        return Phase::Works;
    }
    let (what, state, key) = if has(&["paused"]) {
        ("paused-there", "paused", "watch-paused-there")
    } else if has(&["waiting"]) {
        ("turn-there", "waiting", "watch-turn-there")
    } else {
        return Phase::Waits { what: "start", sentence: words.t("watch-starts") };
    };
    let names: BTreeSet<String> =
        places.iter().filter(|place| place.state == state).map(|place| clean_name(&place.name)).collect();
    let more = if names.len() > NAMED { ", …" } else { "" };
    let devices = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ") + more;
    Phase::Waits { what, sentence: words.with(key, &[("devices", devices.into())]) }
}

/// Returns the text for the number of finished tasks.
pub fn done_of(words: &Words, job: &JobSummary) -> String {
    words.with(
        "job-tasks",
        &[("done", f64::from(job.tasks_finished).into()), ("total", f64::from(job.tasks_total).into())],
    )
}

/// Returns the complete state of the engine.
pub async fn snapshot(client: &Client) -> Result<Snapshot, Failure> {
    match client.call(Command::Snapshot).await? {
        Reply::Snapshot(snapshot) => Ok(*snapshot),
        other => Err(unexpected(&other)),
    }
}

/// Returns the current summary of a job.
pub async fn current(client: &Client, id: JobId) -> Result<JobSummary, Failure> {
    match client.call(Command::Jobs(JobCommand::Show { id, tasks_from: u32::MAX })).await? {
        Reply::Job(detail) => Ok(detail.summary),
        other => Err(unexpected(&other)),
    }
}

async fn withheld(client: &Client, id: JobId) -> Result<String, Failure> {
    match client.call(Command::Jobs(JobCommand::Show { id, tasks_from: u32::MAX })).await? {
        Reply::Job(detail) => Ok(detail.grid.map(|grid| grid.withheld).unwrap_or_default()),
        other => Err(unexpected(&other)),
    }
}

async fn places(client: &Client, id: JobId) -> Result<Vec<TaskPlace>, Failure> {
    match client.call(Command::Placement(PlacementCommand::Places { id })).await? {
        Reply::Places(places) => Ok(places),
        other => Err(unexpected(&other)),
    }
}

/// A line on a terminal that is redrawn in place.
pub struct Line {
    pub shows: bool,
    pub is_drawn: bool,
}

impl Line {
    pub fn draw(&mut self, text: &str) {
        if self.shows {
            say_part!("\r\x1b[K{text}");
            self.is_drawn = true;
        }
    }

    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            say_part!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use fog_api::{ResumeView, ValueView, VerdictView};

    use super::*;

    #[test]
    fn a_job_that_was_asked_for_waits_for_no_rule_that_gives_way() {
        let reason = |rule: &str, yields| ReasonView {
            rule: rule.to_owned(),
            effect: EffectView::Stops,
            now: ValueView::Unknown,
            limit: ValueView::Unknown,
            resumes: ResumeView::ConditionEnds,
            held_until_ms: None,
            yields,
        };
        let status = |reasons| Status {
            verdict: VerdictView { reasons, ..VerdictView::default() },
            ..Status::default()
        };
        let (id, busy) = (JobId(1), status(vec![reason("other-cpu", true)]));
        let rule = |status: &Status, is_requested| {
            stop_of(status, id, is_requested).map(|reason| reason.rule.clone())
        };
        assert_eq!(rule(&busy, false).as_deref(), Some("other-cpu"));
        // The status dates from before the engine received the request.
        assert_eq!(rule(&busy, true), None);
        assert_eq!(rule(&Status { run_now: vec![id], ..busy }, false), None);
        let hot = status(vec![reason("other-cpu", true), reason("battery-level", false)]);
        assert_eq!(rule(&hot, true).as_deref(), Some("battery-level"));
    }

    #[test]
    fn a_lent_job_that_no_device_runs_does_not_work() {
        let words = Words::new("en");
        let phase = |states: &[(&str, &str)]| {
            let place = |(name, state): &(&str, &str)| TaskPlace {
                index: 0,
                node: String::new(),
                name: (*name).to_owned(),
                state: (*state).to_owned(),
                units: 0,
                permille: None,
            };
            elsewhere(&words, &states.iter().map(place).collect::<Vec<_>>())
        };
        assert_eq!(phase(&[("a", "paused"), ("b", "running")]), Phase::Works);
        assert_eq!(phase(&[("a", "fetching")]), Phase::Works);
        let said = |phase| {
            if let Phase::Waits { what, sentence } = phase {
                (what, sentence)
            } else {
                panic!("it is said to work")
            }
        };
        let (what, sentence) =
            said(phase(&[("laptop", "paused"), ("laptop", "paused"), ("desk", "waiting")]));
        assert!(
            what == "paused-there" && sentence.matches("laptop").count() == 1 && !sentence.contains("desk"),
            "{sentence}"
        );
        assert!(
            said(phase(&[("a", "paused"), ("b", "paused"), ("c", "paused"), ("d", "paused")]))
                .1
                .contains("a, b, c, …")
        );
        assert_eq!(said(phase(&[("desk", "waiting")])).0, "turn-there");
        assert_eq!(said(phase(&[("desk", "offered")])).0, "start");
        assert_eq!(said(phase(&[])).0, "start");
    }
}
