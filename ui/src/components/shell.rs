use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::bridge;
use crate::components::palette::{Overlay, Palette, Shortcuts};
use crate::components::pill::Pill;
use crate::components::welcome::Welcome;
use crate::pages::{history::History, home::Home, jobs::Jobs, network::Network, settings::Settings};
use crate::state::{Page, go, refresh, setting, t, ui, words};

/// Everything in the window.
#[component]
pub fn Shell() -> impl IntoView {
    let overlay = RwSignal::new(Overlay::None);
    bridge::on_key(move |event| {
        let key = event.key();
        if (event.ctrl_key() || event.meta_key()) && key == "k" {
            event.prevent_default();
            overlay.update(|o| *o = if *o == Overlay::Palette { Overlay::None } else { Overlay::Palette });
        } else if key == "Escape" {
            if ui().pill_open.get_untracked() {
                ui().pill_open.set(false);
                bridge::focus("pill");
                return;
            }
            if overlay.get_untracked() == Overlay::None {
                ui().job.set(None);
            }
            overlay.set(Overlay::None);
            ui().toast.set(None);
        } else if !bridge::is_typing(&event) && !event.ctrl_key() && !event.alt_key() && !event.meta_key() {
            if key == "?" {
                overlay.set(Overlay::Shortcuts);
            } else if let Some(page) = key.parse::<usize>().ok().and_then(|n| Page::ALL.get(n.wrapping_sub(1))) {
                go(*page);
            }
        }
    });
    let is_loaded = Memo::new(move |_| ui().snapshot.with(Option::is_some));
    let is_new = Memo::new(move |_| is_loaded.get() && setting("first_run_done").as_bool() == Some(false));
    let body = move || match ui().page.get() {
        Page::Home => view! { <Home /> }.into_any(),
        Page::Jobs => view! { <Jobs /> }.into_any(),
        Page::Network => view! { <Network /> }.into_any(),
        Page::History => view! { <History /> }.into_any(),
        Page::Settings => view! { <Settings /> }.into_any(),
    };
    view! {
        <Show when=move || !is_new.get() fallback=Welcome>
            <a class="skip" href="#content">{move || t("skip-to-content")}</a>
            <div class="frame">
                <Rail />
                <main class="page" id="content" tabindex="-1">
                    <Lost />
                    <Show when=move || is_loaded.get() fallback=Loading>
                        <div class="head wide">
                            <h1>{move || t(ui().page.get().key())}</h1>
                            <Pill />
                        </div>
                        {body}
                    </Show>
                </main>
            </div>
        </Show>
        <Show when=move || overlay.get() == Overlay::Palette><Palette overlay /></Show>
        <Show when=move || overlay.get() == Overlay::Shortcuts><Shortcuts overlay /></Show>
        <Toasts />
    }
}

#[component]
fn Rail() -> impl IntoView {
    let link = |page: Page| {
        let icon = match page {
            Page::Home => lu::LuHouse,
            Page::Jobs => lu::LuListChecks,
            Page::Network => lu::LuNetwork,
            Page::History => lu::LuChartLine,
            Page::Settings => lu::LuSettings,
        };
        view! {
            <a href="#" id=page.key() aria-current=move || if ui().page.get() == page { Some("page") } else { None }
                on:click=move |event| { event.prevent_default(); go(page); }>
                <Icon icon=icon width="18" height="18" attr:aria-hidden="true" /> {move || t(page.key())}
            </a>
        }
    };
    view! {
        <nav class="rail" aria-label=move || t("navigation")>
            <div class="brand"><Icon icon=lu::LuCloudFog width="22" height="22" attr:aria-hidden="true" /> "Fog Compute"</div>
            {Page::ALL.map(link).collect_view()}
        </nav>
    }
}

#[component]
fn Loading() -> impl IntoView {
    view! { <p class="meta" role="status">{move || t("loading")}</p> }
}

/// Stale state says so, and since when.
#[component]
fn Lost() -> impl IntoView {
    let text = move || {
        let since = ui().snapshot.with(|s| s.as_ref().map_or(0, |s| s.status.at_ms));
        let words = words();
        let ago = words.ago(since, ui().now.get());
        ui().lost.get().map(|error| (words.with("engine-gone", &[("ago", ago.into())]), error.message))
    };
    view! {
        {move || text().map(|(headline, message)| view! {
            <div class="card banner row spread" role="alert">
                <div><p>{headline}</p><p class="meta">{message}</p></div>
                <button on:click=move |_| refresh()>{move || t("retry")}</button>
            </div>
        })}
    }
}

#[component]
fn Toasts() -> impl IntoView {
    view! {
        {move || ui().toast.get().map(|toast| view! {
            <div class="card toast row spread" class:banner=toast.is_error role=if toast.is_error { "alert" } else { "status" }>
                <div class="grow">
                    {toast.is_error.then(|| view! { <h2>{move || t("error-title")}</h2> })}
                    <p id="toast-text">{toast.text}</p>
                </div>
                <button class="plain" aria-label=move || t("close") on:click=move |_| ui().toast.set(None)><Icon icon=lu::LuX attr:aria-hidden="true" /></button>
            </div>
        })}
    }
}
