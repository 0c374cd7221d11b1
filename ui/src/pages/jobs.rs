use fog_api::{Command, JobCommand, JobQuery, JobSummary, Reply};
use fog_types::{JobId, JobState};
use leptos::html::Div;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::pages::home::Invitation;
use crate::pages::job::Job;
use crate::state::{t, ui, words};

/// Height of a row in pixels, as in the style sheet.
const ROW: i32 = 62;
/// Number of rows kept above and below those in sight.
const AROUND: usize = 10;
/// Number of jobs read at once.
const PAGE: u32 = 500;

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

/// The list of jobs, with the open job beside it.
#[component]
pub fn Jobs() -> impl IntoView {
    let saved = bridge::recall("filter")
        .and_then(|key| Filter::ALL.into_iter().find(|filter| filter.key() == key))
        .unwrap_or(Filter::All);
    let filter = RwSignal::new(saved);
    let name = RwSignal::new(String::new());
    // Jobs beyond the newest hundred, which events keep current. They are read when the list is scrolled
    // towards its end, or while a filter leaves it short.
    let older = RwSignal::new(Vec::<JobSummary>::new());
    let is_end = RwSignal::new(false);
    let is_reading = RwSignal::new(false);
    let shown = Memo::new(move |_| {
        let wanted = name.get().to_lowercase();
        let mut list = ui().snapshot.with(|s| s.as_ref().map(|s| s.jobs.clone()).unwrap_or_default());
        let oldest = list.last().map(|job| job.id);
        list.extend(older.get().into_iter().filter(|job| oldest.is_none_or(|id| job.id < id)));
        list.retain(|job| filter.get().admits(job) && job.name.to_lowercase().contains(&wanted));
        list
    });
    let could_be_more = move || {
        !is_end.get_untracked()
            && ui().snapshot.with_untracked(|s| s.as_ref().is_some_and(|s| s.jobs.len() >= 100))
    };
    let more = move || {
        if is_reading.get_untracked() || !could_be_more() {
            return;
        }
        is_reading.set(true);
        spawn_local(async move {
            let newest =
                ui().snapshot.with_untracked(|s| s.as_ref().and_then(|s| s.jobs.last().map(|job| job.id)));
            let before = older.with_untracked(|list| list.last().map(|job| job.id)).or(newest);
            // After an error the list stays; scrolling tries again.
            if let Ok(Reply::Jobs(page)) = bridge::call(Command::Jobs(JobCommand::List(JobQuery {
                before,
                limit: PAGE,
                ..JobQuery::default()
            })))
            .await
            {
                is_end.set((page.len() as u32) < PAGE);
                older.update(|list| list.extend(page));
            }
            is_reading.set(false);
        });
    };
    let is_open = move || ui().job.get().is_some();
    let has_any = Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().is_some_and(|s| !s.jobs.is_empty())));
    let nothing = move || if has_any.get() { "no-such-jobs" } else { "empty-jobs" };
    view! {
        <div class="jobs wide" class:open=is_open class:closed=move || !is_open()>
            <div class="list-side stack">
                <div class="row">
                    {Filter::ALL.map(|f| view! {
                        <button aria-pressed=move || (filter.get() == f).to_string() on:click=move |_| { filter.set(f); bridge::remember("filter", f.key()); }>{move || t(f.key())}</button>
                    }).collect_view()}
                    <input type="search" class="grow" placeholder=move || t("search-jobs") aria-label=move || t("search-jobs") on:input=move |event| name.set(event_target_value(&event)) />
                </div>
                <Show when=move || !shown.with(Vec::is_empty) fallback=move || view! { <p class="meta">{move || t(nothing())}</p> }>
                    <List shown more />
                </Show>
                <Invitation />
            </div>
            {move || ui().job.get().map(|id| view! { <Job id /> })}
        </div>
    }
}

