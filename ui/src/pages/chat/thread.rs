use fog_api::{ChatCommand, ChatMessage, ChatView, Command, PersonLink, Reply};
use icondata_lu as lu;
use leptos::html::Div;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_icons::Icon;

use crate::bridge;
use crate::pages::chat::composer::Composer;
use crate::pages::chat::format::{called, day_of, day_words, hue, is_group, line};
use crate::pages::chat::marks::{Link, Marks};
use crate::pages::chat::message::Message;
use crate::pages::chat::threads::Members;
use crate::state::chat::{Beside, Item, Log, PAGE, close_thread, read_thread};
use crate::state::{act, focus_soon, say_error, t, ui, words};

/// Distance from the end, in pixels, within which the reader follows new messages.
const LOW: i32 = 48;
/// Distance from the beginning, in pixels, within which older messages are loaded.
const HIGH: i32 = 240;
/// Time after the last typed letter before a search starts.
const SEARCH_AFTER: std::time::Duration = std::time::Duration::from_millis(250);

/// The open thread: its header, messages and text field.
#[component]
pub fn Thread(with: String, view: Memo<ChatView>) -> impl IntoView {
    let talk = ui().talk;
    let sought = RwSignal::new(None::<String>);
    Effect::new(move |_| {
        talk.changed.track();
        read_thread();
    });
    let unread = {
        let with = with.clone();
        Memo::new(move |_| {
            view.with(|view| view.threads.iter().any(|thread| thread.with == with && thread.unread > 0))
        })
    };
    let seen = with.clone();
    Effect::new(move |_| {
        if !unread.get() {
            return;
        }
        if bridge::is_visible() {
            act(Command::Chat(ChatCommand::Seen { with: seen.clone() }));
        } else {
            // Checked again until the window is in front.
            ui().now.track();
        }
    });
    let label = {
        let with = with.clone();
        move || title(&with, view)
    };
    let whose = with.clone();
    view! {
        <section class="chat-thread card" id="chat-thread" data-with=whose aria-label=label>
            <Head with=with.clone() view sought />
            <Show when=move || sought.with(Option::is_none) fallback={
                let with = with.clone();
                move || view! { <Found with=with.clone() view sought /> }
            }>
                <Messages view />
            </Show>
            <Composer with view />
        </section>
    }
}

/// Returns the key of the text for an empty thread.
fn empty_words(with: &str) -> &'static str {
    match with {
        "" => "chat-room-empty",
        group if is_group(group) => "chat-group-empty",
        _ => "chat-private-empty",
    }
}

fn title(with: &str, view: Memo<ChatView>) -> String {
    if with.is_empty() { t("chat-room") } else { view.with(|view| called(with, view)) }
}

#[component]
fn Head(with: String, view: Memo<ChatView>, sought: RwSignal<Option<String>>) -> impl IntoView {
    let talk = ui().talk;
    let is_room = with.is_empty();
    let colour = if is_room { String::new() } else { hue(&with) };
    let (whose, about, members) = (with.clone(), with.clone(), with.clone());
    let person =
        Memo::new(move |_| view.with(|view| view.people.iter().find(|person| person.id == with).cloned()));
    let near = move || {
        view.with(|view| {
            view.people.iter().filter(|person| person.link != PersonLink::Gone && !person.is_blocked).count()
                as f64
        })
    };
    let search = move |_| {
        let is_open = sought.with_untracked(Option::is_some);
        sought.set((!is_open).then(String::new));
        if !is_open {
            focus_soon("chat-search".to_owned());
        }
    };
    let details = move |_| {
        let open = Beside::of(&about);
        let is_shown = talk.beside.get_untracked() == open;
        talk.beside.set(if is_shown { Beside::Nothing } else { open });
        if !is_shown {
            focus_soon("chat-beside-close".to_owned());
        }
    };
    view! {
        <header class="chat-head row spread">
            <div class="row grow">
                <button id="chat-back" class="plain" on:click=move |_| close_thread()>
                    <Icon icon=lu::LuChevronLeft width="18" height="18" attr:aria-hidden="true" /> {move || t("back")}
                </button>
                <div class="grow">
                    <h2 class="row tight">
                        <span class=colour>{move || title(&whose, view)}</span>
                        {move || person.get().map(|person| view! { <Marks person /> })}
                    </h2>
                    {move || if is_room {
                        view! { <p class="meta">{words().with("chat-people-near", &[("n", near().into())])}</p> }.into_any()
                    } else if is_group(&members) {
                        view! { <Members with=members.clone() view /> }.into_any()
                    } else {
                        view! { <Link link=person.with(|person| person.as_ref().map(|person| person.link).unwrap_or_default()) /> }.into_any()
                    }}
                </div>
            </div>
            <div class="row tight">
                <button id="chat-search-open" class="plain" aria-label=move || t("chat-search") aria-expanded=move || sought.with(Option::is_some).to_string() on:click=search>
                    <Icon icon=lu::LuSearch width="18" height="18" attr:aria-hidden="true" />
                </button>
                <button id="chat-details" class="plain" aria-expanded=move || (talk.beside.get() != Beside::Nothing).to_string() on:click=details>
                    <Icon icon=lu::LuInfo width="18" height="18" attr:aria-hidden="true" />
                    {move || t(if is_room { "chat-who-is-near" } else { "chat-details" })}
                </button>
            </div>
        </header>
    }
}

