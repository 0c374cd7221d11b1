use fog_api::settings::{ALL, Group, Kind, Setting};
use fog_api::{CheckState, Command, SettingsCommand};
use leptos::prelude::*;
use serde_json::Value;

use crate::bridge;
use crate::components::ask::Ask;
use crate::components::week::Week;
use crate::state::{act, check_device, export_settings, import_settings, say, set, setting, t, ui, words};

/// The settings page: every visible setting of the schema.
#[component]
pub fn Settings() -> impl IntoView {
    let group = |group: Group, title: &'static str| {
        let rows = ALL
            .iter()
            .filter(|s| s.group == group && s.is_shown(bridge::is_phone()))
            .map(|s| view! { <Row setting=*s /> })
            .collect_view();
        view! { <section class="card"><h2>{move || t(title)}</h2>{rows}</section> }
    };
    view! {
        {group(Group::When, "group-when")}
        {group(Group::HowMuch, "group-how-much")}
        {group(Group::Appearance, "group-appearance")}
        <section class="card stack">
            <h2>{move || t("group-about")}</h2>
            <About />
            <div class="row">
                <button on:click=move |_| export_settings()>{move || t("export")}</button>
                <button on:click=move |_| import_settings()>{move || t("import")}</button>
                <Ask label="reset-all" sure="reset-sure" yes="reset-yes" on_yes=move |()| act(Command::Settings(SettingsCommand::Reset)) />
            </div>
        </section>
    }
}

/// One setting: its name, purpose, default and field.
#[component]
pub fn Row(setting: Setting) -> impl IntoView {
    let key = setting.key;
    let label = move || t(&format!("setting-{key}"));
    let why = move || format!("{} {}", t(&format!("setting-{key}-why")), default_text(&setting));
    let id = format!("set-{key}");
    let is_tall = matches!(setting.kind, Kind::Week);
    view! {
        <div class="setting">
            <div><label for=id.clone()>{label}</label><p class="meta" id=format!("{id}-why")>{why}</p></div>
            <div class:tall=is_tall><Control setting /></div>
        </div>
    }
}

fn default_text(setting: &Setting) -> String {
    let value = match (setting.kind, setting.default()) {
        (Kind::Flag(on), _) => t(if on { "on" } else { "off" }),
        (Kind::Number { default, unit, .. }, _) => format!("{default} {unit}").trim_end().to_owned(),
        (Kind::Choice(choices), _) => {
            choices.first().map(|word| t(&format!("choice-{word}"))).unwrap_or_default()
        }
        _ => return String::new(),
    };
    words().with("default-is", &[("value", value.into())])
}

#[component]
fn Control(setting: Setting) -> impl IntoView {
    let key = setting.key;
    let id = format!("set-{key}");
    let why = format!("{id}-why");
    let now = move || self::setting(key);
    // A value that the schema refuses is explained, and the field returns to the stored one.
    let store = move |text: String, field: web_sys::HtmlInputElement| match setting.parse(&text) {
        Ok(value) => set(key, value),
        Err(problem) => {
            say(true, problem);
            field.set_value(&plain(
                &ui()
                    .snapshot
                    .with_untracked(|s| s.as_ref().and_then(|s| s.settings.get(key).cloned()))
                    .unwrap_or(Value::Null),
            ));
        }
    };
    let on_change = move |event: web_sys::Event| store(event_target_value(&event), event_target(&event));
    match setting.kind {
        Kind::Flag(_) => view! {
            <button id=id class="switch" role="switch" aria-describedby=why aria-label=move || t(&format!("setting-{key}")) aria-checked=move || now().as_bool().unwrap_or(false).to_string()
                on:click=move |_| set(key, (!now().as_bool().unwrap_or(false)).into()) />
        }.into_any(),
        Kind::Number { min, max, unit, .. } => view! {
            <span class="row"><input id=id type="number" min=min.to_string() max=max.to_string() step="any" aria-describedby=why prop:value=move || plain(&now()) on:change=on_change /> <span class="meta">{unit}</span></span>
        }.into_any(),
        Kind::Choice(choices) => view! {
            <select id=id aria-describedby=why on:change=move |event| set(key, event_target_value(&event).into()) prop:value=move || plain(&now())>
                {choices.iter().map(|word| view! { <option value=*word selected=move || now().as_str() == Some(word)>{move || t(&format!("choice-{word}"))}</option> }).collect_view()}
            </select>
        }.into_any(),
        Kind::Text(_) | Kind::List => view! { <input id=id type="text" aria-describedby=why prop:value=move || plain(&now()) on:change=on_change /> }.into_any(),
        Kind::Week => view! { <Week /> }.into_any(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        other => other.as_f64().map_or_else(|| other.to_string(), |n| n.to_string()),
    }
}

#[component]
fn About() -> impl IntoView {
    let facts = move || {
        ui().snapshot.with(|s| {
            s.as_ref().map(|s| {
                let words = words();
                let mut lines = vec![
                    words.with("about-version", &[("version", s.version.as_str().into())]),
                    words.with("about-data", &[("folder", s.data_folder.as_str().into())]),
                ];
                if s.attached {
                    lines.push(words.t("about-attached"));
                }
                lines.into_iter().map(|line| view! { <p>{line}</p> }).collect_view()
            })
        })
    };
    let mark = |state: CheckState| match state {
        CheckState::Good => ("good", "✓"),
        CheckState::Missing => ("meta", "–"),
        CheckState::Bad => ("bad", "✗"),
    };
    view! {
        {facts}
        <div class="row"><button id="check-device" on:click=move |_| check_device()>{move || t("about-checks")}</button></div>
        <ul>{move || ui().checks.get().into_iter().map(|check| {
            let (class, sign) = mark(check.state);
            view! { <li class="row"><span class=class>{sign}</span> <strong>{check.name}</strong> <span class="meta">{check.detail}</span></li> }
        }).collect_view()}</ul>
    }
}
