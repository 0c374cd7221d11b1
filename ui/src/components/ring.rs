use leptos::prelude::*;

/// The duty as a ring; grey while nothing runs.
#[component]
pub fn Ring(#[prop(into)] duty: Signal<u8>) -> impl IntoView {
    const LENGTH: f64 = 2.0 * std::f64::consts::PI * 44.0;
    let dash = move || format!("{:.1} {LENGTH:.1}", LENGTH * f64::from(duty.get()) / 100.0);
    view! {
        <svg class="ring" viewBox="0 0 100 100" role="img" aria-label=move || format!("{} %", duty.get())>
            <circle cx="50" cy="50" r="44" />
            <circle class="value" cx="50" cy="50" r="44" transform="rotate(-90 50 50)" stroke-dasharray=dash style:display=move || if duty.get() == 0 { "none" } else { "inline" } />
            <text x="50" y="51">{move || format!("{} %", duty.get())}</text>
        </svg>
    }
}
