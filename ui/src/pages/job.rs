use fog_api::{Command, JobAction, JobCommand, JobDetail, JournalLine, Reply, TaskView};
use fog_types::text::clean;
use fog_types::{JobId, JobState, TaskState};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::components::ask::Ask;
use crate::pages::elsewhere::{Elsewhere, Seen};
use crate::pages::jobs::{State, shown_state};
use crate::state::{act, say, say_error, t, ui, words};

/// Greatest number of files listed for a task.
const LISTED: usize = 100;

/// One job: state, picture, tasks with logs and files, history.
#[component]
pub fn Job(id: u64) -> impl IntoView {
    let detail = RwSignal::new(None::<JobDetail>);
    let picture = RwSignal::new(None::<String>);
    let seen = Seen::default();
    Effect::new(move |_| {
        ui().job_changed.track();
        spawn_local(async move {
            match bridge::call(Command::Jobs(JobCommand::Show { id: JobId(id), tasks_from: 0 })).await {
                Ok(Reply::Job(found)) => {
                    let has_picture = found.summary.is_picture && found.summary.tasks_finished > 0;
                    detail.set(Some(*found));
                    if has_picture
                        && let Ok(Reply::Bytes { mime, base64 }) =
                            bridge::call(Command::Jobs(JobCommand::Output {
                                id: JobId(id),
                                index: None,
                                path: String::new(),
                            }))
                            .await
                    {
                        picture.set(Some(format!("data:{mime};base64,{base64}")));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    say_error(&error);
                    ui().job.set(None);
                }
            }
        });
    });
    view! {
        <section class="stack" aria-label=move || t("page-jobs")>
            <div class="row"><button class="plain" on:click=move |_| ui().job.set(None)>"‹ " {move || t("back")}</button></div>
            {move || detail.get().map(|detail| view! { <Detail detail picture seen /> })}
        </section>
    }
}

#[component]
fn Detail(detail: JobDetail, picture: RwSignal<Option<String>>, seen: Seen) -> impl IntoView {
    let job = detail.summary.clone();
    let id = job.id;
    let change = move |action| act(Command::Jobs(JobCommand::Change { id, action }));
    let save = move |_| {
        spawn_local(async move {
            let Ok(Some(folder)) = bridge::pick_folder().await else { return };
            match bridge::call(Command::Jobs(JobCommand::Export { id, folder: folder.clone() })).await {
                Ok(Reply::Exported { count, .. }) => say(
                    false,
                    words().with("job-saved", &[("n", (count as f64).into()), ("folder", folder.into())]),
                ),
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let (done, total, created, units) = (job.tasks_finished, job.tasks_total, job.created_ms, job.units);
    let line = move || {
        let words = words();
        let tasks =
            words.with("job-tasks", &[("done", f64::from(done).into()), ("total", f64::from(total).into())]);
        let ago = words.ago(created, ui().now.get());
        format!("{tasks} · {} · {}", words.units(units), words.with("job-submitted", &[("ago", ago.into())]))
    };
    let (owner, module) = (job.owner.clone(), detail.module.clone());
    let from = move || {
        let words = words();
        let module = words.with("job-module", &[("id", module.chars().take(16).collect::<String>().into())]);
        format!("{} · {module}", words.for_owner(&owner))
    };
    // A task in progress counts for its finished part.
    let under_way: f64 = detail
        .tasks
        .iter()
        .filter(|task| matches!(task.state, TaskState::Queued | TaskState::Running))
        .map(|task| f64::from(task.permille) / 1000.0)
        .sum();
    let share = format!("{:.3}", f64::from(done) + under_way);
    let concat = detail.spec.get("assemble").and_then(|a| a.as_str()) == Some("concat");
    view! {
        <div class="card stack">
            <div class="titled"><h1>{job.name.clone()}</h1> <State state=shown_state(job.clone()) /></div>
            <p class="meta" id="job-line">{line}</p>
            <p class="meta">{from}</p>
            {(!job.problem.is_empty()).then(|| view! { <p class="bad" role="alert">{job.problem.clone()}</p> })}
            <progress class="bar" max=total.to_string() value=share aria-label=job.name.clone()></progress>
            <div class="row">
                {matches!(job.state, JobState::Queued | JobState::Running).then(|| view! { <button on:click=move |_| change(JobAction::Pause)>{move || t("job-pause")}</button> })}
                {(job.state == JobState::Paused).then(|| view! { <button class="primary" on:click=move |_| change(JobAction::Resume)>{move || t("job-resume")}</button> })}
                {(done > 0).then(|| view! { <button on:click=save>{move || t("job-save")}</button> })}
                {(!job.state.is_final()).then(|| view! { <Ask label="job-cancel" sure="job-cancel-sure" about=job.name.clone() yes="job-cancel-yes" on_yes=move |()| change(JobAction::Cancel) /> })}
                {job.state.is_final().then(|| view! { <Ask label="job-remove" sure="job-remove-sure" about=job.name.clone() yes="job-remove" on_yes=move |()| { ui().job.set(None); change(JobAction::Remove); } /> })}
            </div>
        </div>
        {move || picture.get().map(|source| view! {
            <div class="card"><h2>{move || t("job-result-picture")}</h2><img class="picture" id="picture" src=source alt=move || t("job-result-picture") /></div>
        })}
        {detail.grid.map(|grid| view! { <Elsewhere id grid is_over=job.state.is_final() seen /> })}
        {(concat && done > 0).then(|| view! { <Assembled id done /> })}
        <div class="card scroll">
            <h2>{move || t("job-task-list")}</h2>
            <table>
                <tbody>{detail.tasks.into_iter().map(|task| view! { <Task id task /> }).collect_view()}</tbody>
            </table>
        </div>
        <div class="card"><h2>{move || t("job-log")}</h2><ul class="stack">{detail.journal.into_iter().rev().take(50).map(|line| view! { <Happened line /> }).collect_view()}</ul></div>
    }
}

#[component]
fn Assembled(id: JobId, done: u32) -> impl IntoView {
    let text = RwSignal::new(String::new());
    let _ = done;
    spawn_local(async move {
        match bridge::call(Command::Jobs(JobCommand::Output { id, index: None, path: String::new() })).await {
            Ok(Reply::Bytes { base64, .. }) => text.set(bridge::from_base64(&base64)),
            Ok(_) => {}
            // Includes an output that is too large to show.
            Err(error) => text.set(words().error(&error)),
        }
    });
    view! { <div class="card"><h2>{move || t("job-output")}</h2><pre id="result">{move || text.get()}</pre></div> }
}

#[component]
fn Task(id: JobId, task: TaskView) -> impl IntoView {
    let output = RwSignal::new(None::<(bool, String)>);
    let index = task.index;
    let show = move |stderr: bool| {
        if output.get_untracked().is_some_and(|(shown, _)| shown == stderr) {
            output.set(None);
            return;
        }
        spawn_local(async move {
            match bridge::call(Command::Jobs(JobCommand::Log { id, index, stderr })).await {
                Ok(Reply::Text(text)) => output.set(Some((stderr, text))),
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let ended = matches!(task.state, TaskState::Finished | TaskState::Failed);
    let (units, active_ms, tries, state) =
        (task.units, task.active_ms, task.attempts.len(), task.state.as_str());
    let mut files: Vec<String> = task
        .outputs
        .iter()
        .take(LISTED)
        .map(|o| format!("{} ({})", clean(&o.path), words().bytes(o.size)))
        .collect();
    let more =
        (task.outputs.len() as u64).saturating_add(task.outputs_left_out).saturating_sub(files.len() as u64);
    if more > 0 {
        files.push(format!("… +{more}"));
    }
    let files = files.join(", ");
    view! {
        <tr>
            <td>{index}</td>
            <td>
                {move || t(&format!("state-{state}"))}
                {(task.state == TaskState::Running || !ended && task.permille > 0).then(|| format!(" {} %", task.permille / 10))}
                {(tries > 1).then(|| format!(" ×{tries}"))}
                {(!task.problem.is_empty()).then(|| view! { <p class="bad">{task.problem.clone()}</p> })}
                {(task.marks > 0).then(|| view! { <p class="meta">{move || words().with("task-marks", &[("n", f64::from(task.marks).into())])}</p> })}
                {(!files.is_empty()).then(|| view! { <p class="meta">{files.clone()}</p> })}
            </td>
            <td class="meta">{move || match units {
                _ if ended => format!("{} · {:.1} s", words().units(units), active_ms as f64 / 1000.0),
                0 => String::new(),
                _ => words().units(units),
            }}</td>
            <td>
                {ended.then(|| view! {
                    <button class="plain" aria-pressed=move || output.get().is_some_and(|o| !o.0).to_string() on:click=move |_| show(false)>{move || t("job-output")}</button>
                    <button class="plain" aria-pressed=move || output.get().is_some_and(|o| o.0).to_string() on:click=move |_| show(true)>{move || t("job-errors")}</button>
                })}
            </td>
        </tr>
        {move || output.get().map(|(_, text)| view! {
            <tr><td colspan="4"><pre>{if text.is_empty() { t("job-no-output") } else { text }}</pre></td></tr>
        })}
    }
}

#[component]
fn Happened(line: JournalLine) -> impl IntoView {
    let text = {
        let line = line.clone();
        move || {
            let task = line.index.map_or_else(String::new, |index| index.to_string());
            words().with(
                &format!("log-{}", line.kind),
                &[("task", task.into()), ("detail", line.detail.clone().into())],
            )
        }
    };
    view! { <li class="row spread"><span class="grow">{text}</span><span class="meta">{move || words().ago(line.at_ms, ui().now.get())}</span></li> }
}
