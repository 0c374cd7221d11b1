use fog_api::settings::keys;
use leptos::prelude::*;

use crate::bridge;
use crate::state::{set, setting, t, words};

/// The week plan, painted with the mouse or changed with arrow keys and space.
#[component]
pub fn Week() -> impl IntoView {
    // The plan while it is painted; stored when the button is released.
    let draft = RwSignal::new(None::<(String, char)>);
    let plan = move || {
        draft.get().map_or_else(
            || setting(keys::WEEK.key()).as_str().unwrap_or_default().to_owned(),
            |(plan, _)| plan,
        )
    };
    let next = |letter: char| match letter {
        '1' => '2',
        '2' => '0',
        _ => '1',
    };
    let paint = move |cell: usize| {
        draft.update(|draft| {
            if let Some((plan, brush)) = draft {
                plan.replace_range(cell..=cell, &brush.to_string());
            }
        });
    };
    let begin = move |cell: usize| {
        let now = plan();
        let brush = next(now.chars().nth(cell).unwrap_or('1'));
        draft.set(Some((now, brush)));
        paint(cell);
    };
    let end = move || {
        if let Some((plan, _)) = draft.get_untracked() {
            set(keys::WEEK.key(), plan.into());
            draft.set(None);
        }
    };
    let key = move |cell: usize, event: web_sys::KeyboardEvent| {
        let target = match event.key().as_str() {
            "ArrowRight" => Some(cell + 1),
            "ArrowLeft" => cell.checked_sub(1),
            "ArrowDown" => Some(cell + 24),
            "ArrowUp" => cell.checked_sub(24),
            _ => None,
        };
        if let Some(target) = target.filter(|target| *target < 168) {
            event.prevent_default();
            bridge::focus(&format!("hour-{target}"));
        }
        if matches!(event.key().as_str(), " " | "Enter") {
            event.prevent_default();
            begin(cell);
            end();
        }
    };
    let day_row = move |day: usize| {
        let hours = (0..24).map(move |hour| {
            let cell = day * 24 + hour;
            let state = move || match plan().chars().nth(cell) {
                Some('1') => "full",
                Some('2') => "quiet",
                _ => "off",
            };
            let label = move || {
                let word = if state() == "off" { t("off") } else { t(&format!("profile-{}", state())) };
                words().with("week-hour", &[("day", t(&format!("day-{day}")).into()), ("hour", (hour as f64).into()), ("state", word.into())])
            };
            view! {
                <button id=format!("hour-{cell}") class=state aria-label=label title=label tabindex=if cell == 0 { "0" } else { "-1" }
                    on:pointerdown=move |event| { event.prevent_default(); begin(cell); }
                    on:pointerenter=move |_| paint(cell)
                    on:keydown=move |event| key(cell, event) />
            }
        });
        view! { <span class="meta">{move || t(&format!("day-{day}"))}</span> {hours.collect_view()} }
    };
    view! {
        <div class="stack">
            <p class="meta">{move || t("week-help")}</p>
            <div class="week" role="group" aria-label=move || t("setting-week") on:pointerup=move |_| end() on:pointerleave=move |_| end()>
                {(0..7).map(day_row).collect_view()}
            </div>
            <p class="row meta">
                <span class="key full"></span> {move || t("profile-full")}
                <span class="key quiet"></span> {move || t("profile-quiet")}
                <span class="key"></span> {move || t("off")}
            </p>
        </div>
    }
}
