//! State shared by all pages: one snapshot kept current by events, and what the user has open.

pub mod chat;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use fog_api::settings::keys;
use fog_api::{
    ApiError, Applied, Check, Command, EffectView, Event, EventBody, JobCommand, Notice, Reply,
    SettingsCommand, Snapshot, Status, apply,
};
use fog_types::job::GridOptions;
use fog_words::Words;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::Value;

use crate::bridge;
use crate::state::chat::Talk;

/// The pages, in the order of the navigation rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    Home,
    Jobs,
    Chat,
    Network,
    History,
    Settings,
}

impl Page {
    pub const ALL: [Self; 6] =
        [Self::Home, Self::Jobs, Self::Chat, Self::Network, Self::History, Self::Settings];

    /// Number of pages in the bar of a phone; the rest is under More.
    pub const IN_BAR: usize = 4;

    pub fn key(self) -> &'static str {
        match self {
            Self::Home => "page-home",
            Self::Jobs => "page-jobs",
            Self::Chat => "page-chat",
            Self::Network => "page-network",
            Self::History => "page-history",
            Self::Settings => "page-settings",
        }
    }
}

/// A brief message to the user.
#[derive(Debug, Clone, PartialEq)]
pub struct Toast {
    pub is_error: bool,
    pub text: String,
}

/// Signals shared by the whole window.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    pub snapshot: RwSignal<Option<Snapshot>>,
    /// Error because of which the snapshot may be stale.
    pub lost: RwSignal<Option<ApiError>>,
    pub page: RwSignal<Page>,
    /// Job whose details are open.
    pub job: RwSignal<Option<u64>>,
    /// Counter that rises when the open job must be read again.
    pub job_changed: RwSignal<u64>,
    pub toast: RwSignal<Option<Toast>>,
    pub language: RwSignal<String>,
    /// Present time, updated about once a second, for texts relative to it.
    pub now: RwSignal<i64>,
    pub drop_over: RwSignal<bool>,
    /// Options for running new jobs on other devices; `None` for this device alone.
    pub wish: RwSignal<Option<GridOptions>>,
    /// Whether the status pill shows its reasons.
    pub pill_open: RwSignal<bool>,
    /// Results of the last check of this device.
    pub checks: RwSignal<Vec<Check>>,
    /// Signals of chat.
    pub talk: Talk,
}

thread_local! {
    static UI: OnceCell<Ui> = const { OnceCell::new() };
    static WORDS: RefCell<HashMap<String, Rc<Words>>> = RefCell::new(HashMap::new());
}

/// Returns the shared signals; [`install`] runs before anything is shown.
pub fn ui() -> Ui {
    UI.with(|cell| *cell.get().expect("install runs first"))
}

/// Returns the texts in the chosen language; a reactive reader follows the choice.
pub fn words() -> Rc<Words> {
    let language = ui().language.get();
    WORDS.with(|cache| {
        Rc::clone(
            cache.borrow_mut().entry(language.clone()).or_insert_with(|| Rc::new(Words::new(&language))),
        )
    })
}

/// Returns one text.
pub fn t(key: &str) -> String {
    words().t(key)
}

/// Creates the signals and starts listening for events.
pub fn install() {
    let page = bridge::recall("page")
        .and_then(|key| Page::ALL.into_iter().find(|page| page.key() == key))
        .unwrap_or(Page::Home);
    let ui = Ui {
        snapshot: RwSignal::new(None),
        lost: RwSignal::new(None),
        page: RwSignal::new(page),
        job: RwSignal::new(None),
        job_changed: RwSignal::new(0),
        toast: RwSignal::new(None),
        language: RwSignal::new(bridge::system_language()),
        now: RwSignal::new(bridge::now_ms()),
        drop_over: RwSignal::new(false),
        wish: RwSignal::new(None),
        pill_open: RwSignal::new(false),
        checks: RwSignal::new(Vec::new()),
        talk: Talk::new(),
    };
    UI.with(|cell| assert!(cell.set(ui).is_ok(), "install runs once"));
    bridge::on_event(receive);
    bridge::on_page(|key| {
        if let Some(page) = Page::ALL.into_iter().find(|page| page.key() == key) {
            go(page);
        }
    });
    bridge::every(1000, move || ui.now.set(bridge::now_ms()));
    bridge::on_drop(dropped);
    refresh();
}

/// Reads the whole snapshot again.
pub fn refresh() {
    spawn_local(async {
        match bridge::call(Command::Snapshot).await {
            Ok(Reply::Snapshot(snapshot)) => {
                dress(&snapshot);
                ui().lost.set(None);
                ui().snapshot.set(Some(*snapshot));
                ui().job_changed.update(|n| *n += 1);
                ui().talk.changed.update(|n| *n += 1);
            }
            Ok(_) => {}
            Err(error) => ui().lost.set(Some(error)),
        }
    });
}

