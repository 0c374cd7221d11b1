use fog_api::settings;
use fog_api::settings::keys;
use leptos::prelude::*;

use crate::components::ask::Ask;
use crate::pages::chat::moving::Moving;
use crate::pages::settings::Row;
use crate::state::chat::wipe;
use crate::state::t;

/// Keys of the chat settings in display order; the settings page does not show them.
const SHOWN: [&str; 7] = [
    "chat_nickname",
    "chat",
    "chat_bluetooth",
    "chat_receipts",
    "chat_keep_days",
    "chat_quiet_from",
    "chat_quiet_to",
];

/// Chat settings, and the button to start with a new identity.
#[component]
pub fn Preferences() -> impl IntoView {
    let row = |key: &str| settings::find(key).map(|setting| view! { <Row setting=*setting /> });
    view! {
        <div class="chat-preferences">
            {SHOWN.map(row).collect_view()}
            <details>
                <summary>{move || t("chat-advanced")}</summary>
                {row(keys::CHAT_ADAPTER.key())}
            </details>
        </div>
        <Moving />
        <section class="stack" aria-label=move || t("chat-wipe")>
            <h2>{move || t("chat-wipe")}</h2>
            <p class="meta">{move || t("chat-wipe-why")}</p>
            <div class="row"><Ask label="chat-wipe" sure="chat-wipe-sure" yes="chat-wipe-yes" no="cancel" on_yes=|()| wipe() /></div>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_chat_is_shown_here_and_nowhere_else() {
        let of_chat: Vec<_> =
            settings::ALL.iter().filter(|setting| setting.key.starts_with("chat")).collect();
        assert!(of_chat.iter().all(|setting| !setting.is_shown(false)
            && (SHOWN.contains(&setting.key) || setting.key == "chat_adapter")));
        assert_eq!(of_chat.len(), SHOWN.len() + 1);
    }
}
