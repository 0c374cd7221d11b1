use fog_api::{ChatView, PersonLink, PersonView};
use icondata_lu as lu;
use leptos::prelude::*;
use leptos_icons::Icon;

use crate::bridge;
use crate::pages::chat::format::{called, clock, hue, is_group, line};
use crate::pages::chat::marks::{Link, Marks};
use crate::state::chat::{open_thread, thread_id};
use crate::state::{t, ui, words};

/// The list of threads, then people nearby without one, then remembered people.
#[component]
pub fn Threads(view: Memo<ChatView>) -> impl IntoView {
    let order = Memo::new(move |_| {
        view.with(|view| {
            let private =
                view.threads.iter().map(|thread| thread.with.clone()).filter(|with| !with.is_empty());
            let quiet = view
                .groups
                .iter()
                .filter(|group| !group.members.is_empty())
                .map(|group| group.id.clone())
                .filter(|id| view.threads.iter().all(|thread| thread.with != *id));
            std::iter::once(String::new()).chain(quiet).chain(private).collect::<Vec<_>>()
        })
    });
    let others = move |wanted: fn(&PersonView) -> bool| {
        Memo::new(move |_| {
            let has_thread = |id: &String| order.with(|order| order.contains(id));
            view.with(|view| {
                without_thread(view, wanted).into_iter().filter(|id| !has_thread(id)).collect::<Vec<_>>()
            })
        })
    };
    let near = others(|person| person.link != PersonLink::Gone);
    let known =
        others(|person| person.link == PersonLink::Gone && (person.is_favourite || person.is_verified));
    let section = move |title: &'static str, id: &'static str, people: Memo<Vec<String>>| {
        view! {
            <Show when=move || !people.with(Vec::is_empty)>
                <section aria-label=move || t(title)>
                    <h2>{move || t(title)}</h2>
                    <ul class="list threads" id=id><For each=move || people.get() key=Clone::clone let:person><ThreadLine with=person view /></For></ul>
                </section>
            </Show>
        }
    };
    view! {
        <nav aria-label=move || t("chat-threads")>
            <ul class="list threads" id="threads"><For each=move || order.get() key=Clone::clone let:with><ThreadLine with view /></For></ul>
        </nav>
        {section("chat-near", "near", near)}
        {section("chat-known", "known", known)}
    }
}

/// Returns the ids of people without a thread: favourites first, then by name.
fn without_thread(view: &ChatView, wanted: fn(&PersonView) -> bool) -> Vec<String> {
    let mut people: Vec<&PersonView> =
        view.people.iter().filter(|person| !person.is_blocked && wanted(person)).collect();
    people.sort_by_key(|person| (!person.is_favourite, person.nickname.to_lowercase(), person.id.clone()));
    people.into_iter().map(|person| person.id.clone()).collect()
}

/// One thread in the list: name, link, last message and its time.
#[component]
fn ThreadLine(with: String, view: Memo<ChatView>) -> impl IntoView {
    let is_room = with.is_empty();
    let (id, colour) = (thread_id(&with), if is_room { String::new() } else { hue(&with) });
    let whose = with.clone();
    let with = StoredValue::new(with);
    let thread = Memo::new(move |_| {
        with.with_value(|with| {
            view.with(|view| {
                view.threads.iter().find(|thread| thread.with == *with).cloned().unwrap_or_default()
            })
        })
    });
    let person = Memo::new(move |_| {
        with.with_value(|with| {
            view.with(|view| view.people.iter().find(|person| person.id == *with).cloned())
        })
    });
    let name = move || {
        if is_room { t("chat-room") } else { with.with_value(|with| view.with(|view| called(with, view))) }
    };
    let is_open = move || with.with_value(|with| ui().talk.with.with(|open| open.as_ref() == Some(with)));
    let last = move || thread.with(|thread| thread.last.as_ref().map(|message| line(&words(), message)));
    let at = move || thread.with(|thread| thread.last.as_ref().map(|message| message.at_ms));
    let exact = move || at().map(|at| exact(at, words().language()));
    let unread = move || thread.with(|thread| thread.unread);
    let reach = move || {
        if is_room {
            let near = view.with(|view| {
                view.people
                    .iter()
                    .filter(|person| person.link != PersonLink::Gone && !person.is_blocked)
                    .count()
            });
            view! { <span class="meta">{words().with("chat-people-near", &[("n", (near as f64).into())])}</span> }.into_any()
        } else if with.with_value(|with| is_group(with)) {
            view! { <Members with=with.get_value() view /> }.into_any()
        } else {
            let link = person.with(|person| person.as_ref().map(|person| person.link).unwrap_or_default());
            view! { <Link link /> }.into_any()
        }
    };
    view! {
        <li>
            <button class="thread" id=id data-with=whose aria-current=move || is_open().to_string() on:click=move |_| with.with_value(|with| open_thread(with))>
                <span class="row spread tight">
                    <span class="row tight grow">
                        <strong class=colour.clone()>{name}</strong>
                        {move || person.get().map(|person| view! { <Marks person /> })}
                    </span>
                    <span class="meta" title=exact>{move || at().map(|at| words().ago(at, ui().now.get()))}</span>
                </span>
                <span class="row spread tight">
                    <span class="meta grow last">{last}</span>
                    {move || (unread() > 0).then(|| view! {
                        <span class="badge"><span aria-hidden="true">{unread()}</span><span class="hidden-text">{words().with("chat-unread", &[("n", f64::from(unread()).into())])}</span></span>
                    })}
                </span>
                {reach}
            </button>
        </li>
    }
}

/// Number of members of a group, or a note that this device has left it.
#[component]
pub fn Members(with: String, view: Memo<ChatView>) -> impl IntoView {
    let count = Memo::new(move |_| {
        view.with(|view| {
            view.groups.iter().find(|group| group.id == with).map_or(0, |group| group.members.len())
        })
    });
    let text = move || match count.get() {
        0 => t("chat-group-out"),
        n => words().with("chat-group-count", &[("n", (n as f64).into())]),
    };
    view! { <span class="link meta"><Icon icon=lu::LuUsers width="12" height="12" attr:aria-hidden="true" /> {text}</span> }
}

/// Formats a moment with day and minute.
pub fn exact(at_ms: i64, language: &str) -> String {
    format!("{}, {}", bridge::date_words(at_ms, language), clock(at_ms, bridge::minutes_ahead(at_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn favourites_come_first_and_who_is_blocked_not_at_all() {
        let person = |id: &str, nickname: &str, is_favourite, is_blocked| PersonView {
            id: id.to_owned(),
            nickname: nickname.to_owned(),
            is_favourite,
            is_blocked,
            link: PersonLink::Bluetooth,
            ..PersonView::default()
        };
        let people = vec![
            person("1", "Zoe", false, false),
            person("2", "bert", false, false),
            person("3", "xaver", true, false),
            person("4", "anna", true, true),
        ];
        let view = ChatView { people, ..ChatView::default() };
        assert_eq!(without_thread(&view, |person| person.link != PersonLink::Gone), ["3", "2", "1"]);
        assert!(without_thread(&view, |person| person.link == PersonLink::Gone).is_empty());
    }
}