/// The messages. The end stays in sight for a reader at the end; otherwise everything keeps its place.
#[component]
fn Messages(view: Memo<ChatView>) -> impl IntoView {
    let talk = ui().talk;
    let frame = NodeRef::<Div>::new();
    let end = Memo::new(move |_| talk.log.with(|log| log.end()));
    let is_low = RwSignal::new(true);
    let looked = RwSignal::new((0, 0));
    let is_reading = RwSignal::new(false);
    let items =
        Memo::new(move |_| talk.log.with(|log| log.items(|at| day_of(at, bridge::minutes_ahead(at)))));
    let has_news = move || !is_low.get() && looked.get() != end.get();
    let to_end = move || {
        if let Some(frame) = frame.try_get_untracked().flatten() {
            frame.set_scroll_top(frame.scroll_height());
        }
    };
    let older = move || {
        let before = talk
            .log
            .with_untracked(|log| log.oldest().filter(|_| !log.is_whole).map(|row| (log.with.clone(), row)));
        let Some((with, row)) = before.filter(|_| !is_reading.get_untracked()) else { return };
        is_reading.set(true);
        spawn_local(async move {
            let answer = bridge::call(Command::Chat(ChatCommand::Thread {
                with: with.clone(),
                before: Some(row),
                limit: PAGE,
                search: String::new(),
            }))
            .await;
            if is_reading.try_get_untracked().is_none() {
                return;
            }
            // After an error the messages stay; scrolling tries again.
            if let Ok(Reply::ChatMessages(page)) = answer
                && talk.log.with_untracked(|log| log.with == with && log.oldest() == Some(row))
            {
                let held = frame.get_untracked().map(|frame| (frame.scroll_top(), frame.scroll_height()));
                talk.log.update(|log| log.take_older(page, PAGE));
                request_animation_frame(move || {
                    if let (Some((top, height)), Some(frame)) = (held, frame.try_get_untracked().flatten()) {
                        frame.set_scroll_top(top + frame.scroll_height() - height);
                    }
                });
            }
            is_reading.set(false);
        });
    };
    let scrolled = move |_| {
        // The event may come from a thread that was just left.
        let Some(frame) = frame.try_get_untracked().flatten() else { return };
        let is_at_end = frame.scroll_height() - frame.scroll_top() - frame.client_height() < LOW;
        if is_at_end || is_low.get_untracked() {
            looked.set(end.get_untracked());
        }
        is_low.set(is_at_end);
        if frame.scroll_top() < HIGH {
            older();
        }
    };
    Effect::new(move |before: Option<(i64, u64)>| {
        let now = end.get();
        let is_own = talk.log.with_untracked(|log| log.last().is_some_and(|message| message.from.is_empty()));
        if is_low.get_untracked() || (is_own && before.is_some_and(|before| before.0 < now.0)) {
            request_animation_frame(move || {
                talk.log.maybe_update(Log::trim);
                to_end();
            });
        }
        now
    });
    // Pictures load late and push the end away.
    let grown = Callback::new(move |()| {
        if is_low.get_untracked() {
            to_end();
        }
    });
    // Messages that existed when the thread was opened are not announced.
    let news = Memo::new(move |before: Option<&((i64, u64), String)>| {
        let now = end.get();
        let theirs = || {
            talk.log.with(|log| {
                log.last().filter(|message| !message.from.is_empty()).map(|message| line(&words(), message))
            })
        };
        match before {
            Some((known, text)) if *known == now => (now, text.clone()),
            Some((known, _)) if known.1 < now.1 => {
                (now, talk.log.with(|log| log.last_note().map(str::to_owned)).unwrap_or_default())
            }
            Some((known, _)) if known.0 > 0 => (now, theirs().unwrap_or_default()),
            _ => (now, String::new()),
        }
    });
    let today = Memo::new(move |_| day_of(ui().now.get(), bridge::minutes_ahead(ui().now.get())));
    let row = move |item: Item| match item {
        Item::Day { day, at_ms, .. } => {
            let text = move || {
                day_words(&words(), day, today.get())
                    .unwrap_or_else(|| bridge::date_words(at_ms, words().language()))
            };
            view! { <li class="day meta"><span>{text}</span></li> }.into_any()
        }
        Item::Message { message, is_first } => {
            view! { <Message message=*message is_first view grown /> }.into_any()
        }
        Item::Note { text, .. } => view! { <li class="note meta">{text}</li> }.into_any(),
    };
    let has_more = move || talk.log.with(|log| log.is_read && !log.is_whole);
    view! {
        <div class="chat-messages" id="chat-messages" tabindex="0" role="region" aria-label=move || t("chat-messages") node_ref=frame on:scroll=scrolled>
            {move || talk.problem.get().map(|problem| view! {
                <div class="card banner row spread" role="alert"><p class="grow">{problem}</p><button on:click=move |_| read_thread()>{move || t("retry")}</button></div>
            })}
            <Show when=has_more><div class="row centre"><button id="chat-older" class="plain" on:click=move |_| older()>{move || t("chat-older")}</button></div></Show>
            <Show when=move || talk.log.with(|log| !log.is_read) && talk.problem.with(Option::is_none)><p class="meta">{move || t("loading")}</p></Show>
            <Show when=move || talk.log.with(|log| log.is_read && log.is_empty())>
                <p class="meta" id="chat-empty">{move || t(talk.log.with(|log| empty_words(&log.with)))}</p>
            </Show>
            <ol class="messages" id="messages"><For each=move || items.get() key=Item::key let:item>{row(item)}</For></ol>
        </div>
        <Show when=has_news>
            <div class="row centre"><button id="chat-news" class="primary" on:click=move |_| to_end()>
                <Icon icon=lu::LuArrowDown width="16" height="16" attr:aria-hidden="true" /> {move || t("chat-news")}
            </button></div>
        </Show>
        <p class="hidden-text" id="chat-live" aria-live="polite">{move || news.get().1}</p>
    }
}

