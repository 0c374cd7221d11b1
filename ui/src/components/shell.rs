use fog_api::settings::keys;
use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::bridge;
use crate::components::palette::{Overlay, Palette, Shortcuts};
use crate::components::pill::Pill;
use crate::components::welcome::Welcome;
use crate::pages::{
    chat::Chat, history::History, home::Home, jobs::Jobs, network::Network, settings::Settings,
};
use crate::state::chat::Beside;
use crate::state::{Page, go, refresh, setting, show_checks, t, ui, words};

/// The whole content of the window.
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
            // An open dialog handles the key itself.
            if overlay.get_untracked() == Overlay::None && !bridge::is_asking() {
                ui().job.set(None);
                if ui().page.get_untracked() == Page::Chat {
                    ui().talk.beside.set(Beside::Nothing);
                }
            }
            overlay.set(Overlay::None);
            ui().toast.set(None);
        } else if !bridge::is_typing(&event) && !event.ctrl_key() && !event.alt_key() && !event.meta_key() {
            if key == "?" {
                overlay.set(Overlay::Shortcuts);
            } else if let Some(page) =
                key.parse::<usize>().ok().and_then(|n| Page::ALL.get(n.wrapping_sub(1)))
            {
                go(*page);
            }
        }
    });
    let is_loaded = Memo::new(move |_| ui().snapshot.with(Option::is_some));
    let is_new =
        Memo::new(move |_| is_loaded.get() && setting(keys::FIRST_RUN_DONE.key()).as_bool() == Some(false));
    let body = move || match ui().page.get() {
        Page::Home => view! { <Home /> }.into_any(),
        Page::Jobs => view! { <Jobs /> }.into_any(),
        Page::Chat => view! { <Chat /> }.into_any(),
        Page::Network => view! { <Network /> }.into_any(),
        Page::History => view! { <History /> }.into_any(),
        Page::Settings => view! { <Settings /> }.into_any(),
    };
    view! {
        <Show when=move || !is_new.get() fallback=Welcome>
            <a class="skip" href="#content">{move || t("skip-to-content")}</a>
            <div class="frame">
                <Rail />
                <main class="page" class:fills=move || ui().page.get() == Page::Chat id="content" tabindex="-1">
                    <Lost />
                    <NoCheckpoints />
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
            Page::Chat => lu::LuMessageCircle,
            Page::Network => lu::LuNetwork,
            Page::History => lu::LuChartLine,
            Page::Settings => lu::LuSettings,
        };
        view! {
            <a href="#" id=page.key() aria-current=move || if ui().page.get() == page { Some("page") } else { None }
                on:click=move |event| { event.prevent_default(); go(page); }>
                <Icon icon=icon width="18" height="18" attr:aria-hidden="true" /> {move || t(page.key())}
                {(page == Page::Chat).then(|| view! { <Unread /> })}
            </a>
        }
    };
    let is_more = RwSignal::new(false);
    // A page was chosen.
    Effect::new(move |_| {
        ui().page.track();
        is_more.set(false);
    });
    let (first, rest) = Page::ALL.split_at(Page::IN_BAR);
    let is_in_rest = move || rest.contains(&ui().page.get());
    view! {
        <nav class="rail" aria-label=move || t("navigation")>
            <div class="brand"><Icon icon=lu::LuCloudFog width="22" height="22" attr:aria-hidden="true" /> "Fog Compute"</div>
            {first.iter().copied().map(link).collect_view()}
            <button id="rail-more" class="more" class:here=is_in_rest aria-expanded=move || is_more.get().to_string() aria-controls="rail-rest"
                on:click=move |_| is_more.update(|open| *open = !*open)>
                <Icon icon=lu::LuEllipsis width="18" height="18" attr:aria-hidden="true" /> {move || t("more")}
            </button>
            <div class="rest" id="rail-rest" class:open=move || is_more.get()>{rest.iter().copied().map(link).collect_view()}</div>
        </nav>
    }
}

/// Number of unread messages.
#[component]
fn Unread() -> impl IntoView {
    let unread = Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().map_or(0, |s| s.chat.unread())));
    let has_some = move || unread.get() > 0;
    view! {
        <Show when=has_some>
            <span class="badge" id="chat-unread">
                <span aria-hidden="true">{move || unread.get().min(99)}</span>
                <span class="hidden-text">{move || words().with("chat-unread", &[("n", f64::from(unread.get()).into())])}</span>
            </span>
        </Show>
    }
}

#[component]
fn Loading() -> impl IntoView {
    // An error is shown above instead.
    view! { <Show when=move || ui().lost.with(Option::is_none)><p class="meta" role="status">{move || t("loading")}</p></Show> }
}

/// Banner that says since when the state is stale or, without any state, that no engine could be started.
#[component]
fn Lost() -> impl IntoView {
    let text = move || {
        let since = ui().snapshot.with(|s| s.as_ref().map(|s| s.status.at_ms));
        let words = words();
        let headline = match since {
            Some(since) => words.with("engine-gone", &[("ago", words.ago(since, ui().now.get()).into())]),
            None => words.t("engine-missing"),
        };
        ui().lost.get().map(|error| (headline, words.error(&error)))
    };
    view! {
        {move || text().map(|(headline, message)| view! {
            <div class="card banner row spread" role="alert" id="lost">
                <div class="grow"><p>{headline}</p><p class="meta">{message}</p></div>
                <button on:click=move |_| refresh()>{move || t("retry")}</button>
            </div>
        })}
    }
}

/// Banner for a damaged checkpoint key or state that cannot be stored; the check of this device names a
/// remedy.
#[component]
fn NoCheckpoints() -> impl IntoView {
    let text = Memo::new(move |_| {
        ui().snapshot.with(|s| {
            s.as_ref().and_then(|s| words().unstored(&s.status).or_else(|| words().no_checkpoints(&s.status)))
        })
    });
    view! {
        {move || text.get().map(|text| view! {
            <div class="card banner row spread" role="alert" id="no-checkpoints">
                <p class="grow">{text}</p>
                <button on:click=move |_| show_checks()>{move || t("about-checks")}</button>
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
