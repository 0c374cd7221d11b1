use fog_api::{PersonLink, PersonView};
use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::pages::chat::format::link_word;
use crate::state::t;

/// Link to a person as a shape and a word.
#[component]
pub fn Link(link: PersonLink) -> impl IntoView {
    let icon = match link {
        PersonLink::Gone => lu::LuMoon,
        PersonLink::Relayed => lu::LuWaypoints,
        PersonLink::Network => lu::LuNetwork,
        PersonLink::Bluetooth => lu::LuBluetooth,
    };
    view! {
        <span class="link meta" data-link=link_word(link)>
            <Icon icon=icon width="12" height="12" attr:aria-hidden="true" /> {move || t(&format!("chat-link-{}", link_word(link)))}
        </span>
    }
}

/// Icons for what is known of a person.
#[component]
pub fn Marks(person: PersonView) -> impl IntoView {
    let mark = |class: &'static str, key: &'static str| {
        let icon = match key {
            "chat-favourite" => lu::LuStar,
            "chat-verified" => lu::LuBadgeCheck,
            "chat-session" => lu::LuLock,
            "chat-vouched" => lu::LuUserCheck,
            _ => lu::LuBan,
        };
        view! {
            <span class=class title=move || t(key)>
                <Icon icon=icon width="14" height="14" attr:aria-hidden="true" /><span class="hidden-text">{move || t(key)}</span>
            </span>
        }
    };
    view! {
        <span class="marks">
            {person.is_favourite.then(|| mark("mark wait", "chat-favourite"))}
            {person.is_verified.then(|| mark("mark good", "chat-verified"))}
            {(!person.is_verified && !person.vouched_by.is_empty()).then(|| mark("mark meta", "chat-vouched"))}
            {person.has_session.then(|| mark("mark meta", "chat-session"))}
            {person.is_blocked.then(|| mark("mark bad", "chat-blocked"))}
        </span>
    }
}
