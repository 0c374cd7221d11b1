use fog_api::{Command, JobQuery, JobSummary, Reply};
use fog_types::JobState;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::pages::home::Invitation;
use crate::pages::job::Job;
use crate::state::{t, ui, words};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    All,
    Open,
    Ended,
}

impl Filter {
    const ALL: [Self; 3] = [Self::All, Self::Open, Self::Ended];

    fn key(self) -> &'static str {
        match self {
            Self::All => "filter-all",
            Self::Open => "filter-open",
            Self::Ended => "filter-ended",
        }
    }

    fn admits(self, job: &JobSummary) -> bool {
        match self {
            Self::All => true,
            Self::Open => !job.state.is_final(),
            Self::Ended => job.state.is_final(),
        }
    }
}

/// The list, with the open job beside it.
#[component]
pub fn Jobs() -> impl IntoView {
    let saved = bridge::recall("filter").and_then(|key| Filter::ALL.into_iter().find(|filter| filter.key() == key)).unwrap_or(Filter::All);
    let filter = RwSignal::new(saved);
    let name = RwSignal::new(String::new());
    // Pages beyond the newest hundred, which events keep current.
    let older = RwSignal::new(Vec::<JobSummary>::new());
    let is_end = RwSignal::new(false);
    let shown = Memo::new(move |_| {
        let wanted = name.get().to_lowercase();
        let mut list = ui().snapshot.with(|s| s.as_ref().map(|s| s.jobs.clone()).unwrap_or_default());
        let oldest = list.last().map(|job| job.id);
        list.extend(older.get().into_iter().filter(|job| oldest.is_none_or(|id| job.id < id)));
        list.retain(|job| filter.get().admits(job) && job.name.to_lowercase().contains(&wanted));
        list
    });
    let more = move |_| {
        spawn_local(async move {
            let newest = ui().snapshot.with_untracked(|s| s.as_ref().and_then(|s| s.jobs.last().map(|job| job.id)));
            let before = older.with_untracked(|list| list.last().map(|job| job.id)).or(newest);
            if let Ok(Reply::Jobs(page)) = bridge::call(Command::Jobs(JobQuery { before, limit: 100, ..JobQuery::default() })).await {
                is_end.set(page.len() < 100);
                older.update(|list| list.extend(page));
            }
        });
    };
    let could_be_more = move || !is_end.get() && ui().snapshot.with(|s| s.as_ref().is_some_and(|s| s.jobs.len() >= 100));
    let is_open = move || ui().job.get().is_some();
    view! {
        <div class="jobs wide" class:open=is_open class:closed=move || !is_open()>
            <div class="list-side stack">
                <div class="row">
                    {Filter::ALL.map(|f| view! {
                        <button aria-pressed=move || (filter.get() == f).to_string() on:click=move |_| { filter.set(f); bridge::remember("filter", f.key()); }>{move || t(f.key())}</button>
                    }).collect_view()}
                    <input type="search" class="grow" placeholder=move || t("search-jobs") aria-label=move || t("search-jobs") on:input=move |event| name.set(event_target_value(&event)) />
                </div>
                <Show when=move || !shown.with(Vec::is_empty) fallback=|| view! { <p class="meta">{move || t("empty-jobs")}</p> }>
                    <ul class="list card" id="jobs">
                        <For each=move || shown.get() key=|job| (job.id, job.state.as_str(), job.tasks_finished) let:job><JobLine job /></For>
                    </ul>
                </Show>
                <Show when=could_be_more><button on:click=more>{move || t("more")}</button></Show>
                <Invitation />
            </div>
            {move || ui().job.get().map(|id| view! { <Job id /> })}
        </div>
    }
}

#[component]
fn JobLine(job: JobSummary) -> impl IntoView {
    let id = job.id.0;
    let (done, total, created) = (job.tasks_finished, job.tasks_total, job.created_ms);
    let detail = move || {
        let words = words();
        let tasks = words.with("job-tasks", &[("done", f64::from(done).into()), ("total", f64::from(total).into())]);
        format!("{tasks} · {}", words.ago(created, ui().now.get()))
    };
    view! {
        <li>
            <button aria-current=move || (ui().job.get() == Some(id)).to_string() on:click=move |_| ui().job.set(Some(id))>
                <span class="row spread"><strong>{job.name.clone()}</strong> <State state=job.state /></span>
                <span class="meta">{detail}</span>
            </button>
        </li>
    }
}

/// A job's state: a word with a colour.
#[component]
pub fn State(state: JobState) -> impl IntoView {
    let class = match state {
        JobState::Finished => "state good",
        JobState::Failed => "state bad",
        JobState::Paused => "state wait",
        _ => "state meta",
    };
    view! { <span class=class>{move || t(&format!("state-{}", state.as_str()))}</span> }
}
