use fog_api::{ChatCommand, ChatView, Command, PersonLink};
use icondata_lu as lu;
use leptos::html::{Input, Textarea};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_icons::Icon;

use crate::bridge;
use crate::bridge::media::{self, Given, Refused};
use crate::pages::chat::format::{commands_for, is_group, room_words, whom};
use crate::pages::chat::voice::Voice;
use crate::state::chat::{open_thread, said};
use crate::state::{say, t, ui, words};

/// Greatest size in bytes of a file that phones accept.
pub const MAX_FILE: u64 = 100 * 1024;

/// The text field: Enter sends, Shift and Enter starts a line, a slash starts a command.
#[component]
pub fn Composer(with: String, view: Memo<ChatView>) -> impl IntoView {
    let drafts = ui().talk.drafts;
    let (is_room, is_group) = (with.is_empty(), is_group(&with));
    let is_busy = RwSignal::new(false);
    let field = NodeRef::<Textarea>::new();
    let with = StoredValue::new(with);
    let text = Memo::new(move |_| {
        with.with_value(|with| drafts.with(|drafts| drafts.get(with).cloned().unwrap_or_default()))
    });
    let write = move |text: String| {
        let with = with.get_value();
        drafts.update(|drafts| {
            if text.is_empty() {
                drafts.remove(&with)
            } else {
                drafts.insert(with, text)
            };
        });
    };
    // Unknown for people who are away; the file waits like a text.
    let takes_files = Memo::new(move |_| {
        with.with_value(|with| {
            view.with(|view| {
                !view.people.iter().any(|person| {
                    person.id == *with && person.link != PersonLink::Gone && !person.takes_files
                })
            })
        })
    });
    // The field grows with the text, also when a program changed it.
    Effect::new(move |_| {
        text.track();
        if field.get().is_some() {
            request_animation_frame(move || {
                if let Some(field) = field.try_get_untracked().flatten() {
                    bridge::grow(&field);
                }
            });
        }
    });
    let send = move || {
        let text = text.get_untracked();
        if text.trim().is_empty() || is_busy.get_untracked() {
            return;
        }
        if let Some(other) = view.with_untracked(|view| whom(&text, &view.people)) {
            write(String::new());
            return open_thread(&other);
        }
        is_busy.set(true);
        let to = with.get_value();
        spawn_local(async move {
            let sent = said(
                bridge::call(Command::Chat(ChatCommand::Say { to: to.clone(), text: text.clone() })).await,
            );
            // A refused text stays in the field, as does text typed meanwhile.
            if sent {
                drafts.update(|drafts| drafts.retain(|whose, draft| *whose != to || *draft != text));
            }
            is_busy.try_set(false);
        });
    };
    let give = Callback::new(move |given: Result<Given, Refused>| {
        let given = match given {
            Ok(given) => given,
            Err(refused) => return say(true, refusal(&refused)),
        };
        is_busy.set(true);
        let to = with.get_value();
        spawn_local(async move {
            said(
                bridge::call(Command::Chat(ChatCommand::Give { to, name: given.name, base64: given.base64 }))
                    .await,
            );
            is_busy.try_set(false);
        });
    });
    let commands = Memo::new(move |_| text.with(|text| commands_for(text)));
    let key = move |event: web_sys::KeyboardEvent| {
        // While an input method composes characters, Enter chooses one.
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            send();
        } else if event.key() == "ArrowUp" && commands.with_untracked(|list| !list.is_empty()) {
            // The list is above the field.
            event.prevent_default();
            bridge::focus("chat-command-last");
        }
    };
    let choose = move |command: &str| {
        write(command.to_owned());
        bridge::focus("chat-text");
    };
    let placeholder = move || {
        t(if is_room {
            "chat-say-room"
        } else if is_group {
            "chat-say-group"
        } else {
            "chat-say-private"
        })
    };
    let room =
        move || (!is_room && !is_group).then(|| text.with(|text| room_words(&words(), text))).flatten();
    view! {
        <div class="composer">
            <Show when=move || !commands.with(Vec::is_empty)>
                <ul class="list commands card" id="chat-commands" aria-label=move || t("chat-commands")>
                    {move || {
                        let list = commands.get();
                        let last = list.len().saturating_sub(1);
                        list.into_iter().enumerate().map(|(at, (command, what))| view! {
                            <li><button id=(at == last).then_some("chat-command-last") on:click=move |_| choose(command)>
                                <strong>{command}</strong> <span class="meta">{move || t(what)}</span>
                            </button></li>
                        }).collect_view()
                    }}
                </ul>
            </Show>
            <p class="meta room-left" id="chat-room-left">{room}</p>
            <div class="row tight">
                {(!is_group).then(|| view! { <Attach takes_files give /> <Voice takes_files give /> })}
                <textarea id="chat-text" class="grow" rows="1" placeholder=placeholder aria-label=placeholder aria-describedby="chat-room-left" autocomplete="off"
                    node_ref=field prop:value=move || text.get() on:input=move |event| write(event_target_value(&event)) on:keydown=key></textarea>
                <button id="chat-send" class="primary" aria-label=move || t("chat-send") disabled=move || is_busy.get() || text.with(|text| text.trim().is_empty())
                    on:click=move |_| { send(); bridge::focus("chat-text"); }><Icon icon=lu::LuSendHorizontal width="18" height="18" attr:aria-hidden="true" /></button>
            </div>
        </div>
    }
}

/// Returns the reason why a file is not sent, and the remedy.
pub fn refusal(refused: &Refused) -> String {
    let words = words();
    match refused {
        Refused::TooLarge(size) => words.with(
            "chat-file-large",
            &[("size", words.bytes(*size).into()), ("most", words.bytes(MAX_FILE).into())],
        ),
        Refused::Unreadable => words.t("chat-file-unreadable"),
    }
}

/// A button that opens a file dialog. Pictures are made small enough here.
#[component]
fn Attach(takes_files: Memo<bool>, give: Callback<Result<Given, Refused>>) -> impl IntoView {
    let field = NodeRef::<Input>::new();
    let open = move |_| {
        if let Some(field) = field.get_untracked() {
            field.click();
        }
    };
    let chosen = move |_| {
        if let Some(file) = field.get_untracked().and_then(|field| media::chosen(&field)) {
            // When the thread was left meanwhile, the file is not sent elsewhere.
            spawn_local(async move {
                let _ = give.try_run(media::read(file, MAX_FILE).await);
            });
        }
    };
    let label = move || t(if takes_files.get() { "chat-attach" } else { "chat-no-files" });
    view! {
        <button id="chat-attach" class="plain" aria-label=label title=label disabled=move || !takes_files.get() on:click=open>
            <Icon icon=lu::LuPaperclip width="18" height="18" attr:aria-hidden="true" />
        </button>
        <input type="file" id="chat-file" hidden tabindex="-1" aria-hidden="true" node_ref=field on:change=chosen />
    }
}
