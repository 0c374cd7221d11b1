use fog_api::{Command, DutyCommand};
use leptos::html::Div;
use leptos::prelude::*;

use crate::bridge;
use crate::components::reasons::{Reasons, headline};
use crate::state::{act, t, ui, words};

/// The status pill on every page: a dot and three words. Opens the reasons and a pause.
#[component]
pub fn Pill() -> impl IntoView {
    let open = ui().pill_open;
    let panel = NodeRef::<Div>::new();
    let text =
        move || ui().snapshot.with(|s| s.as_ref().map(|s| words().pill(&s.status)).unwrap_or_default());
    let class = move || {
        ui().snapshot.with(|s| match s.as_ref().map(|s| &s.status) {
            Some(status) if !status.contributing => "dot",
            Some(status) if status.verdict.duty == 0 && status.duty() == 0 => "dot wait",
            _ => "dot good",
        })
    };
    // Closes the panel when the page changes or a click goes elsewhere.
    Effect::new(move |_| {
        ui().page.track();
        open.set(false);
    });
    bridge::on_pointer(move |event| {
        let inside = |node: &web_sys::Node| {
            panel
                .get_untracked()
                .is_some_and(|panel| panel.parent_node().is_some_and(|around| around.contains(Some(node))))
        };
        if open.get_untracked() && !bridge::target_node(&event).is_some_and(|node| inside(&node)) {
            open.set(false);
        }
    });
    view! {
        <div class="anchor">
            <button class="pill" id="pill" aria-live="polite" aria-expanded=move || open.get().to_string() aria-controls="pill-panel"
                on:click=move |_| open.update(|open| *open = !*open)>
                <span class=class></span> {text}
            </button>
            <div class="card panel stack" id="pill-panel" role="dialog" aria-label=move || t("pill-panel") hidden=move || !open.get() node_ref=panel>
                <Show when=move || open.get()>
                    <Now />
                    <Pause />
                </Show>
            </div>
        </div>
    }
}

#[component]
fn Now() -> impl IntoView {
    let has_none =
        move || ui().snapshot.with(|s| s.as_ref().is_none_or(|s| s.status.verdict.reasons.is_empty()));
    view! {
        <Show when=has_none><p>{headline}</p></Show>
        <Reasons but_first_stop=false />
    }
}

/// Buttons to pause, or to end the pause.
#[component]
pub fn Pause() -> impl IntoView {
    let status = move |wanted: fn(&fog_api::Status) -> bool| {
        ui().snapshot.with(|s| s.as_ref().is_some_and(|s| wanted(&s.status)))
    };
    let snooze = |minutes: u32| act(Command::Duty(DutyCommand::Snooze { minutes }));
    view! {
        <div class="row">
            <Show when=move || status(|s| s.contributing && s.snoozed_until_ms.is_none())>
                <span class="meta">{move || t("pause")}</span>
                <button on:click=move |_| snooze(30)>{move || t("pause-30")}</button>
                <button on:click=move |_| snooze(60)>{move || t("pause-60")}</button>
                <button on:click=move |_| snooze(bridge::minutes_until_tomorrow())>{move || t("pause-tomorrow")}</button>
                <Show when=move || status(|s| !s.active.is_empty() || s.next.is_some())>
                    <button class="plain" on:click=move |_| act(Command::Duty(DutyCommand::FinishThenStop))>{move || t("finish-then-stop")}</button>
                </Show>
            </Show>
            <Show when=move || status(|s| s.contributing && s.snoozed_until_ms.is_some())><button class="primary" on:click=move |_| snooze(0)>{move || t("end-pause")}</button></Show>
            <Show when=move || status(|s| !s.contributing)><button class="primary" on:click=move |_| act(Command::Duty(DutyCommand::SetContributing { on: true }))>{move || t("switch-on")}</button></Show>
        </div>
    }
}
