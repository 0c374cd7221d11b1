use fog_api::{Command, GridView, PlacementCommand, PlacementView, PlanPoint, PromiseView, Reply, TaskPlace};
use fog_types::JobId;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::bridge;
use crate::state::{t, ui, words};

/// Width and height of the drawing, and the margin around it, in its own units.
const SIZE: (f64, f64) = (320.0, 180.0);
const ROOM: f64 = 28.0;

/// Data read about a job on other devices; outlives the redrawing of the page.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    places: RwSignal<Vec<TaskPlace>>,
    plan: RwSignal<Option<Result<PlacementView, String>>>,
}

/// A job for other devices: the promise, the devices with its tasks, and the other possible placements.
#[component]
pub fn Elsewhere(id: JobId, grid: GridView, is_over: bool, seen: Seen) -> impl IntoView {
    let Seen { places, plan } = seen;
    let read = move || {
        spawn_local(async move {
            if let Ok(Reply::Places(list)) =
                bridge::call(Command::Placement(PlacementCommand::Places { id })).await
            {
                places.set(list);
            }
        });
    };
    Effect::new(move |_| {
        // Places of tasks change without an event of the job.
        ui().job_changed.track();
        if !is_over && ui().now.get() / 1000 % 2 == 0 {
            read();
        }
    });
    let look = move |_| {
        spawn_local(async move {
            plan.set(match bridge::call(Command::Placement(PlacementCommand::PlanJob { id })).await {
                Ok(Reply::Placement(view)) => Some(Ok(*view)),
                Ok(_) => None,
                Err(error) => Some(Err(words().error(&error))),
            });
        });
    };
    let promise = move || {
        let words = words();
        let kept = match grid.promise {
            PromiseView::Open => words.t("promise-open"),
            PromiseView::Kept => words.t("promise-kept"),
            PromiseView::Broken => words.with("promise-broken", &[("why", grid.why.clone().into())]),
        };
        format!("{} · {kept}", words.t(&format!("service-{}", grid.service.as_str())))
    };
    let cost = move || {
        let credits = |milli: u64| format!("{:.3}", milli as f64 / 1000.0);
        words().with(
            "job-credits",
            &[("spent", credits(grid.spent).into()), ("reserved", credits(grid.reserved).into())],
        )
    };
    let (checks, withheld) = (grid.checks, grid.withheld.clone());
    view! {
        <div class="card stack" id="elsewhere">
            <h2>{move || t("elsewhere")}</h2>
            <p id="promise" class:bad=grid.promise == PromiseView::Broken>{promise}</p>
            <p class="meta">{cost}</p>
            {(!grid.withheld.is_empty()).then(|| view! {
                <p id="withheld" role="status">{move || words().with("job-withheld", &[("why", withheld.clone().into())])}</p>
            })}
            {(checks.0 > 0).then(|| view! {
                <p class="meta">{move || words().with("job-checks", &[("n", f64::from(checks.0).into()), ("wrong", f64::from(checks.1).into())])}</p>
            })}
            {(!is_over).then(|| view! {
                <Show when=move || !places.with(Vec::is_empty) fallback=|| view! { <p class="meta">{move || t("elsewhere-nobody")}</p> }>
                    <table id="places"><tbody>{move || places.get().into_iter().map(|place| view! { <Place place /> }).collect_view()}</tbody></table>
                </Show>
                <div class="row"><button id="show-choices" on:click=look>{move || t("choices-show")}</button></div>
            })}
            {move || plan.get().map(|plan| match plan {
                Ok(plan) => view! { <Choices plan /> }.into_any(),
                Err(problem) => view! { <p class="meta" role="status">{problem}</p> }.into_any(),
            })}
        </div>
    }
}

#[component]
fn Place(place: TaskPlace) -> impl IntoView {
    let done = place.permille.map(|permille| format!("{} %", permille / 10)).unwrap_or_default();
    view! {
        <tr>
            <td>{place.index}</td>
            <td>{place.name}</td>
            <td>{move || t(&format!("place-{}", place.state))}</td>
            <td class="meta">{done}</td>
        </tr>
    }
}

