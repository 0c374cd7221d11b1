use fog_api::{Command, JoinedNetwork, NetworkCommand, NetworkView, PeerPath, PeerView, ReachView, Reply};
use leptos::prelude::*;
use leptos::task::spawn_local;
use qrcode::QrCode;
use qrcode::render::svg;

use crate::bridge;
use crate::components::ask::Ask;
use crate::state::{act, say_error, t, ui, words};

/// The network page: joined networks, known devices, and traffic.
#[component]
pub fn Network() -> impl IntoView {
    let view =
        Memo::new(move |_| ui().snapshot.with(|s| s.as_ref().map(|s| s.network.clone()).unwrap_or_default()));
    let has_joined = Memo::new(move |_| !view.get().joined.is_empty());
    view! {
        <Show when=move || has_joined.get() fallback=|| view! { <p class="card" id="network-none">{move || t("network-none")}</p> }>
            <Reach view />
        </Show>
        <Join view />
        <Show when=move || has_joined.get()>
            <Peers view />
        </Show>
    }
}

/// Reachability of this device, and its traffic.
#[component]
fn Reach(view: Memo<NetworkView>) -> impl IntoView {
    let sentence = move || {
        let view = view.get();
        if !view.problem.is_empty() {
            return view.problem;
        }
        t(match view.reach {
            ReachView::Unknown => "network-reach-unknown",
            ReachView::Public => "network-reach-public",
            ReachView::Relayed => "network-reach-relayed",
        })
    };
    let data = move || {
        let (view, words) = (view.get(), words());
        let used = words.bytes(view.received + view.sent);
        match view.data_cap {
            0 => words.with("network-data", &[("used", used.into())]),
            cap => words.with("network-data-cap", &[("used", used.into()), ("cap", words.bytes(cap).into())]),
        }
    };
    view! {
        <section class="card stack" aria-label=move || t("network-this")>
            <h2>{move || view.get().name}</h2>
            <p id="network-reach">{sentence}</p>
            <p class="meta">{data}</p>
            {move || (view.get().data_cap > 0).then(|| {
                let view = view.get();
                view! { <progress class="bar" max=view.data_cap.to_string() value=(view.received + view.sent).to_string() aria-label=t("network-data-label")></progress> }
            })}
            <p class="meta mono">{move || view.get().id}</p>
        </section>
    }
}

/// The joined networks, and ways to join more.
#[component]
fn Join(view: Memo<NetworkView>) -> impl IntoView {
    let invite = RwSignal::new(None::<(String, String)>);
    let text = RwSignal::new(String::new());
    let join = move |what: String| {
        spawn_local(async move {
            match bridge::call(Command::Network(NetworkCommand::Join { what })).await {
                Ok(_) => text.set(String::new()),
                Err(error) => say_error(&error),
            }
        });
    };
    let make_invite = move |_| {
        spawn_local(async move {
            match bridge::call(Command::Network(NetworkCommand::Invite { group: None })).await {
                Ok(Reply::Invite { group, text }) => invite.set(Some((group, text))),
                Ok(_) => {}
                Err(error) => say_error(&error),
            }
        });
    };
    let has = move |name: &str| view.get().joined.iter().any(|known| known.name == name);
    let row = |known: JoinedNetwork| {
        let name = known.name.clone();
        let label = if known.is_group {
            words().with("network-group", &[("name", known.name.into())])
        } else {
            t(&format!("network-{}", known.name))
        };
        let leave = move |()| act(Command::Network(NetworkCommand::Leave { name: Some(name.clone()) }));
        view! { <li class="row spread"><span>{label}</span><Ask label="network-leave" sure="network-leave-sure" yes="network-leave" on_yes=leave /></li> }
    };
    view! {
        <section class="card stack" aria-label=move || t("network-joined")>
            <h2>{move || t("network-joined")}</h2>
            <ul>{move || view.get().joined.into_iter().map(row).collect_view()}</ul>
            <div class="row">
                <Show when=move || !has("lan")><button id="join-lan" class="primary" on:click=move |_| join("lan".to_owned())>{move || t("network-join-lan")}</button></Show>
                <button id="invite" on:click=make_invite>{move || t("network-invite")}</button>
            </div>
            {move || invite.get().map(|(group, text)| view! { <Invitation group text on_close=move |()| invite.set(None) /> })}
            <form class="row" on:submit=move |event| { event.prevent_default(); join(text.get()); }>
                <label class="grow">{move || t("network-join-label")}
                    <input id="join-text" type="text" autocomplete="off" prop:value=move || text.get() on:input=move |event| text.set(event_target_value(&event)) />
                </label>
                <button type="submit" disabled=move || text.with(|text| text.trim().is_empty())>{move || t("network-join")}</button>
            </form>
        </section>
    }
}

