//! The cost estimate of a job: waits while the device does not work and says why.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use fog_api::{Command, Event, EventBody, JobCommand, Reply, Status};
use fog_ipc::Client;
use fog_types::JobId;
use fog_words::Words;

use crate::connect::{Context, now_ms, unexpected};
use crate::output::{Failure, print_json, print_text, say};
use crate::watch::{Line, files_of, snapshot, stop_of};

/// Time after which progress of an estimate is shown.
const FIRST: Duration = Duration::from_secs(2);
/// Time between two lines of progress, on a terminal and elsewhere.
const TICK: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);

/// Runs `fog submit --estimate`. The engine ends the sample when this program ends.
pub async fn estimate(
    context: &Context,
    client: &Client,
    submission: Command,
    seconds: u32,
    now: bool,
) -> Result<ExitCode, Failure> {
    let Command::Jobs(JobCommand::Submit { job_file, folder, .. }) = submission else {
        return Err(Failure::input(
            "a checkpoint is not estimated: it goes on from where it is; `fog checkpoint inspect` shows how far it is",
        ));
    };
    let words = context.words_of(client).await;
    let command = Command::Jobs(JobCommand::Estimate { job_file, folder, seconds, now });
    let files = files_of(&command) as f64;
    let mut events = client.subscribe().await;
    let status = snapshot(client).await?.status;
    let is_terminal = std::io::stderr().is_terminal() && !context.json;
    let line = Line { shows: is_terminal, is_drawn: false };
    let mut this = Waiter {
        words: &words,
        json: context.json,
        now,
        files,
        status,
        said: None,
        ran_since: Instant::now(),
        line,
    };
    let mut tick =
        tokio::time::interval_at(tokio::time::Instant::now() + FIRST, if is_terminal { TICK } else { EVERY });
    let mut call = std::pin::pin!(client.call(command));
    let mut listens = true;
    let reply = loop {
        this.look();
        tokio::select! {
            reply = &mut call => break reply,
            event = events.next(), if listens => match event {
                Ok(Some(Event { body: EventBody::Status(status), .. })) => this.status = *status,
                Ok(Some(Event { body: EventBody::Missed, .. })) | Err(()) => this.status = snapshot(client).await?.status,
                Ok(Some(_)) => {}
                // The call reports the end of the engine.
                Ok(None) => listens = false,
            },
            _ = tick.tick() => this.tell_progress(),
        }
    };
    this.line.clear();
    let estimate = match reply? {
        Reply::Estimate(estimate) => estimate,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&estimate)?;
    } else {
        print_text(&words.estimate(&estimate));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reason why an estimate stands still: the rule, a sentence, and what a person can do about it.
type Wait = (String, String, Option<String>);

struct Waiter<'a> {
    words: &'a Words,
    json: bool,
    /// Whether the estimate was requested with `--now`.
    now: bool,
    files: f64,
    status: Status,
    /// Rule that was printed last, while it holds.
    said: Option<String>,
    ran_since: Instant,
    line: Line,
}

impl Waiter<'_> {
    /// Prints a change of the waiting reason.
    fn look(&mut self) {
        let wait = wait_of(self.words, &self.status, self.now);
        let rule = wait.as_ref().map(|(rule, ..)| rule.clone());
        if rule == self.said {
            return;
        }
        self.line.clear();
        let sentence =
            wait.as_ref().map_or_else(|| self.words.t("watch-works"), |(_, sentence, _)| sentence.clone());
        let way_on = wait.and_then(|(.., way_on)| way_on);
        if self.json {
            let event = if rule.is_some() { "waiting" } else { "working" };
            say!(
                "{}",
                serde_json::json!({ "event": event, "rule": rule, "sentence": sentence, "go_on": way_on })
            );
        } else {
            say!("{}", [sentence, way_on.unwrap_or_default()].join(" ").trim_end());
        }
        if rule.is_none() {
            self.ran_since = Instant::now();
        }
        self.said = rule;
    }

    fn tell_progress(&mut self) {
        if self.said.is_some() {
            return;
        }
        let seconds = self.ran_since.elapsed().as_secs();
        let text = self
            .words
            .with("job-estimating", &[("n", self.files.into()), ("span", self.words.span(seconds).into())]);
        if self.json {
            say!("{}", serde_json::json!({ "event": "estimating", "seconds": seconds }));
        } else if self.line.shows {
            self.line.draw(&text);
        } else {
            say!("{text}");
        }
    }
}

fn wait_of(words: &Words, status: &Status, now: bool) -> Option<Wait> {
    // No job exists yet.
    let no_job = JobId(0);
    if let Some(reason) = stop_of(status, no_job, now) {
        let way_on =
            if reason.yields { Some(words.t("hint-estimate-now")) } else { words.way_on(reason, no_job) };
        return Some((reason.rule.clone(), words.reason(reason, now_ms()), way_on));
    }
    if status.verdict.finishing {
        return Some((
            "finishing".to_owned(),
            words.t("headline-finishing"),
            Some(words.t("hint-finishing")),
        ));
    }
    let wait = status.estimate_wait.as_ref()?;
    Some(("memory".to_owned(), format!("{}.", words.memory_wait(wait)), None))
}

#[cfg(test)]
mod tests {
    use fog_api::{EffectView, MemoryWait, ReasonView, ResumeView, ValueView, VerdictView};

    use super::*;

    #[test]
    fn what_an_estimate_waits_for_is_said() {
        let words = Words::new("en");
        let reason = |rule: &str, yields| ReasonView {
            rule: rule.to_owned(),
            effect: EffectView::Stops,
            now: ValueView::Unknown,
            limit: ValueView::Unknown,
            resumes: ResumeView::ConditionEnds,
            held_until_ms: None,
            yields,
        };
        let stopped = |reason| Status {
            verdict: VerdictView { reasons: vec![reason], ..VerdictView::default() },
            ..Status::default()
        };
        let wait = |status: Status| wait_of(&words, &status, false);
        assert_eq!(wait(Status::default()), None);
        let (rule, _, way_on) = wait(stopped(reason("off", false))).unwrap();
        assert_eq!((rule.as_str(), way_on.unwrap().contains("`fog on`")), ("off", true));
        // The hint must not name a job, since none exists that could be told to run now.
        let (rule, sentence, way_on) = wait(stopped(reason("other-cpu", true))).unwrap();
        assert!(rule == "other-cpu" && !sentence.is_empty() && way_on.unwrap().contains("--now"));
        assert_eq!(wait_of(&words, &stopped(reason("other-cpu", true)), true), None);
        let finishing = Status {
            verdict: VerdictView { finishing: true, ..VerdictView::default() },
            ..Status::default()
        };
        assert_eq!(wait(finishing).unwrap().0, "finishing");
        let short = MemoryWait { job: JobId(0), name: "large".to_owned(), wanted: 3 << 30, spare: 1 << 30 };
        let (rule, sentence, _) = wait(Status { estimate_wait: Some(short), ..Status::default() }).unwrap();
        assert!(rule == "memory" && sentence.contains("large") && sentence.contains("3.0 GiB"), "{sentence}");
    }
}
