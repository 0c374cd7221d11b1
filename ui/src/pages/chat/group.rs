//! A private group with its members and actions, and a form to create one.

use fog_api::{ChatCommand, ChatView, Command, GroupChange, GroupView, MemberView, PersonView, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::components::ask::Ask;
use crate::pages::chat::format::{called, hue, name_of};
use crate::pages::chat::person::Keep;
use crate::state::chat::{Beside, open_thread};
use crate::state::{act, say_error, t, ui, words};

/// Greatest number of members, this device included.
const MOST: usize = 16;

/// Members of a group. The creator adds and removes members; everybody can leave.
#[component]
pub fn Group(id: String, view: Memo<ChatView>) -> impl IntoView {
    let name = view.with_untracked(|view| called(&id, view));
    let id = StoredValue::new(id);
    let group = Memo::new(move |_| {
        id.with_value(|id| view.with(|view| view.groups.iter().find(|group| group.id == *id).cloned()))
    });
    let members = Memo::new(move |_| {
        group.with(|group| group.as_ref().map(|group| group.members.clone()).unwrap_or_default())
    });
    let is_mine = Memo::new(move |_| group.with(|group| group.as_ref().is_some_and(|group| group.is_mine)));
    // Of a group that was left, only the name is known.
    let is_in = move || members.with(|members| !members.is_empty());
    let others = Memo::new(move |_| {
        view.with(|view| {
            group.with(|group| group.as_ref().map(|group| addable(group, &view.people)).unwrap_or_default())
        })
    });
    let leave =
        move |()| act(Command::Chat(ChatCommand::Group(GroupChange::Leave { group: id.get_value() })));
    view! {
        <p class="meta">{move || t(if !is_in() { "chat-group-left" } else if is_mine.get() { "chat-group-mine" } else { "chat-group-why" })}</p>
        <ul class="people" id="members" aria-label=move || t("chat-group-members")>
            <For each=move || members.get() key=|member| (member.id.clone(), member.nickname.clone()) let:member><MemberLine member group=id.get_value() is_mine view /></For>
        </ul>
        <Show when=move || is_mine.get() && !others.with(Vec::is_empty)><Add group=id.get_value() others /></Show>
        <div class="row">
            <Show when=is_in><Ask label="chat-group-leave" sure="chat-group-leave-sure" yes="chat-group-leave" no="cancel" on_yes=leave /></Show>
            <Keep with=id.get_value() name />
            <Ask label="chat-clear" sure="chat-clear-sure" yes="chat-clear-yes" on_yes=move |()| act(Command::Chat(ChatCommand::Clear { with: id.get_value() })) />
        </div>
    }
}

/// Returns the people who can be added, as id and name, sorted by name.
fn addable(group: &GroupView, people: &[PersonView]) -> Vec<(String, String)> {
    if group.members.len() >= MOST {
        return Vec::new();
    }
    let is_out = |person: &&PersonView| {
        !person.is_blocked && group.members.iter().all(|member| member.id != person.id)
    };
    let mut others: Vec<(String, String)> =
        people.iter().filter(is_out).map(|person| (person.id.clone(), name_of(&person.id, people))).collect();
    others.sort_by_key(|(_, name)| name.to_lowercase());
    others
}

#[component]
fn MemberLine(member: MemberView, group: String, is_mine: Memo<bool>, view: Memo<ChatView>) -> impl IntoView {
    let MemberView { id, nickname, is_creator, is_me } = member;
    let known = view.with_untracked(|view| view.people.iter().any(|person| person.id == id));
    let name = if known { view.with_untracked(|view| name_of(&id, &view.people)) } else { nickname };
    let (line, class) = (format!("member-{id}"), format!("author {}", hue(&id)));
    let remove = {
        let who = id.clone();
        move |()| {
            act(Command::Chat(ChatCommand::Group(GroupChange::Remove {
                group: group.clone(),
                who: who.clone(),
            })))
        }
    };
    let remove = Callback::new(remove);
    let shown = if is_me { t("chat-you") } else { name };
    let label = match (known && !is_me, id) {
        (true, id) => {
            let class = format!("plain {class}");
            view! { <button class=class on:click=move |_| ui().talk.beside.set(Beside::Person(id.clone()))>{shown}</button> }.into_any()
        }
        _ => view! { <span class=class>{shown}</span> }.into_any(),
    };
    view! {
        <li class="row spread" id=line>
            <p class="row tight grow">{label} {is_creator.then(|| view! { <span class="meta">{move || t("chat-group-maker")}</span> })}</p>
            <Show when=move || is_mine.get() && !is_me>
                <Ask label="chat-group-remove" sure="chat-group-remove-sure" yes="chat-group-remove" no="cancel" on_yes=remove />
            </Show>
        </li>
    }
}

/// Form that adds a member.
#[component]
fn Add(group: String, others: Memo<Vec<(String, String)>>) -> impl IntoView {
    let chosen = RwSignal::new(String::new());
    let add = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        let who = chosen.get_untracked();
        if !who.is_empty() {
            act(Command::Chat(ChatCommand::Group(GroupChange::Add { group: group.clone(), who })));
            chosen.set(String::new());
        }
    };
    view! {
        <form class="row" on:submit=add>
            <select id="group-add" class="grow" aria-label=move || t("chat-group-add") prop:value=move || chosen.get() on:change=move |event| chosen.set(event_target_value(&event))>
                <option value="">{move || t("chat-group-choose")}</option>
                {move || others.get().into_iter().map(|(id, name)| view! { <option value=id>{name}</option> }).collect_view()}
            </select>
            <button disabled=move || chosen.with(String::is_empty)>{move || t("chat-group-add")}</button>
        </form>
    }
}

