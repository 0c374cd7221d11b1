use std::process::ExitCode;

use fog_api::{Command, DutyCommand, Reply, SettingsCommand, Status, VerdictView};
use fog_eligibility::{Eligibility, Filter, Readings};
use fog_engine::{Clock, policy_from, verdict_view};
use fog_words::Words;

use crate::args::WhyArgs;
use crate::connect::{Context, engine_now, now_ms, unexpected};
use crate::output::{Failure, print_json, print_text, read_text, say};
use crate::watch;

/// Greatest size of a trace in bytes: one sample each second for a month.
const MAX_TRACE_BYTES: u64 = 1 << 30;

/// Runs `fog why`: exit code 0 when the device may work, 1 when it may not.
pub async fn why(context: &Context, args: WhyArgs) -> Result<ExitCode, Failure> {
    if let Some(path) = &args.trace {
        return trace(context, path).await;
    }
    let with = pairs(&args.with)?;
    let client = match context.client().await {
        Ok(client) => client,
        // A dry run needs no engine: the rules with default settings answer.
        Err(failure) if failure.error.kind == fog_types::ErrorKind::NotRunning && !with.is_empty() => {
            return alone(context, &with);
        }
        Err(failure) => return Err(failure),
    };
    let words = context.words_of(&client).await;
    // A dry run concerns the rules alone; otherwise running and waiting jobs matter too.
    let status = if with.is_empty() { Some(watch::snapshot(&client).await?.status) } else { None };
    match client.call(Command::Duty(DutyCommand::Why { with })).await? {
        Reply::Verdict(verdict) => {
            let now = engine_now(&client).await;
            let headline = match status {
                Some(status) => words.status_headline(&Status { verdict: verdict.clone(), ..status }, now),
                None => words.headline(&verdict, true, now),
            };
            show(context, &words, &verdict, &headline, now)
        }
        other => Err(unexpected(&other)),
    }
}

fn pairs(list: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |pair: &String| {
        pair.split_once('=')
            .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
            .ok_or_else(|| Failure::input(format!("'{pair}' is not name=value, such as battery=35")))
    };
    list.iter().map(split).collect()
}

fn alone(context: &Context, with: &[(String, String)]) -> Result<ExitCode, Failure> {
    let mut readings = Readings { idle: Some(86_400.0), ..Readings::default() };
    for (key, value) in with {
        readings.set(key, value).map_err(|e| Failure::input(e.to_string()))?;
    }
    let clock = Clock::new();
    let mut policy = policy_from(&std::collections::BTreeMap::new(), None, false);
    policy.contributing = true;
    let verdict = Eligibility::dry_run(policy, &readings, clock.moment());
    say!("fog: no engine is running; these are the default settings, switched on");
    let (words, verdict, now) = (context.words(None), verdict_view(&verdict, &clock), now_ms());
    show(context, &words, &verdict, &words.headline(&verdict, true, now), now)
}

fn show(
    context: &Context,
    words: &Words,
    verdict: &VerdictView,
    headline: &str,
    now: i64,
) -> Result<ExitCode, Failure> {
    let reasons = words.reasons(verdict, now);
    if context.json {
        print_json(&serde_json::json!({ "verdict": verdict, "sentence": headline, "sentences": reasons }))?;
    } else {
        print_text(headline);
        let first_stop =
            verdict.reasons.iter().position(|reason| reason.effect == fog_api::EffectView::Stops);
        for (_, reason) in reasons.iter().enumerate().filter(|(index, _)| Some(*index) != first_stop) {
            print_text(&format!("  {}: {reason}", words.t("other-reasons")));
        }
    }
    Ok(ExitCode::from(u8::from(verdict.duty == 0)))
}

/// Replays a recording through the filter and the rules, with the running engine's settings if there is
/// one; prints every change of the duty or of its reasons.
async fn trace(context: &Context, path: &std::path::Path) -> Result<ExitCode, Failure> {
    let text = read_text(path, MAX_TRACE_BYTES)?;
    let samples =
        fog_probes::parse_trace(&text).map_err(|e| Failure::input(format!("{}: {e}", path.display())))?;
    let settings = match context.call(Command::Settings(SettingsCommand::Get)).await {
        Ok(Reply::Settings(values)) => values,
        _ => std::collections::BTreeMap::new(),
    };
    let mut policy = policy_from(&settings, None, false);
    policy.contributing = true;
    let (mut filter, mut rules, clock, words) =
        (Filter::default(), Eligibility::new(policy), Clock::new(), context.words_here().await);
    let (mut last, mut changes) = (None, Vec::new());
    for (at, raw) in samples {
        rules.handle_readings(filter.accept(raw, at), at);
        let verdict = rules.verdict();
        let key = (
            verdict.duty,
            verdict.reasons.iter().map(|reason| (reason.rule, reason.effect)).collect::<Vec<_>>(),
        );
        if last.as_ref() != Some(&key) {
            last = Some(key);
            let view = verdict_view(verdict, &clock);
            // Moments of the recording are shown by its own clock.
            let now = clock.to_unix(at).0;
            let sentences: Vec<String> =
                view.reasons.iter().map(|reason| words.reason(reason, now)).collect();
            changes.push(serde_json::json!({ "t_ms": at.0, "duty": view.duty, "reasons": view.reasons.iter().map(|r| r.rule.clone()).collect::<Vec<_>>(), "sentences": sentences }));
        }
    }
    if context.json {
        print_json(&changes)?;
    } else {
        for change in &changes {
            let seconds = change["t_ms"].as_f64().unwrap_or(0.0) / 1000.0;
            let sentences: Vec<&str> =
                change["sentences"].as_array().into_iter().flatten().filter_map(|s| s.as_str()).collect();
            print_text(&format!("{seconds:>10.1} s  {:>3} %  {}", change["duty"], sentences.join(" ")));
        }
        print_text(&words.with(
            "trace-changes",
            &[("n", (changes.len() as f64).into()), ("rejected", (filter.rejected() as f64).into())],
        ));
    }
    Ok(ExitCode::SUCCESS)
}
