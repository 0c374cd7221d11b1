use fog_types::job::{GridOptions, Prefer, Service};
use leptos::prelude::*;

use crate::bridge;
use crate::state::{t, ui};

const SERVICES: [Service; 3] = [Service::Bronze, Service::Silver, Service::Gold];
const PREFERENCES: [(Prefer, &str); 5] = [
    (Prefer::Balanced, "balanced"),
    (Prefer::Fast, "fast"),
    (Prefer::Cheap, "cheap"),
    (Prefer::Green, "green"),
    (Prefer::Safe, "safe"),
];

/// Choice of the devices for new jobs; shown once a network was joined.
#[component]
pub fn Where() -> impl IntoView {
    let has_joined =
        Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().is_some_and(|s| !s.network.joined.is_empty())));
    let wish = ui().wish;
    let is_grid = move || wish.get().is_some();
    if bridge::recall("where").as_deref() == Some("grid") && wish.get_untracked().is_none() {
        wish.set(Some(GridOptions::default()));
    }
    let choose = move |grid: bool| {
        bridge::remember("where", if grid { "grid" } else { "local" });
        wish.update(|wish| *wish = grid.then(|| wish.unwrap_or_default()));
    };
    let change = move |with: fn(&mut GridOptions, usize), at: usize| {
        wish.update(|wish| wish.iter_mut().for_each(|wish| with(wish, at)))
    };
    let chosen = move |event: &leptos::ev::Event| event_target_value(event).parse::<usize>().unwrap_or(0);
    view! {
        <Show when=move || has_joined.get()>
            <div class="stack where" role="group" aria-label=move || t("where")>
                <div class="row">
                    <button id="where-local" aria-pressed=move || (!is_grid()).to_string() on:click=move |_| choose(false)>{move || t("where-local")}</button>
                    <button id="where-grid" aria-pressed=move || is_grid().to_string() on:click=move |_| choose(true)>{move || t("where-grid")}</button>
                </div>
                <Show when=is_grid>
                    <div class="row">
                        <label>{move || t("service")}
                            <select id="service" on:change=move |event| change(|wish, at| wish.service = SERVICES[at.min(2)], chosen(&event))>
                                {SERVICES.into_iter().enumerate().map(|(at, service)| view! {
                                    <option value=at.to_string() selected=move || wish.get().is_some_and(|wish| wish.service == service)>{move || t(&format!("service-{}", service.as_str()))}</option>
                                }).collect_view()}
                            </select>
                        </label>
                        <label>{move || t("prefer")}
                            <select id="prefer" on:change=move |event| change(|wish, at| wish.prefer = PREFERENCES[at.min(4)].0, chosen(&event))>
                                {PREFERENCES.into_iter().enumerate().map(|(at, (prefer, word))| view! {
                                    <option value=at.to_string() selected=move || wish.get().is_some_and(|wish| wish.prefer == prefer)>{move || t(&format!("prefer-{word}"))}</option>
                                }).collect_view()}
                            </select>
                        </label>
                    </div>
                </Show>
            </div>
        </Show>
    }
}