/// Form that creates a group with a name and its first members.
#[component]
pub fn NewGroup(view: Memo<ChatView>) -> impl IntoView {
    let name = RwSignal::new(String::new());
    let chosen = RwSignal::new(Vec::<String>::new());
    let is_busy = RwSignal::new(false);
    let people = Memo::new(move |_| view.with(|view| addable(&GroupView::default(), &view.people)));
    let is_full = Memo::new(move |_| chosen.with(|chosen| chosen.len() + 1 >= MOST));
    let make = move |event: web_sys::SubmitEvent| {
        event.prevent_default();
        if name.with_untracked(|name| name.trim().is_empty()) || is_busy.get_untracked() {
            return;
        }
        is_busy.set(true);
        let change = GroupChange::Create { name: name.get_untracked(), members: chosen.get_untracked() };
        spawn_local(async move {
            match bridge::call(Command::Chat(ChatCommand::Group(change))).await {
                Ok(Reply::Text(id)) => open_thread(&id),
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
            is_busy.try_set(false);
        });
    };
    let line = move |(id, name): (String, String)| {
        let (field, who) = (format!("with-{id}"), id.clone());
        let is_in = Memo::new(move |_| chosen.with(|chosen| chosen.contains(&who)));
        let toggle = move |_| {
            chosen.update(|chosen| {
                if chosen.contains(&id) {
                    chosen.retain(|one| *one != id);
                } else {
                    chosen.push(id.clone());
                }
            });
        };
        view! { <li><label class="row tight"><input type="checkbox" id=field prop:checked=is_in disabled=move || is_full.get() && !is_in.get() on:change=toggle /> {name}</label></li> }
    };
    let left = move || is_full.get().then(|| words().with("chat-group-full", &[("n", (MOST as f64).into())]));
    view! {
        <form class="stack" on:submit=make>
            <p class="meta">{move || t("chat-group-why")}</p>
            <label class="stack tight"><span>{move || t("chat-group-name")}</span>
                <input type="text" id="group-name" maxlength="32" autocomplete="off" prop:value=move || name.get() on:input=move |event| name.set(event_target_value(&event)) />
            </label>
            <Show when=move || !people.with(Vec::is_empty) fallback=|| view! { <p class="meta">{move || t("chat-nobody-known")}</p> }>
                <div class="stack tight"><span id="group-with">{move || t("chat-group-with")}</span>
                    <ul class="people" id="group-people" aria-labelledby="group-with"><For each=move || people.get() key=Clone::clone children=line /></ul>
                </div>
            </Show>
            <p class="meta" role="status">{left}</p>
            <div class="row"><button id="group-make" class="primary" disabled=move || is_busy.get() || name.with(|name| name.trim().is_empty())>{move || t("chat-group-make")}</button></div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_or_blocked_cannot_be_taken_in() {
        let person = |id: &str, nickname: &str, is_blocked| PersonView {
            id: id.to_owned(),
            nickname: nickname.to_owned(),
            is_blocked,
            ..PersonView::default()
        };
        let people = [
            person("1", "Zoe", false),
            person("2", "bert", false),
            person("3", "xaver", true),
            person("4", "anna", false),
        ];
        let member = |id: &str| MemberView { id: id.to_owned(), ..MemberView::default() };
        let group = GroupView { members: vec![member("4")], ..GroupView::default() };
        assert_eq!(
            addable(&group, &people),
            [("2".to_owned(), "bert".to_owned()), ("1".to_owned(), "Zoe".to_owned())]
        );
        let full = GroupView {
            members: (0..MOST).map(|n| member(&format!("m{n}"))).collect(),
            ..GroupView::default()
        };
        assert!(addable(&full, &people).is_empty());
    }
}
