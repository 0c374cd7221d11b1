use std::process::ExitCode;

use fog_api::{CheckState, Command, DutyCommand, EventBody, Reply, Snapshot, Status, apply};
use fog_words::Words;

use crate::connect::{Context, now_ms, unexpected};
use crate::output::{Failure, print_json, print_table, print_text};

/// Runs `fog status`.
pub async fn status(context: &Context, watch: bool) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let mut events = client.subscribe().await;
    let mut snapshot = fetch(&client).await?;
    let words = context.words_of(&client).await;
    show(context, &words, &snapshot)?;
    if !watch {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => return Err(Failure::new(fog_types::ErrorKind::NotRunning, "the engine stopped")),
            Err(()) => fog_api::Event { revision: 0, body: EventBody::Missed },
        };
        match apply(&mut snapshot, &event) {
            fog_api::Applied::Gap => snapshot = fetch(&client).await?,
            fog_api::Applied::Old => continue,
            fog_api::Applied::Current => {}
        }
        show(context, &words, &snapshot)?;
    }
}

async fn fetch(client: &fog_ipc::Client) -> Result<Snapshot, Failure> {
    match client.call(Command::Snapshot).await? {
        Reply::Snapshot(snapshot) => Ok(*snapshot),
        other => Err(unexpected(&other)),
    }
}

fn show(context: &Context, words: &Words, snapshot: &Snapshot) -> Result<(), Failure> {
    if context.json {
        return print_json(&snapshot.status);
    }
    for line in lines(words, &snapshot.status) {
        print_text(&line);
    }
    Ok(())
}

fn lines(words: &Words, status: &Status) -> Vec<String> {
    let mut list = vec![words.status_headline(status, status.at_ms)];
    list.extend(words.no_checkpoints(status));
    list.extend(words.unstored(status));
    for task in &status.active {
        let progress = task.permille.map_or_else(String::new, |p| format!(" · {} %", p / 10));
        let left = task.seconds_left.map_or_else(String::new, |s| {
            format!(" · {}", words.with("left", &[("span", words.span(s).into())]))
        });
        let frozen = if task.frozen { format!(" · {}", words.t("kept-frozen")) } else { String::new() };
        let place = words
            .task_of(task.index, task.tasks_total)
            .map_or_else(String::new, |place| format!(" · {place}"));
        let unsaved = if task.save_problem.is_empty() {
            String::new()
        } else {
            format!(" · {}", words.t("not-saved"))
        };
        list.push(format!("  {}: {}{place}{progress}{left}{frozen}{unsaved}", words.t("now"), task.name));
    }
    if let Some(next) = &status.next {
        list.push(format!("  {}: {next}", words.t("next")));
    }
    let today = [
        ("span", words.span(status.today.worked_ms / 1000).into()),
        ("units", words.units(status.today.units).into()),
        ("results", (status.today.results as f64).into()),
    ];
    list.push(format!("  {}: {}", words.t("today"), words.with("today-line", &today)));
    list
}

/// Runs `fog on` and `fog off`.
pub async fn switch(context: &Context, on: bool) -> Result<ExitCode, Failure> {
    context.change(Command::Duty(DutyCommand::SetContributing { on })).await?;
    done(context).await
}

/// Runs `fog off`.
pub async fn off(context: &Context, finish: bool) -> Result<ExitCode, Failure> {
    if !finish {
        return switch(context, false).await;
    }
    context.change(Command::Duty(DutyCommand::FinishThenStop)).await?;
    done(context).await
}

/// Runs `fog snooze`.
pub async fn snooze(context: &Context, minutes: u32) -> Result<ExitCode, Failure> {
    context.change(Command::Duty(DutyCommand::Snooze { minutes })).await?;
    done(context).await
}

/// Shows the status after a change.
async fn done(context: &Context) -> Result<ExitCode, Failure> {
    status(context, false).await
}

