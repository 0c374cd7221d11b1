use fog_api::{ChatView, PersonLink, PersonView};
use leptos::prelude::*;

use crate::pages::chat::format::{hue, name_of};
use crate::state::{t, words};

/// Width and height of the drawing, in its own units; this device is in the middle.
const SIZE: f64 = 320.0;
const MIDDLE: f64 = SIZE / 2.0;
/// Distances from the middle, of linked people and of those reached through others.
const RINGS: [f64; 2] = [72.0, 128.0];
/// Greatest number of people on a ring; the list has all of them.
const MAX_ON_RING: [usize; 2] = [12, 20];
/// Greatest number of letters shown of a name.
const NAME: usize = 10;

/// Position of a person in the drawing.
#[derive(Debug, Clone, PartialEq)]
struct Spot {
    id: String,
    link: PersonLink,
    x: f64,
    y: f64,
}

/// Returns positions on the rings, evenly from the top, in the order of the ids, so that people stay in
/// place when one is added after them.
fn spots(people: &[PersonView]) -> Vec<Spot> {
    let mut rings: [Vec<&PersonView>; 2] = [Vec::new(), Vec::new()];
    for person in people.iter().filter(|person| !person.is_blocked) {
        match person.link {
            PersonLink::Gone => {}
            PersonLink::Bluetooth | PersonLink::Network => rings[0].push(person),
            PersonLink::Relayed => rings[1].push(person),
        }
    }
    let mut spots = Vec::new();
    for ((mut ring, radius), most) in rings.into_iter().zip(RINGS).zip(MAX_ON_RING) {
        ring.sort_by(|a, b| a.id.cmp(&b.id));
        ring.truncate(most);
        let step = std::f64::consts::TAU / ring.len().max(1) as f64;
        spots.extend(ring.iter().enumerate().map(|(at, person)| {
            let angle = step * at as f64 - std::f64::consts::FRAC_PI_2;
            Spot {
                id: person.id.clone(),
                link: person.link,
                x: MIDDLE + radius * angle.cos(),
                y: MIDDLE + radius * angle.sin(),
            }
        }));
    }
    spots
}

/// Map of the people linked to this device and of those reached through them. The list below it contains
/// the same in words.
#[component]
pub fn Map(view: Memo<ChatView>) -> impl IntoView {
    let shown = Memo::new(move |_| view.with(|view| spots(&view.people)));
    let label = move || {
        let of = |wanted: fn(PersonLink) -> bool| {
            view.with(|view| {
                view.people.iter().filter(|person| !person.is_blocked && wanted(person.link)).count() as f64
            })
        };
        let (linked, relayed) = (
            of(|link| matches!(link, PersonLink::Bluetooth | PersonLink::Network)),
            of(|link| link == PersonLink::Relayed),
        );
        words().with("chat-map-label", &[("linked", linked.into()), ("relayed", relayed.into())])
    };
    let lines = move || {
        let linked = shown.get().into_iter().filter(|spot| spot.link != PersonLink::Relayed);
        linked.map(|spot| view! { <line x1=MIDDLE.to_string() y1=MIDDLE.to_string() x2=spot.x.to_string() y2=spot.y.to_string() /> }).collect_view()
    };
    let marks = move || shown.get().into_iter().map(|spot| view! { <Mark spot view /> }).collect_view();
    let box_size = format!("0 0 {SIZE} {SIZE}");
    view! {
        <svg class="mesh" id="chat-map" viewBox=box_size role="img" aria-label=label>
            <circle class="ring-line" cx=MIDDLE.to_string() cy=MIDDLE.to_string() r=RINGS[0].to_string() />
            <circle class="ring-line far" cx=MIDDLE.to_string() cy=MIDDLE.to_string() r=RINGS[1].to_string() />
            {lines}
            {marks}
            <circle class="me" cx=MIDDLE.to_string() cy=MIDDLE.to_string() r="9" />
            <text x=MIDDLE.to_string() y=(MIDDLE + 24.0).to_string()>{move || t("chat-map-me")}</text>
        </svg>
    }
}

/// A circle for Bluetooth, a square for a network, a ring for a relayed person.
#[component]
fn Mark(spot: Spot, view: Memo<ChatView>) -> impl IntoView {
    let colour = hue(&spot.id);
    let name: String =
        view.with_untracked(|view| name_of(&spot.id, &view.people)).chars().take(NAME).collect();
    let (x, y) = (spot.x.to_string(), spot.y.to_string());
    let shape = match spot.link {
        PersonLink::Network => view! { <rect x=(spot.x - 6.0).to_string() y=(spot.y - 6.0).to_string() width="12" height="12" rx="2" /> }.into_any(),
        PersonLink::Bluetooth => view! { <circle cx=x.clone() cy=y r="7" /> }.into_any(),
        PersonLink::Relayed | PersonLink::Gone => view! { <circle class="hollow" cx=x.clone() cy=y r="6" /> }.into_any(),
    };
    view! { <g class=colour>{shape}<text x=x y=(spot.y + 20.0).to_string()>{name}</text></g> }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(id: usize, link: PersonLink) -> PersonView {
        PersonView { id: format!("{id:016x}"), link, ..PersonView::default() }
    }

    #[test]
    fn linked_people_are_on_the_inner_ring_and_relayed_ones_on_the_outer() {
        let people = [
            person(1, PersonLink::Relayed),
            person(2, PersonLink::Bluetooth),
            person(3, PersonLink::Network),
            person(4, PersonLink::Gone),
        ];
        let radius = |spot: &Spot| (spot.x - MIDDLE).hypot(spot.y - MIDDLE).round();
        let shown: Vec<_> = spots(&people).iter().map(|spot| (spot.link, radius(spot))).collect();
        assert_eq!(
            shown,
            [
                (PersonLink::Bluetooth, RINGS[0]),
                (PersonLink::Network, RINGS[0]),
                (PersonLink::Relayed, RINGS[1])
            ]
        );
    }

    #[test]
    fn nobody_is_drawn_outside_and_no_two_in_one_place() {
        let people: Vec<_> = (0..100)
            .map(|n| person(n, if n % 2 == 0 { PersonLink::Bluetooth } else { PersonLink::Relayed }))
            .collect();
        let shown = spots(&people);
        assert_eq!(shown.len(), MAX_ON_RING.iter().sum::<usize>());
        assert!(
            shown
                .iter()
                .all(|spot| (20.0..SIZE - 20.0).contains(&spot.x) && (20.0..SIZE - 20.0).contains(&spot.y))
        );
        for (at, one) in shown.iter().enumerate() {
            assert!(
                shown[at + 1..].iter().all(|other| (one.x - other.x).hypot(one.y - other.y) > 14.0),
                "{one:?}"
            );
        }
    }

    #[test]
    fn places_do_not_depend_on_the_order_in_which_people_came() {
        let mut people: Vec<_> = (0..5).map(|n| person(n, PersonLink::Bluetooth)).collect();
        let before = spots(&people);
        people.reverse();
        assert_eq!(spots(&people), before);
        assert!(spots(&[PersonView { is_blocked: true, ..person(9, PersonLink::Bluetooth) }]).is_empty());
    }
}
