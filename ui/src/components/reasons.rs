use fog_api::{EffectView, settings};
use leptos::prelude::*;

use crate::bridge;
use crate::state::{change_setting, t, ui, words};

/// Returns whether the device works, and if not the reason, in one sentence.
pub fn headline() -> String {
    ui().snapshot.with(|s| {
        let sentence = |s: &fog_api::Snapshot| words().status_headline(&s.status, ui().now.get());
        s.as_ref().map(sentence).unwrap_or_default()
    })
}

/// Reasons that stop or slow the device, each with the setting that changes it.
#[component]
pub fn Reasons(
    /// Leaves out the reason shown in the headline.
    but_first_stop: bool,
) -> impl IntoView {
    let list = move || {
        let now = ui().now.get();
        ui().snapshot.with(|s| {
            let verdict = s.as_ref().map(|s| s.status.verdict.clone()).unwrap_or_default();
            let first_stop = verdict.reasons.iter().position(|reason| reason.effect == EffectView::Stops);
            let said = verdict.reasons.iter().zip(words().reasons(&verdict, now)).enumerate();
            said.filter(|(at, _)| !(but_first_stop && first_stop == Some(*at)))
                .map(|(_, (reason, sentence))| {
                    (
                        sentence,
                        settings::of_rule(&reason.rule).filter(|key| {
                            settings::find(key).is_some_and(|s| s.is_shown(bridge::is_phone()))
                        }),
                    )
                })
                .collect::<Vec<_>>()
        })
    };
    view! {
        <ul class="stack">
            {move || list().into_iter().map(|(text, setting)| view! {
                <li class="row spread meta">
                    <span>{text}</span>
                    {setting.map(|key| view! { <button class="plain" on:click=move |_| change_setting(key)>{move || t("change")}</button> })}
                </li>
            }).collect_view()}
        </ul>
    }
}
