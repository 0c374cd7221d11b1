use fog_api::{ChatCommand, ChatView, Command, PersonLink, PersonView};
use leptos::prelude::*;

use crate::components::ask::Ask;
use crate::pages::chat::format::{hue, name_of};
use crate::pages::chat::map::Map;
use crate::pages::chat::marks::{Link, Marks};
use crate::pages::chat::person::Keep;
use crate::state::chat::{Beside, open_thread};
use crate::state::{act, t, ui, words};

/// The room: a map of people nearby, and a list of all known people.
#[component]
pub fn Room(view: Memo<ChatView>) -> impl IntoView {
    let order = Memo::new(move |_| view.with(|view| sorted(&view.people)));
    let me = move || view.with(|view| view.nickname.clone());
    view! {
        <p class="meta">{move || words().with("chat-you-are", &[("name", me().into())])}</p>
        <Map view />
        {move || view.with(|view| (view.carried > 0).then(|| words().with("chat-carries", &[("count", view.carried.into())]))).map(|text| view! { <p class="meta" id="carried">{text}</p> })}
        <Show when=move || !order.with(Vec::is_empty) fallback=|| view! { <p class="meta">{move || t("chat-nobody-known")}</p> }>
            <ul class="people" id="people" aria-label=move || t("chat-people")>
                <For each=move || order.get() key=Clone::clone let:id><PersonLine id view /></For>
            </ul>
        </Show>
        <div class="row">
            <Keep with=String::new() name=t("chat-room") />
            <Ask label="chat-clear" sure="chat-clear-room-sure" yes="chat-clear-yes" on_yes=move |()| act(Command::Chat(ChatCommand::Clear { with: String::new() })) />
        </div>
    }
}

/// Returns ids sorted by nearness, then by name.
fn sorted(people: &[PersonView]) -> Vec<String> {
    let away = |link: PersonLink| match link {
        PersonLink::Bluetooth | PersonLink::Network => 0,
        PersonLink::Relayed => 1,
        PersonLink::Gone => 2,
    };
    let mut people: Vec<&PersonView> = people.iter().collect();
    people.sort_by_key(|person| {
        (person.is_blocked, away(person.link), person.nickname.to_lowercase(), person.id.clone())
    });
    people.into_iter().map(|person| person.id.clone()).collect()
}

#[component]
fn PersonLine(id: String, view: Memo<ChatView>) -> impl IntoView {
    let (colour, line) = (hue(&id), format!("person-{id}"));
    let id = StoredValue::new(id);
    let person = Memo::new(move |_| {
        id.with_value(|id| {
            view.with(|view| view.people.iter().find(|person| person.id == *id).cloned().unwrap_or_default())
        })
    });
    let name = move || id.with_value(|id| view.with(|view| name_of(id, &view.people)));
    view! {
        <li class="row spread" id=line>
            <div class="grow">
                <p class="row tight"><button class=format!("plain author {colour}") on:click=move |_| ui().talk.beside.set(Beside::Person(id.get_value()))>{name}</button>
                    {move || view! { <Marks person=person.get() /> }}</p>
                {move || view! { <Link link=person.with(|person| person.link) /> }}
            </div>
            <button on:click=move |_| id.with_value(|id| open_thread(id))>{move || t("chat-write")}</button>
        </li>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_near_comes_first_and_who_is_blocked_last() {
        let person = |id: &str, link, is_blocked| PersonView {
            id: id.to_owned(),
            link,
            is_blocked,
            ..PersonView::default()
        };
        let people = [
            person("1", PersonLink::Gone, false),
            person("2", PersonLink::Bluetooth, true),
            person("3", PersonLink::Relayed, false),
            person("4", PersonLink::Network, false),
        ];
        assert_eq!(sorted(&people), ["4", "3", "1", "2"]);
    }
}