fn receive(event: Event) {
    let ui = ui();
    let mut applied = Applied::Gap;
    ui.snapshot.update(|snapshot| {
        if let Some(snapshot) = snapshot {
            applied = apply(snapshot, &event);
        }
    });
    if applied == Applied::Gap {
        refresh();
        return;
    }
    match &event.body {
        EventBody::Settings(_) => ui.snapshot.with_untracked(|snapshot| snapshot.as_ref().map_or((), dress)),
        EventBody::Job(job) if ui.job.get_untracked() == Some(job.id.0) => ui.job_changed.update(|n| *n += 1),
        EventBody::TaskFinished { job, .. } if ui.job.get_untracked() == Some(job.0) => {
            ui.job_changed.update(|n| *n += 1)
        }
        // Threads may have been cleared, or belong to a new identity.
        EventBody::Chat(_) => ui.talk.changed.update(|n| *n += 1),
        EventBody::ChatMessage(message) => chat::heard(message),
        EventBody::Notice(Notice::ChatMessage { with, .. }) if is_seen(with) => {}
        EventBody::Notice(notice) => say(is_bad(notice), notice_text(notice)),
        _ => {}
    }
}

/// Whether a thread is visible to the user now.
fn is_seen(with: &str) -> bool {
    let ui = ui();
    ui.page.get_untracked() == Page::Chat && chat::is_open(with) && bridge::is_visible()
}

fn is_bad(notice: &Notice) -> bool {
    !matches!(notice, Notice::JobFinished { .. } | Notice::ChatMessage { .. } | Notice::ChatInvited { .. })
}

fn notice_text(notice: &Notice) -> String {
    let words = words();
    match notice {
        Notice::JobFinished { name, .. } => words.with("notice-finished", &[("name", name.as_str().into())]),
        Notice::JobFailed { name, problem, .. } => words
            .with("notice-failed", &[("name", name.as_str().into()), ("problem", problem.as_str().into())]),
        Notice::JobStopped { name, problem, .. } => words
            .with("notice-stopped", &[("name", name.as_str().into()), ("problem", problem.as_str().into())]),
        Notice::ChatMessage { name, text, .. } => {
            words.with("notice-chat", &[("name", name.as_str().into()), ("text", text.as_str().into())])
        }
        Notice::ChatInvited { name, group, .. } => {
            words.with("notice-invited", &[("name", name.as_str().into()), ("group", group.as_str().into())])
        }
        _ => String::new(),
    }
}

fn dress(snapshot: &Snapshot) {
    let text = |key: &str| snapshot.settings.get(key).and_then(Value::as_str).unwrap_or("system").to_owned();
    let language = Some(text(keys::LANGUAGE.key()))
        .filter(|code| code != "system")
        .unwrap_or_else(bridge::system_language);
    bridge::dress(&text(keys::THEME.key()), Words::new(&language).language());
    if ui().language.get_untracked() != language {
        ui().language.set(language);
    }
}

/// Shows a brief message.
pub fn say(is_error: bool, text: String) {
    let toast = Toast { is_error, text };
    ui().toast.set(Some(toast.clone()));
    // Good news disappears by itself; an error stays until it is closed.
    if !is_error {
        set_timeout(
            move || {
                if ui().toast.get_untracked() == Some(toast) {
                    ui().toast.set(None);
                }
            },
            std::time::Duration::from_secs(6),
        );
    }
}

/// Shows an error.
pub fn say_error(error: &ApiError) {
    say(true, words().error(error));
}

/// Runs a command of whose answer only errors matter.
pub fn act(command: Command) {
    spawn_local(async move {
        if let Err(error) = bridge::call(command).await {
            say_error(&error);
        }
    });
}

/// Changes one setting.
pub fn set(key: &str, value: Value) {
    act(Command::Settings(SettingsCommand::Set { changes: [(key.to_owned(), value)].into() }));
}

/// Shows a page and remembers it.
pub fn go(page: Page) {
    bridge::remember("page", page.key());
    ui().job.set(None);
    ui().page.set(page);
}

/// Shows a setting and moves the keyboard focus to it.
pub fn change_setting(key: &'static str) {
    go(Page::Settings);
    focus_soon(if key == "week" { "hour-0".to_owned() } else { format!("set-{key}") });
}

/// Moves the keyboard focus to an element of a page that is about to be shown, with retries on a slow
/// device.
pub fn focus_soon(id: String) {
    const TRIES: u32 = 50;
    fn attempt(id: String, left: u32) {
        set_timeout(
            move || {
                if !bridge::focus(&id) && left > 0 {
                    attempt(id, left - 1);
                }
            },
            std::time::Duration::from_millis(60),
        );
    }
    attempt(id, TRIES);
}