/// Runs `fog history`.
pub async fn history(context: &Context, hours: u32) -> Result<ExitCode, Failure> {
    let points = match context
        .call(Command::History { hours, points: hours.clamp(1, 48) * if hours <= 48 { 1 } else { 30 } })
        .await?
    {
        Reply::History(points) => points,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&points)?;
        return Ok(ExitCode::SUCCESS);
    }
    let words = context.words_here().await;
    if points.is_empty() {
        print_text(&words.t("history-empty"));
        return Ok(ExitCode::SUCCESS);
    }
    let now = now_ms();
    let number =
        |value: Option<f64>, unit: &str| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.0} {unit}"));
    let mut rows =
        vec![["when", "worked", "duty", "units", "cpu", "battery", "reason"].map(str::to_owned).to_vec()];
    for p in &points {
        rows.push(vec![
            words.ago(p.at_ms, now),
            words.span(p.worked_ms / 1000),
            format!("{} %", p.duty),
            words.units(p.units),
            number(p.cpu_temp, "°C"),
            number(p.battery, "%"),
            p.reason.clone(),
        ]);
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Runs `fog doctor`: exit code 1 when a check fails.
pub async fn doctor(context: &Context) -> Result<ExitCode, Failure> {
    let engine = match context.client().await {
        Ok(client) => Ok(client),
        Err(failure) if failure.error.kind == fog_types::ErrorKind::NotRunning => Err(failure),
        Err(failure) => return Err(failure),
    };
    let mut checks = match engine {
        Ok(client) => {
            let found = match client.call(Command::Doctor).await? {
                Reply::Checks(checks) => checks,
                other => return Err(unexpected(&other)),
            };
            let running = fog_api::Check {
                name: "engine".to_owned(),
                state: CheckState::Good,
                detail: format!("release {} answers", client.version),
            };
            std::iter::once(running).chain(found).collect::<Vec<_>>()
        }
        Err(failure) => vec![fog_api::Check {
            name: "engine".to_owned(),
            state: CheckState::Bad,
            detail: failure.error.message,
        }],
    };
    checks.push(fog_api::Check {
        name: "this program".to_owned(),
        state: CheckState::Good,
        detail: format!("fog {}", env!("CARGO_PKG_VERSION")),
    });
    if context.json {
        print_json(&checks)?;
    } else {
        for check in &checks {
            let mark = match check.state {
                CheckState::Good => "ok ",
                CheckState::Missing => "-- ",
                CheckState::Bad => "BAD",
            };
            print_text(&format!("{mark}  {}: {}", check.name, check.detail));
        }
    }
    Ok(ExitCode::from(u8::from(checks.iter().any(|check| check.state == CheckState::Bad))))
}

/// Runs `fog shutdown`.
pub async fn shutdown(context: &Context) -> Result<ExitCode, Failure> {
    context.call(Command::Shutdown).await?;
    if context.json {
        print_json(&serde_json::json!({ "stopped": true }))?
    } else {
        print_text("The engine stops; unfinished tasks wait for its next start.")
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fog_api::{EffectView, ReasonView, ResumeView, ValueView, VerdictView};

    /// Times are told by the engine's clock, which may differ from the clock of this process.
    #[test]
    fn what_is_left_is_told_by_the_clock_of_the_engine() {
        let at_ms = now_ms() - 86_400_000;
        let (now, limit) = (ValueView::Unknown, ValueView::Unknown);
        let (effect, resumes) = (EffectView::Stops, ResumeView::AtMs(at_ms + 58_000));
        let reason = ReasonView {
            rule: "snoozed".to_owned(),
            effect,
            now,
            limit,
            resumes,
            held_until_ms: None,
            yields: false,
        };
        let verdict = VerdictView { reasons: vec![reason], ..VerdictView::default() };
        let status = Status { at_ms, verdict, unstored: "the disk is full".to_owned(), ..Status::default() };
        let lines = lines(&Words::new("en"), &status);
        assert!(lines[0].contains("58 s"), "{lines:?}");
        assert!(lines[1].contains("the disk is full") && lines[1].contains("restart"), "{lines:?}");
    }
}
