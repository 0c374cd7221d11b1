use fog_api::{ActiveTask, Command, DutyCommand, Example, HistoryPoint, JobCommand, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::components::pill::Pause;
use crate::components::reasons::{Reasons, headline};
use crate::components::ring::Ring;
use crate::components::wish::Where;
use crate::pages::history::Sparkline;
use crate::state::{act, estimate_file, open_job, submit_example, submit_file, t, ui, words};

/// The home page: whether the device works, for whom, and if not why.
#[component]
pub fn Home() -> impl IntoView {
    let status =
        Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().map(|s| s.status.clone()).unwrap_or_default()));
    let duty = Signal::derive(move || status.with(fog_api::Status::duty));
    let has_work = move || status.with(|s| !s.active.is_empty() || s.next.is_some());
    let is_on = move || status.with(|s| s.contributing);
    view! {
        <section class="card hero" aria-label=move || t("page-home")>
            <Ring duty />
            <div class="grow stack">
                <h1 id="headline" aria-live="polite">{headline}</h1>
                <Reasons but_first_stop=true />
                <Show when=is_on><Pause /></Show>
            </div>
            <div class="row">
                <span id="switch-label">{move || t("switch-contributing")}</span>
                <button id="switch" class="switch" role="switch" aria-labelledby="switch-label" aria-checked=move || is_on().to_string()
                    on:click=move |_| act(Command::Duty(DutyCommand::SetContributing { on: !is_on() })) />
            </div>
        </section>
        <Show when=has_work fallback=Invitation>
            <section class="card" aria-label=move || t("now")>
                <h2>{move || t("now")}</h2>
                <ul id="now">
                    <For each=move || status.with(|s| s.active.clone()) key=|task| (task.job, task.index, task.permille, task.frozen, task.seconds_left, task.saved_ms, task.save_problem.clone()) let:task>
                        <Running task />
                    </For>
                </ul>
                <Show when=move || status.with(|s| s.active.is_empty())><p class="meta">{move || t("nothing-running")}</p></Show>
                {move || status.with(|s| s.next.clone()).map(|next| view! { <p class="meta">{move || t("next")} " · " {next.clone()}</p> })}
            </section>
        </Show>
        <section class="card" aria-label=move || t("today")>
            <div class="row spread">
                <h2>{move || t("today")}</h2>
                <p>{move || status.with(|s| {
                    let words = words();
                    words.with("today-line", &[("span", words.span(s.today.worked_ms / 1000).into()), ("units", words.units(s.today.units).into()), ("results", (s.today.results as f64).into())])
                })}</p>
            </div>
            <DayLine />
        </section>
    }
}

#[component]
fn Running(task: ActiveTask) -> impl IntoView {
    let detail = {
        let task = task.clone();
        move || {
            let words = words();
            let mut parts = vec![words.for_owner(&task.owner)];
            parts.extend(words.task_of(task.index, task.tasks_total));
            if task.frozen {
                parts.push(words.t("kept-frozen"));
            } else if let Some(seconds) = task.seconds_left {
                parts.push(words.with("left", &[("span", words.span(seconds).into())]));
            }
            if !task.save_problem.is_empty() {
                parts.push(words.t("not-saved"));
            } else if let Some(saved) = task.saved_ms {
                parts.push(words.with("saved-ago", &[("ago", words.ago(saved, ui().now.get()).into())]));
            }
            parts.join(" · ")
        }
    };
    let job = task.job.0;
    view! {
        <li class="task">
            <div class="grow"><strong>{task.name.clone()}</strong><p class="meta">{detail}</p></div>
            {task.permille.map(|p| view! { <progress class="bar" max="1000" value=p.to_string() aria-label=task.name.clone()></progress> })}
            <button class="plain" on:click=move |_| open_job(job)>{task.permille.map(|p| format!("{} % ", p / 10))}{move || t("show")}</button>
        </li>
    }
}

/// Shown when there is no work: examples, or a file to choose.
#[component]
pub fn Invitation() -> impl IntoView {
    let examples = RwSignal::new(Vec::<Example>::new());
    spawn_local(async move {
        if let Ok(Reply::Examples(list)) = bridge::call(Command::Jobs(JobCommand::Examples)).await {
            examples.set(list);
        }
    });
    view! {
        <section class="card stack" aria-label=move || t("try-example")>
            <Where />
            <Show when=move || !examples.with(Vec::is_empty)>
                <h2>{move || t("try-example")}</h2>
                <p class="meta">{move || t("try-example-why")}</p>
                <div class="row">
                    <For each=move || examples.get() key=|e| e.name.clone() let:example>
                        <button id=format!("example-{}", example.name) on:click={ let name = example.name.clone(); move |_| submit_example(name.clone()) }>{example.title.clone()}</button>
                    </For>
                </div>
            </Show>
            <div class="drop" class:over=move || ui().drop_over.get()>
                <p>{move || t("drop-here")}</p>
                <p class="row">
                    <button id="choose-file" on:click=move |_| submit_file()>{move || t("choose-file")}</button>
                    <button class="plain" id="estimate-file" on:click=move |_| estimate_file()>{move || t("estimate-file")}</button>
                </p>
            </div>
        </section>
    }
}

#[component]
fn DayLine() -> impl IntoView {
    let points = RwSignal::new(Vec::<HistoryPoint>::new());
    let results =
        Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().map_or(0, |s| s.status.today.results)));
    Effect::new(move |_| {
        results.track();
        spawn_local(async move {
            if let Ok(Reply::History(list)) = bridge::call(Command::History { hours: 24, points: 96 }).await {
                points.set(list);
            }
        });
    });
    view! {
        <Show when=move || points.with(|p| p.len() > 1) fallback=|| view! { <p class="meta">{move || t("history-empty")}</p> }>
            <Sparkline points />
        </Show>
    }
}
