use icondata_lu as lu;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_icons::Icon;

use crate::bridge;
use crate::bridge::media::{self, Given, Recording, Refused};
use crate::pages::chat::composer::MAX_FILE;
use crate::state::{say, t, ui, words};

/// Longest voice note in milliseconds; at its bit rate it stays below the limit of phones.
const MAX_MS: i64 = 30_000;

/// Button that records a voice note: one press starts, the next sends. Hidden where sound cannot be
/// recorded.
#[component]
pub fn Voice(takes_files: Memo<bool>, give: Callback<Result<Given, Refused>>) -> impl IntoView {
    if !media::can_record() {
        return ().into_any();
    }
    // Browser handles stay on the only thread.
    let under_way = StoredValue::new_local(None::<Recording>);
    let since = RwSignal::new(None::<i64>);
    let take = move || {
        since.try_set(None);
        under_way.try_update_value(Option::take).flatten()
    };
    let begin = move |_| {
        spawn_local(async move {
            let Some(recording) = Recording::begin().await else { return say(true, t("chat-no-microphone")) };
            // The thread may have been left during the permission prompt.
            if since.try_get_untracked().is_none() {
                return recording.drop_it();
            }
            if let Some(before) = take() {
                before.drop_it();
            }
            under_way.set_value(Some(recording));
            since.set(Some(bridge::now_ms()));
        });
    };
    let end = move || {
        if let Some(recording) = take() {
            let name = format!("voice_{}", bridge::now_ms() / 1000);
            spawn_local(async move {
                let _ = give.try_run(recording.end(&name, MAX_FILE).await);
            });
        }
    };
    let cancel = move || {
        if let Some(recording) = take() {
            recording.drop_it();
        }
    };
    let lasted = move || since.get().map(|since| (ui().now.get() - since).clamp(0, MAX_MS));
    Effect::new(move |_| {
        if lasted() == Some(MAX_MS) {
            // Outside of the effect, since it ends the recording that the effect follows.
            set_timeout(end, std::time::Duration::ZERO);
        }
    });
    on_cleanup(cancel);
    let label = move || t(if takes_files.get() { "chat-voice" } else { "chat-no-files" });
    let left = move || {
        words().with(
            "chat-voice-left",
            &[("n", (lasted().map_or(0, |lasted| (MAX_MS - lasted) / 1000) as f64).into())],
        )
    };
    view! {
        <Show when=move || since.with(Option::is_some) fallback=move || view! {
            <button id="chat-voice" class="plain" aria-label=label title=label disabled=move || !takes_files.get() on:click=begin>
                <Icon icon=lu::LuMic width="18" height="18" attr:aria-hidden="true" />
            </button>
        }>
            <span class="meta" role="timer">{left}</span>
            <button class="plain" on:click=move |_| cancel()>{move || t("chat-voice-cancel")}</button>
            <button id="chat-voice-send" on:click=move |_| end()>{move || t("chat-voice-send")}</button>
        </Show>
    }
    .into_any()
}