/// Checks this device and shows the results.
pub fn check_device() {
    spawn_local(async {
        match bridge::call(Command::Doctor).await {
            Ok(Reply::Checks(list)) => ui().checks.set(list),
            Ok(_) => {}
            Err(error) => say_error(&error),
        }
    });
}

/// Shows the settings page with a new check of this device.
pub fn show_checks() {
    go(Page::Settings);
    check_device();
    focus_soon("check-device".to_owned());
}

/// Returns the options for running new jobs on other devices; `None` while no network is joined.
pub fn wish() -> Option<GridOptions> {
    let has_joined =
        ui().snapshot.with_untracked(|s| s.as_ref().is_some_and(|s| !s.network.joined.is_empty()));
    ui().wish.get_untracked().filter(|_| has_joined)
}

/// Submits one of the example jobs.
pub fn submit_example(name: String) {
    spawn_local(async move {
        submitted(
            bridge::call(Command::Jobs(JobCommand::SubmitExample {
                name,
                grid: wish(),
                deadline_seconds: None,
            }))
            .await,
        )
    });
}

/// Lets the user choose a job and submits it.
pub fn submit_file() {
    spawn_local(async {
        match bridge::pick_file("job").await {
            Ok(Some(path)) => submitted(bridge::submit_path(&path, wish()).await),
            Ok(None) => {}
            Err(error) => say_error(&error),
        }
    });
}

/// Lets the user choose a job and shows its estimated cost.
pub fn estimate_file() {
    spawn_local(async {
        let path = match bridge::pick_file("job").await {
            Ok(Some(path)) => path,
            Ok(None) => return,
            Err(error) => return say_error(&error),
        };
        let stop = ui().snapshot.with_untracked(|snapshot| {
            snapshot.as_ref().and_then(|snapshot| estimate_waits_for(&snapshot.status))
        });
        say(
            false,
            stop.map_or_else(
                || t("estimating"),
                |why| words().with("estimate-waits", &[("why", why.into())]),
            ),
        );
        match bridge::estimate_path(&path).await {
            Ok(Reply::Estimate(estimate)) => {
                ui().toast.set(Some(Toast { is_error: false, text: words().estimate(&estimate) }))
            }
            Ok(_) => {}
            Err(error) => say_error(&error),
        }
    });
}

/// Returns the reason why an estimate would not start now.
fn estimate_waits_for(status: &Status) -> Option<String> {
    // The user who asks for it uses the device, so yielding rules do not count.
    let stop =
        status.verdict.reasons.iter().find(|reason| reason.effect == EffectView::Stops && !reason.yields);
    let finishing = || status.verdict.finishing.then(|| t("headline-finishing"));
    stop.map(|reason| words().reason(reason, status.at_ms)).or_else(finishing)
}

/// Saves every setting to a file that the user chooses.
pub fn export_settings() {
    spawn_local(async {
        match bridge::export_settings().await {
            Ok(Some(path)) => say(false, words().with("exported", &[("path", path.into())])),
            Ok(None) => {}
            Err(error) => say_error(&error),
        }
    });
}

/// Imports settings from a file that the user chooses.
pub fn import_settings() {
    spawn_local(async {
        match bridge::import_settings().await {
            Ok(true) => say(false, t("imported")),
            Ok(false) => {}
            Err(error) => say_error(&error),
        }
    });
}

/// Shows a job.
pub fn open_job(id: u64) {
    bridge::remember("page", Page::Jobs.key());
    ui().page.set(Page::Jobs);
    ui().job.set(Some(id));
}

/// Handles the answer to a submission.
pub fn submitted(reply: Result<Reply, ApiError>) {
    match reply {
        Ok(Reply::Submitted { job }) => {
            say(false, words().with("submitted", &[("name", job.name.as_str().into())]));
            open_job(job.id.0);
        }
        Ok(_) => {}
        Err(error) => say_error(&error),
    }
}

fn dropped(files: Result<Vec<String>, bool>) {
    match files {
        Err(over) => ui().drop_over.set(over),
        Ok(paths) => {
            ui().drop_over.set(false);
            // On other pages a dropped file becomes a job.
            if ui().page.get_untracked() == Page::Chat {
                return say(true, t("chat-drop"));
            }
            spawn_local(async move {
                for path in paths {
                    submitted(bridge::submit_path(&path, wish()).await);
                }
            });
        }
    }
}

/// Returns the present value of a setting.
pub fn setting(key: &str) -> Value {
    ui().snapshot
        .with(|snapshot| snapshot.as_ref().and_then(|s| s.settings.get(key).cloned()))
        .unwrap_or(Value::Null)
}
