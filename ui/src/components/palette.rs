use fog_api::settings::keys;
use fog_api::{Command, DutyCommand, Example, JobCommand, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::state::chat::open_thread;
use crate::state::{
    Page, act, estimate_file, export_settings, go, import_settings, refresh, set, setting, show_checks,
    submit_example, submit_file, t, ui, words,
};

/// Overlay over the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlay {
    None,
    Palette,
    Shortcuts,
}

#[derive(Debug, Clone)]
enum Action {
    Go(Page),
    Do(Command),
    Example(String),
    Set(&'static str, bool),
    Run(fn()),
}

/// The command palette: Ctrl or ⌘ with K.
#[component]
pub fn Palette(overlay: RwSignal<Overlay>) -> impl IntoView {
    let typed = RwSignal::new(String::new());
    let chosen = RwSignal::new(0usize);
    let examples = RwSignal::new(Vec::<Example>::new());
    spawn_local(async move {
        if let Ok(Reply::Examples(list)) = bridge::call(Command::Jobs(JobCommand::Examples)).await {
            examples.set(list);
        }
    });
    Effect::new(move |_| bridge::focus("palette-input"));
    let all = move || {
        let words = words();
        let on = ui().snapshot.with(|s| s.as_ref().is_some_and(|s| s.status.contributing));
        let mut list: Vec<(String, Action)> = Page::ALL
            .into_iter()
            .map(|page| (words.with("go-to", &[("page", words.t(page.key()).into())]), Action::Go(page)))
            .collect();
        list.push((
            words.t(if on { "switch-off" } else { "switch-on" }),
            Action::Do(Command::Duty(DutyCommand::SetContributing { on: !on })),
        ));
        let pause = |span: &str| format!("{}: {}", words.t("pause"), words.t(span));
        list.push((pause("pause-30"), Action::Do(Command::Duty(DutyCommand::Snooze { minutes: 30 }))));
        list.push((pause("pause-60"), Action::Do(Command::Duty(DutyCommand::Snooze { minutes: 60 }))));
        list.push((
            pause("pause-tomorrow"),
            Action::Do(Command::Duty(DutyCommand::Snooze { minutes: bridge::minutes_until_tomorrow() })),
        ));
        list.push((words.t("end-pause"), Action::Do(Command::Duty(DutyCommand::Snooze { minutes: 0 }))));
        list.push((words.t("finish-then-stop"), Action::Do(Command::Duty(DutyCommand::FinishThenStop))));
        list.extend(
            examples
                .get()
                .into_iter()
                .map(|e| (words.with("run-example", &[("name", e.title.into())]), Action::Example(e.name))),
        );
        let has_bluetooth = setting(keys::CHAT_BLUETOOTH.key()).as_bool() == Some(true);
        list.push((words.t("chat-open-room"), Action::Run(|| open_thread(""))));
        list.push((
            words.t(if has_bluetooth { "chat-bluetooth-stop" } else { "chat-bluetooth-start" }),
            Action::Set("chat_bluetooth", !has_bluetooth),
        ));
        list.push((words.t("submit-file"), Action::Run(submit_file)));
        list.push((words.t("estimate-file"), Action::Run(estimate_file)));
        list.push((words.t("export-settings"), Action::Run(export_settings)));
        list.push((words.t("import-settings"), Action::Run(import_settings)));
        list.push((words.t("about-checks"), Action::Run(show_checks)));
        list.push((words.t("read-anew"), Action::Run(refresh)));
        list
    };
    let shown = Signal::derive(move || {
        let wanted = typed.get().to_lowercase();
        all().into_iter().filter(|(label, _)| label.to_lowercase().contains(&wanted)).collect::<Vec<_>>()
    });
    let perform = move |action: Action| {
        overlay.set(Overlay::None);
        match action {
            Action::Go(page) => go(page),
            Action::Do(command) => act(command),
            Action::Example(name) => submit_example(name),
            Action::Set(key, on) => set(key, on.into()),
            Action::Run(run) => run(),
        }
    };
    let key = move |event: web_sys::KeyboardEvent| {
        let count = shown.with(Vec::len);
        match event.key().as_str() {
            "ArrowDown" => chosen.update(|n| *n = (*n + 1).min(count.saturating_sub(1))),
            "ArrowUp" => chosen.update(|n| *n = n.saturating_sub(1)),
            "Enter" => {
                if let Some((_, action)) = shown.with(|list| list.get(chosen.get_untracked()).cloned()) {
                    perform(action);
                }
            }
            _ => return,
        }
        event.prevent_default();
    };
    let rows = move || {
        shown
            .get()
            .into_iter()
            .enumerate()
            .map(|(index, (label, action))| {
                view! {
                    <li role="option" id=format!("choice-{index}") aria-selected=move || (chosen.get() == index).to_string()
                        on:click=move |_| perform(action.clone())>{label}</li>
                }
            })
            .collect_view()
    };
    view! {
        <div class="veil" on:click=move |_| overlay.set(Overlay::None)>
            <div class="card stack" role="dialog" aria-modal="true" aria-label=move || t("palette") on:click=|event| event.stop_propagation()>
                <input id="palette-input" type="text" placeholder=move || t("palette-hint") aria-label=move || t("palette-hint") prop:value=typed
                    role="combobox" aria-expanded="true" aria-controls="palette-list" aria-activedescendant=move || format!("choice-{}", chosen.get())
                    on:input=move |event| { typed.set(event_target_value(&event)); chosen.set(0); } on:keydown=key />
                <ul class="list" role="listbox" id="palette-list" aria-label=move || t("palette")>{rows}</ul>
            </div>
        </div>
    }
}

/// The list of keyboard shortcuts: `?`.
#[component]
pub fn Shortcuts(overlay: RwSignal<Overlay>) -> impl IntoView {
    let row = |keys: &'static str, what: &'static str| view! { <li class="row spread"><span>{move || t(what)}</span><kbd>{keys}</kbd></li> };
    view! {
        <div class="veil" on:click=move |_| overlay.set(Overlay::None)>
            <div class="card stack" role="dialog" aria-modal="true" aria-label=move || t("shortcuts")>
                <h2>{move || t("shortcuts")}</h2>
                <ul class="stack">
                    {row("Ctrl K · ⌘ K", "shortcut-palette")}
                    {row("1 … 6", "shortcut-pages")}
                    {row("?", "shortcut-help")}
                    {row("Esc", "shortcut-close")}
                </ul>
            </div>
        </div>
    }
}
