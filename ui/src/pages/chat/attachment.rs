use fog_api::{ChatCommand, ChatFileView, Command, Reply};
use icondata_lu as lu;
use leptos::html::{Dialog, Div};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_icons::Icon;

use crate::bridge;
use crate::pages::chat::format::Sort;
use crate::state::{say, say_error, t, words};

/// A file of a message. Pictures and sounds are read when they come into sight, others when they are saved.
/// Only media types without scripts are shown, in an image element, so that a picture cannot run code.
#[component]
pub fn Attachment(row: i64, file: ChatFileView, grown: Callback<()>) -> impl IntoView {
    let ChatFileView { name, mime, size } = file;
    let sort = Sort::of(&mime);
    let name = StoredValue::new(name);
    let place = NodeRef::<Div>::new();
    let source = RwSignal::new(None::<Result<String, String>>);
    if sort != Sort::Other {
        Effect::new(move |_| {
            if let Some(place) = place.get() {
                let mime = mime.clone();
                // The page may have changed by the time the file is read.
                bridge::when_in_sight(&place, move || {
                    spawn_local(async move { drop(source.try_set(Some(read(row, &mime).await))) })
                });
            }
        });
    }
    let save = move |_| {
        spawn_local(async move {
            let folder = match bridge::pick_folder().await {
                Ok(Some(folder)) => folder,
                Ok(None) => return,
                Err(error) => return say_error(&error),
            };
            match bridge::call(Command::Chat(ChatCommand::Save { row, folder })).await {
                Ok(Reply::Exported { files, .. }) => {
                    say(false, words().with("chat-exported", &[("path", files.join(", ").into())]))
                }
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let save_label = move || {
        name.with_value(|name| {
            words().with("chat-save", &[("name", name.as_str().into()), ("size", words().bytes(size).into())])
        })
    };
    // The content does not match its name, or is of a format that this system does not know.
    let broken = Callback::new(move |()| source.set(Some(Err(t("chat-file-other")))));
    let saver = move || {
        view! {
            <button class="save" on:click=save><Icon icon=lu::LuDownload width="16" height="16" attr:aria-hidden="true" /> {save_label}</button>
        }
    };
    let shown = move || {
        match (sort, source.get()) {
        (Sort::Other, _) => saver().into_any(),
        (_, Some(Err(problem))) => view! { <p class="meta">{problem}</p> {saver()} }.into_any(),
        (Sort::Picture, source) => view! { <Picture url=source.and_then(Result::ok) name saver=move || saver().into_any() broken grown /> }.into_any(),
        (Sort::Sound, None) => view! { <p class="meta">{move || t("loading")}</p> }.into_any(),
        (Sort::Sound, Some(Ok(url))) => {
            view! { <audio controls preload="metadata" src=url aria-label=move || t("chat-a-sound") on:error=move |_| { broken.try_run(()); }></audio> }
                .into_any()
        }
    }
    };
    view! { <div class="attachment" data-sort=sort.word() node_ref=place>{shown}</div> }
}

/// A picture in a frame of fixed size, so that the page does not move when it is loaded; enlarged when
/// pressed.
#[component]
fn Picture(
    url: Option<String>,
    name: StoredValue<String>,
    saver: impl Fn() -> AnyView + Send + Sync + 'static,
    broken: Callback<()>,
    grown: Callback<()>,
) -> impl IntoView {
    let dialog = NodeRef::<Dialog>::new();
    let label =
        move || name.with_value(|name| words().with("chat-picture", &[("name", name.as_str().into())]));
    let Some(url) = url else {
        return view! { <div class="photo" role="img" aria-label=label></div> }.into_any();
    };
    let open = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            // An error means that the dialog is open already.
            let _ = dialog.show_modal();
        }
    };
    let close = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    view! {
        <button class="photo" on:click=open><img src=url.clone() alt=label on:load=move |_| { grown.try_run(()); } on:error=move |_| { broken.try_run(()); } /></button>
        <dialog class="large" node_ref=dialog aria-label=label>
            <div class="stack">
                <img src=url alt=label />
                <div class="row spread">{saver()}<button on:click=close>{move || t("close")}</button></div>
            </div>
        </dialog>
    }
    .into_any()
}

/// Reads a file as a data URL of this media type.
async fn read(row: i64, mime: &str) -> Result<String, String> {
    match bridge::call(Command::Chat(ChatCommand::File { row })).await {
        Ok(Reply::Bytes { base64, .. }) => Ok(format!("data:{mime};base64,{base64}")),
        Ok(_) => Err(t("chat-file-gone")),
        Err(error) => Err(words().error(&error)),
    }
}
