use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fog_api::{Command, HistoryPoint, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos_chartistry::{
    AspectRatio, AxisMarker, Chart, IntoInner, Line, Series, TickLabels, Tooltip, TooltipPlacement,
    XGuideLine, YGridLine,
};

use crate::bridge;
use crate::state::{t, words};

/// History of the device over the last day or month.
#[component]
pub fn History() -> impl IntoView {
    let hours = RwSignal::new(24u32);
    let points = RwSignal::new(None::<Vec<HistoryPoint>>);
    Effect::new(move |_| {
        let hours = hours.get();
        spawn_local(async move {
            if let Ok(Reply::History(list)) = bridge::call(Command::History { hours, points: 240 }).await {
                points.set(Some(list));
            }
        });
    });
    let span = |value: u32, key: &'static str| {
        view! {
            <button aria-pressed=move || (hours.get() == value).to_string() on:click=move |_| hours.set(value)>{move || t(key)}</button>
        }
    };
    let shown = Signal::derive(move || points.get().unwrap_or_default());
    let has = move |pick: fn(&HistoryPoint) -> Option<f64>| {
        shown.with(|list| list.iter().any(|p| pick(p).is_some()))
    };
    view! {
        <div class="row spans" role="group">{span(24, "history-day")} {span(720, "history-month")}</div>
        <Show when=move || points.with(|p| p.as_ref().is_some_and(|p| p.len() > 1)) fallback=|| view! { <p class="card meta">{move || t("history-empty")}</p> }>
            <Plot title="history-duty" points=shown pick=worked_share colour="#0f9a93" />
            <Plot title="history-units" points=shown pick=|p| Some(p.units as f64) colour="#7a6ff0" is_large=true />
            <Show when=move || has(|p| p.cpu_temp)><Plot title="history-temp" points=shown pick=|p| p.cpu_temp colour="#e07b39" /></Show>
            <Show when=move || has(|p| p.battery)><Plot title="history-battery" points=shown pick=|p| p.battery colour="#3f9b4f" /></Show>
            <Show when=move || has(|p| p.other_cpu)><Plot title="history-load" points=shown pick=|p| p.other_cpu colour="#c05a8e" /></Show>
            <Reasons points=shown />
        </Show>
    }
}

fn worked_share(p: &HistoryPoint) -> Option<f64> {
    (p.span_ms > 0).then(|| (100.0 * p.worked_ms as f64 / p.span_ms as f64).min(100.0))
}

/// Returns the time of a point in local time: an axis knows no time zones.
fn time(p: &HistoryPoint) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(p.at_ms + bridge::minutes_ahead(p.at_ms) * 60_000).unwrap_or_default()
}

/// Formats a number on an axis, in short form where numbers may be large. The chart's own format cuts 66.7
/// to 60.
fn number(value: f64, is_large: bool) -> String {
    let digits = usize::from(value.fract().abs() > 0.05 && value.abs() < 10.0);
    if is_large && value >= 0.0 {
        words().short(value as u64)
    } else {
        words().decimal(&format!("{value:.digits$}"))
    }
}

#[component]
fn Plot(
    title: &'static str,
    points: Signal<Vec<HistoryPoint>>,
    pick: fn(&HistoryPoint) -> Option<f64>,
    colour: &'static str,
    #[prop(optional)] is_large: bool,
) -> impl IntoView {
    // A missing reading is a gap in the line, never a zero.
    let line = Line::new(move |p: &HistoryPoint| pick(p).unwrap_or(f64::NAN))
        .with_name(t(title))
        .with_colour(leptos_chartistry::Colour::from_rgb(hex(colour, 1), hex(colour, 3), hex(colour, 5)));
    let series = Series::new(time).line(line).with_min_y(0.0);
    let labels = TickLabels::aligned_floats().with_format(move |value: &f64, _| number(*value, is_large));
    let tooltip = Tooltip::new(
        TooltipPlacement::LeftCursor,
        Tooltip::<DateTime<Utc>, f64>::left_cursor().x_ticks,
        labels.clone(),
    );
    view! {
        <section class="card chart" aria-label=move || t(title)>
            <h2>{move || t(title)}</h2>
            <div class="axes">
                <Chart
                    aspect_ratio=AspectRatio::from_env_width(180.0)
                    series=series
                    data=points
                    left=labels
                    bottom=TickLabels::timestamps()
                    inner=[AxisMarker::bottom_edge().into_inner(), YGridLine::default().into_inner(), XGuideLine::over_data().into_inner()]
                    tooltip
                />
            </div>
        </section>
    }
}

fn hex(colour: &str, at: usize) -> u8 {
    colour.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(128)
}

/// The last day as a small chart without axes.
#[component]
pub fn Sparkline(#[prop(into)] points: Signal<Vec<HistoryPoint>>) -> impl IntoView {
    let line = Line::new(|p: &HistoryPoint| worked_share(p).unwrap_or(f64::NAN))
        .with_colour(leptos_chartistry::Colour::from_rgb(15, 154, 147));
    let series = Series::new(time).line(line).with_min_y(0.0).with_max_y(100.0);
    view! {
        <div class="chart" aria-hidden="true">
            <Chart aspect_ratio=AspectRatio::from_env_width(48.0) series=series data=points inner=[AxisMarker::bottom_edge().into_inner()] />
        </div>
    }
}

/// Time lost to each reason, longest first.
#[component]
fn Reasons(points: Signal<Vec<HistoryPoint>>) -> impl IntoView {
    let rows = move || {
        let words = words();
        let mut spans: BTreeMap<String, u64> = BTreeMap::new();
        for p in points.get().iter().filter(|p| !p.reason.is_empty()) {
            *spans.entry(p.reason.clone()).or_default() += p.span_ms.saturating_sub(p.worked_ms);
        }
        let mut list: Vec<(String, u64)> = spans.into_iter().collect();
        list.sort_by_key(|(_, span)| std::cmp::Reverse(*span));
        let total = list.first().map_or(1, |(_, span)| *span).max(1);
        list.into_iter()
            .map(|(reason, span)| {
                let key = if reason == "idle" { "reason-idle".to_owned() } else { format!("short-{reason}") };
                view! {
                    <li class="task">
                        <span>{words.t(&key)}</span>
                        <progress class="bar" max=total.to_string() value=span.to_string() aria-label=words.t(&key)></progress>
                        <span class="meta">{words.span(span / 1000)}</span>
                    </li>
                }
            })
            .collect_view()
    };
    view! { <section class="card"><h2>{move || t("history-reasons")}</h2><ul>{rows}</ul></section> }
}
