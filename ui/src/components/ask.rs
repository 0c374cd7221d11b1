use leptos::prelude::*;

use crate::state::{t, words};

/// A button that asks for confirmation, with the consequence in words, before an action that cannot be
/// undone.
#[component]
pub fn Ask(
    label: &'static str,
    sure: &'static str,
    /// Name of the object of the action, for texts that contain it.
    #[prop(optional, into)]
    about: String,
    yes: &'static str,
    /// Key of the word for cancelling.
    #[prop(default = "job-keep")]
    no: &'static str,
    /// Whether the action is harmless and only deserves a second thought.
    #[prop(optional)]
    is_gentle: bool,
    #[prop(into)] on_yes: Callback<()>,
) -> impl IntoView {
    let dialog: NodeRef<leptos::html::Dialog> = NodeRef::new();
    let close = move || {
        if let Some(dialog) = dialog.get_untracked() {
            dialog.close();
        }
    };
    let open = move |_| {
        if let Some(dialog) = dialog.get_untracked() {
            // An error means that the dialog is open already.
            let _ = dialog.show_modal();
        }
    };
    view! {
        <button data-ask=label class:danger=!is_gentle on:click=open>{move || t(label)}</button>
        <dialog node_ref=dialog aria-label=move || t(label)>
            <div class="stack">
                <p>{move || words().with(sure, &[("name", about.as_str().into())])}</p>
                <div class="row">
                    <button on:click=move |_| close()>{move || t(no)}</button>
                    <button class="yes" class:danger=!is_gentle class:primary=is_gentle on:click=move |_| { close(); on_yes.run(()); }>{move || t(yes)}</button>
                </div>
            </div>
        </dialog>
    }
}