/// Messages of the thread that match a search, the newest at the bottom.
#[component]
fn Found(with: String, view: Memo<ChatView>, sought: RwSignal<Option<String>>) -> impl IntoView {
    let found = RwSignal::new(None::<Vec<ChatMessage>>);
    let is_end = RwSignal::new(false);
    let with = StoredValue::new(with);
    let read = move |before: Option<i64>| {
        let search = sought.get_untracked().unwrap_or_default().trim().to_owned();
        if search.is_empty() {
            found.set(None);
            return;
        }
        spawn_local(async move {
            let Some(with) = with.try_get_value() else { return };
            let answer = bridge::call(Command::Chat(ChatCommand::Thread {
                with,
                before,
                limit: PAGE,
                search: search.clone(),
            }))
            .await;
            // The search text may have changed meanwhile.
            if sought.try_get_untracked().flatten().is_none_or(|now| now.trim() != search) {
                return;
            }
            match answer {
                Ok(Reply::ChatMessages(mut page)) => {
                    is_end.set((page.len() as u32) < PAGE);
                    page.reverse();
                    found.update(|found| match found.as_mut().filter(|_| before.is_some()) {
                        Some(known) => drop(known.splice(0..0, page)),
                        None => *found = Some(page),
                    });
                }
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let mut read_later = debounce(SEARCH_AFTER, move |()| read(None));
    let typed = move |event| {
        sought.set(Some(event_target_value(&event)));
        read_later(());
    };
    let key = move |event: web_sys::KeyboardEvent| {
        if event.key() == "Escape" {
            event.stop_propagation();
            sought.set(None);
            focus_soon("chat-search-open".to_owned());
        }
    };
    let oldest =
        move || found.with(|found| found.as_ref().and_then(|list| list.first().map(|message| message.row)));
    let grown = Callback::new(|()| {});
    let date = |at_ms: i64| bridge::date_words(at_ms, words().language());
    view! {
        <div class="row chat-search">
            <input type="search" id="chat-search" class="grow" aria-label=move || t("chat-search") placeholder=move || t("chat-search") on:input=typed on:keydown=key />
            <button class="plain" on:click=move |_| sought.set(None)>{move || t("close")}</button>
        </div>
        <div class="chat-messages" id="chat-found" tabindex="0" role="region" aria-label=move || t("chat-found")>
            <Show when=move || !is_end.get() && oldest().is_some()>
                <div class="row centre"><button class="plain" on:click=move |_| read(oldest())>{move || t("chat-older")}</button></div>
            </Show>
            <p class="meta" role="status">{move || found.with(|found| found.as_ref().map(|list| words().with("chat-found-n", &[("n", (list.len() as f64).into())])))}</p>
            <ol class="messages">
                <For each=move || found.get().unwrap_or_default() key=|message| message.row let:message>
                    <li class="day meta"><span>{date(message.at_ms)}</span></li>
                    <Message message=message.clone() is_first=true view grown />
                </For>
            </ol>
        </div>
    }
}