/// The Pareto-optimal placements by time and energy, with the chosen one marked.
#[component]
fn Choices(plan: PlacementView) -> impl IntoView {
    let span = |of: fn(&PlanPoint) -> f64| {
        let values = plan.front.iter().map(of);
        values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (seconds, energy) = (span(|point| point.seconds), span(|point| point.energy));
    let scale = |value: f64, (low, high): (f64, f64), length: f64| {
        if high > low { (value - low) / (high - low) * length } else { length / 2.0 }
    };
    let place = |point: &PlanPoint| {
        let x = ROOM + scale(point.seconds, seconds, SIZE.0 - 2.0 * ROOM);
        (x, SIZE.1 - ROOM - scale(point.energy, energy, SIZE.1 - 2.0 * ROOM))
    };
    let dots = plan.front.iter().enumerate().map(|(at, point)| {
        let (x, y) = place(point);
        let shares: Vec<String> = point.shares.iter().map(|(_, name, count)| format!("{name} {count}")).collect();
        let said = format!("{:.1} s, {:.2} Wh, {:.1} %: {}", point.seconds, point.energy, point.risk * 100.0, shares.join(", "));
        let is_chosen = at == plan.chosen;
        view! { <circle class:chosen=is_chosen cx=x.to_string() cy=y.to_string() r=if is_chosen { "7" } else { "4" }><title>{said}</title></circle> }
    });
    let dots = dots.collect_view();
    let (width, height) = (SIZE.0.to_string(), SIZE.1.to_string());
    let (right, bottom) = ((SIZE.0 - ROOM).to_string(), (SIZE.1 - ROOM).to_string());
    let room = ROOM.to_string();
    let count = plan.front.len() as f64;
    let devices = plan.front.get(plan.chosen).map(|point| {
        point.shares.iter().map(|(_, name, tasks)| format!("{name}: {tasks}")).collect::<Vec<_>>().join(" · ")
    });
    let (why, waiting) = (plan.why.clone(), plan.waiting);
    let watt_hours = |value: f64| {
        if energy.1 < 0.1 { format!("{:.2} mWh", value * 1000.0) } else { format!("{value:.2} Wh") }
    };
    // A single value is drawn in the middle; there is no second end.
    let ends = |(low, high): (f64, f64), text: &dyn Fn(f64) -> String| {
        if high > low { [text(low), text(high)] } else { [text(low), String::new()] }
    };
    let (x, y) = (ends(seconds, &|value| format!("{value:.1} s")), ends(energy, &watt_hours));
    view! {
        <figure class="stack" id="choices">
            <svg class="choices" viewBox=format!("0 0 {width} {height}") role="img" aria-label=move || words().with("choices-label", &[("n", count.into()), ("why", why.clone().into())])>
                <line x1=room.clone() y1=bottom.clone() x2=right.clone() y2=bottom.clone() />
                <line x1=room.clone() y1=room.clone() x2=room.clone() y2=bottom.clone() />
                {dots}
                <text x=room.clone() y=(SIZE.1 - 10.0).to_string()>{x[0].clone()}</text>
                <text x=right.clone() y=(SIZE.1 - 10.0).to_string() text-anchor="end">{x[1].clone()}</text>
                <text x="4" y=bottom.clone() class="up">{y[0].clone()}</text>
                <text x="4" y=(ROOM - 12.0).to_string() class="up">{y[1].clone()}</text>
            </svg>
            <figcaption class="stack">
                <p>{plan.why.clone()}"."</p>
                <p class="meta">{devices}</p>
                {(waiting > 0).then(|| view! { <p class="meta">{move || words().with("choices-waiting", &[("n", f64::from(waiting).into())])}</p> })}
            </figcaption>
        </figure>
    }
}