/// The list; only the rows in sight and some around them are in the page, the rest is empty space.
#[component]
fn List(shown: Memo<Vec<JobSummary>>, more: impl Fn() + Copy + 'static) -> impl IntoView {
    let frame = NodeRef::<Div>::new();
    let (top, height) = (RwSignal::new(0_i32), RwSignal::new(900_i32));
    let look = move |element: &web_sys::HtmlDivElement| {
        top.set(element.scroll_top());
        height.set(element.client_height().max(ROW));
    };
    let rows = Memo::new(move |_| {
        let count = shown.with(Vec::len);
        let first = usize::try_from(top.get() / ROW).unwrap_or(0).saturating_sub(AROUND).min(count);
        let last = (usize::try_from((top.get() + height.get()) / ROW).unwrap_or(0) + 1 + AROUND).min(count);
        first..last
    });
    Effect::new(move |_| {
        if rows.with(|rows| rows.end) + AROUND >= shown.with(Vec::len) {
            more();
        }
    });
    // New jobs are inserted at the top without moving the rows in sight.
    Effect::new(move |before: Option<Option<JobId>>| {
        let newest = shown.with(|list| list.first().map(|job| job.id));
        if let (Some(Some(known)), Some(element)) = (before, frame.get_untracked())
            && element.scroll_top() > 0
            && let Some(added) =
                shown.with(|list| list.iter().position(|job| job.id == known)).filter(|added| *added > 0)
        {
            element.set_scroll_top(element.scroll_top() + ROW * added as i32);
        }
        newest
    });
    let space = move |rows: usize| format!("{}px", rows as i64 * i64::from(ROW));
    let visible = move || {
        let range = rows.get();
        shown.with(|list| {
            list.get(range.clone())
                .unwrap_or_default()
                .iter()
                .cloned()
                .zip(range.start + 1..)
                .collect::<Vec<_>>()
        })
    };
    view! {
        <div class="list card rows" node_ref=frame on:scroll=move |_| if let Some(element) = frame.get_untracked() { look(&element) }>
            <ul id="jobs" style:padding-top=move || space(rows.with(|rows| rows.start)) style:padding-bottom=move || space(shown.with(Vec::len).saturating_sub(rows.with(|rows| rows.end)))>
                <For each=visible key=|(job, _)| (job.id, job.state.as_str(), job.tasks_finished) let:row><JobLine job=row.0 place=row.1 of=shown /></For>
            </ul>
        </div>
    }
}

#[component]
fn JobLine(job: JobSummary, place: usize, of: Memo<Vec<JobSummary>>) -> impl IntoView {
    let id = job.id.0;
    let state = shown_state(job.clone());
    let (done, total, created) = (job.tasks_finished, job.tasks_total, job.created_ms);
    let detail = move || {
        let words = words();
        let tasks =
            words.with("job-tasks", &[("done", f64::from(done).into()), ("total", f64::from(total).into())]);
        format!("{tasks} · {}", words.ago(created, ui().now.get()))
    };
    view! {
        <li aria-posinset=place aria-setsize=move || of.with(Vec::len)>
            <button aria-current=move || (ui().job.get() == Some(id)).to_string() on:click=move |_| ui().job.set(Some(id))>
                <span class="titled"><strong title=job.name.clone()>{job.name.clone()}</strong> <State state /></span>
                <span class="meta">{detail}</span>
            </button>
        </li>
    }
}

/// Returns the displayed state of a job, which depends on whether anything may run.
pub fn shown_state(job: JobSummary) -> Signal<JobState> {
    Signal::derive(move || {
        ui().snapshot.with(|s| s.as_ref().map_or(job.state, |s| s.status.shown_state(&job)))
    })
}

/// State of a job as a coloured word.
#[component]
pub fn State(state: Signal<JobState>) -> impl IntoView {
    let class = move || match state.get() {
        JobState::Finished => "state good",
        JobState::Failed => "state bad",
        JobState::Paused => "state wait",
        _ => "state meta",
    };
    view! { <span class=class>{move || t(&format!("state-{}", state.get().as_str()))}</span> }
}
