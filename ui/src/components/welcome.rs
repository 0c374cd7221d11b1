use fog_api::settings::keys;
use fog_api::{Command, DutyCommand};
use leptos::prelude::*;

use crate::state::{act, set, t};

/// The first screen; takes one minute and needs no account.
#[component]
pub fn Welcome() -> impl IntoView {
    let finish = |on: bool| {
        if on {
            act(Command::Duty(DutyCommand::SetContributing { on: true }));
        }
        set(keys::FIRST_RUN_DONE.key(), true.into());
    };
    view! {
        <main class="welcome">
            <div class="card stack">
                <h1>{move || t("welcome")}</h1>
                <ul>
                    <li>{move || t("welcome-1")}</li>
                    <li>{move || t("welcome-2")}</li>
                    <li>{move || t("welcome-3")}</li>
                </ul>
                <div class="row">
                    <button id="welcome-start" class="primary" on:click=move |_| finish(true)>{move || t("welcome-start")}</button>
                    <button id="welcome-later" class="plain" on:click=move |_| finish(false)>{move || t("welcome-later")}</button>
                </div>
            </div>
        </main>
    }
}