/// An invitation for another device to scan or type.
#[component]
fn Invitation(group: String, text: String, #[prop(into)] on_close: Callback<()>) -> impl IntoView {
    // Black on white in both colour schemes, as cameras need it.
    let code = QrCode::new(text.as_bytes())
        .map(|code| code.render::<svg::Color<'_>>().min_dimensions(200, 200).build())
        .unwrap_or_default();
    let said = words().with("network-invite-text", &[("name", group.into())]);
    view! {
        <div class="stack invitation" role="group" aria-label=move || t("network-invite")>
            <p>{said}</p>
            <div class="qr" role="img" aria-label=move || t("network-qr") inner_html=code></div>
            <textarea id="invite-text" readonly rows="4" aria-label=move || t("network-invite") prop:value=text></textarea>
            <button on:click=move |_| on_close.run(())>{move || t("close")}</button>
        </div>
    }
}

#[component]
fn Peers(view: Memo<NetworkView>) -> impl IntoView {
    let friends =
        move || view.get().peers.into_iter().filter(|peer| !peer.network.is_empty()).collect::<Vec<_>>();
    view! {
        <section class="card" aria-label=move || t("network-devices")>
            <h2>{move || t("network-devices")}</h2>
            {move || words().own_clock(&view.get()).map(|text| view! { <p class="meta">{text}</p> })}
            <Show when=move || !friends().is_empty() fallback=|| view! { <p class="meta">{move || t("network-nobody")}</p> }>
                <ul class="peers" id="peers">{move || friends().into_iter().map(|peer| view! { <PeerRow peer /> }).collect_view()}</ul>
            </Show>
        </section>
    }
}

#[component]
fn PeerRow(peer: PeerView) -> impl IntoView {
    let words = words();
    let link = match peer.path {
        PeerPath::Relayed => {
            words.with("network-link-relayed", &[("transport", peer.transport.clone().into())])
        }
        PeerPath::Direct | PeerPath::None => {
            words.with("network-link-direct", &[("transport", peer.transport.clone().into())])
        }
    };
    let time = peer.round_trip_ms.map(|millis| format!(" · {millis} ms")).unwrap_or_default();
    let clock = words.clock_of_peer(&peer).map(|text| view! { <p class="meta">{text}</p> });
    let lends = if peer.duty == 0 {
        words.t("network-resting")
    } else {
        words.with(
            "network-lends",
            &[("free", f64::from(peer.free).into()), ("slots", f64::from(peer.slots).into())],
        )
    };
    let work = match (peer.lent, peer.hosted) {
        (0, 0) => String::new(),
        (lent, 0) => words.with("network-lent", &[("n", f64::from(lent).into())]),
        (_, hosted) => words.with("network-hosted", &[("n", f64::from(hosted).into())]),
    };
    view! {
        <li class="row spread" title=peer.id>
            <div class="grow"><p>{peer.name}</p><p class="meta">{link}{time}</p>{clock}</div>
            <div class="right"><p class="meta">{lends}</p><p class="meta">{work}</p></div>
        </li>
    }
}
