//! `fog network`, `fog peers`: other devices.

use std::process::ExitCode;

use fog_api::{
    Command, JobCommand, NetworkCommand, NetworkView, PeerPath, PeerView, PlacementCommand, ReachView, Reply,
};
use fog_ipc::Client;
use fog_types::job::GridOptions;
use fog_types::{ByteCount, JobId};
use fog_words::Words;
use qrcode::QrCode;
use qrcode::render::unicode;

use crate::args::NetworkVerb;
use crate::connect::{Context, now_ms, unexpected};
use crate::output::{Failure, print_json, print_table, print_text, say};

/// Runs `fog network …`.
pub async fn network(context: &Context, verb: NetworkVerb) -> Result<ExitCode, Failure> {
    let command = match verb {
        NetworkVerb::Status => Command::Network(NetworkCommand::Show),
        NetworkVerb::Join { what } => Command::Network(NetworkCommand::Join { what }),
        NetworkVerb::Leave { name } => Command::Network(NetworkCommand::Leave { name }),
        NetworkVerb::Invite { group } => Command::Network(NetworkCommand::Invite { group }),
    };
    match context.call(command).await? {
        Reply::Network(view) if context.json => print_json(&view)?,
        Reply::Network(view) => show(&view, &context.words_here().await),
        Reply::Invite { group, text } if context.json => {
            print_json(&serde_json::json!({ "group": group, "invite": text }))?
        }
        Reply::Invite { group, text } => {
            print_text(&format!(
                "Whoever has this becomes a member of the group '{group}' and shares work with it:"
            ));
            if let Ok(code) = QrCode::new(text.as_bytes()) {
                print_text(&code.render::<unicode::Dense1x2>().quiet_zone(true).build());
            }
            print_text(&format!("fog network join {text}"));
        }
        other => return Err(unexpected(&other)),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(view: &NetworkView, words: &Words) {
    if view.joined.is_empty() {
        print_text(
            "No network was joined; nothing listens. `fog network join lan` shares work with devices on the same network.",
        );
        return;
    }
    let joined: Vec<String> = view
        .joined
        .iter()
        .map(|known| if known.is_group { format!("group '{}'", known.name) } else { known.name.clone() })
        .collect();
    print_text(&format!("Joined: {}", joined.join(", ")));
    if !view.problem.is_empty() {
        print_text(&format!("Not taking part: {}", view.problem));
    }
    print_text(&format!("This device: {} ({})", view.name, view.id));
    print_text(match view.reach {
        ReachView::Unknown => "Reachable: on the local network; from elsewhere it is not known yet",
        ReachView::Public => "Reachable: from anywhere",
        ReachView::Relayed => "Reachable: through a relay",
    });
    let cap = if view.data_cap == 0 {
        "no limit".to_owned()
    } else {
        format!("limit {}", ByteCount(view.data_cap))
    };
    print_text(&format!(
        "Data in 30 days: {} received, {} sent ({cap})",
        ByteCount(view.received),
        ByteCount(view.sent)
    ));
    let related = view.peers.iter().filter(|peer| !peer.network.is_empty()).count();
    print_text(&format!("Devices here: {related}. `fog peers` lists them."));
    if let Some(text) = words.own_clock(view) {
        print_text(&text);
    }
}

/// Runs `fog peers`.
pub async fn peers(context: &Context) -> Result<ExitCode, Failure> {
    let list = match context.call(Command::Network(NetworkCommand::Peers)).await? {
        Reply::Peers(list) => list,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.is_empty() {
        print_text("No other device is known. `fog network join lan` looks for those on the same network.");
        return Ok(ExitCode::SUCCESS);
    }
    let (words, now) = (context.words_here().await, now_ms());
    let mut rows = vec![
        ["name", "network", "link", "there and back", "free", "lent", "hosted", "trust", "id"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let clocks: Vec<String> = list
        .iter()
        .filter_map(|peer| Some(format!("{}: {}.", peer.name, words.clock_of_peer(peer)?)))
        .collect();
    for peer in list {
        let link = link(&peer).unwrap_or_else(|| words.ago(peer.seen_ms, now));
        let time = peer.round_trip_ms.map_or_else(String::new, |ms| format!("{ms} ms"));
        let network = if peer.network.is_empty() { "-".to_owned() } else { peer.network };
        let trust = format!("{} %", peer.reliability / 10);
        rows.push(vec![
            peer.name,
            network,
            link,
            time,
            format!("{}/{}", peer.free, peer.slots),
            peer.lent.to_string(),
            peer.hosted.to_string(),
            trust,
            peer.id,
        ]);
    }
    print_table(&rows);
    if clocks.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    clocks.iter().for_each(|text| print_text(text));
    // The clock of this device is one that its owner may set; those of peers are not.
    if let Reply::Network(view) = context.call(Command::Network(NetworkCommand::Show)).await?
        && let Some(text) = words.own_clock(&view)
    {
        print_text(&text);
    }
    Ok(ExitCode::SUCCESS)
}

fn link(peer: &PeerView) -> Option<String> {
    match peer.path {
        PeerPath::Direct => Some(format!("{}, direct", peer.transport)),
        PeerPath::Relayed => Some(format!("{}, relayed", peer.transport)),
        PeerPath::None => None,
    }
}

/// Prints at once what a job for other devices lacks.
pub async fn explain_waiting(client: &Client, words: &Words, wish: Option<GridOptions>) {
    let Ok(Reply::Network(view)) = client.call(Command::Network(NetworkCommand::Show)).await else { return };
    let here = view.peers.iter().filter(|peer| !peer.network.is_empty()).count() as u32;
    let wanted = wish.map_or(1, |wish| wish.devices());
    if view.joined.is_empty() {
        say!("{}", words.t("grid-no-network"));
    } else if here == 0 {
        say!("{}", words.t("grid-nobody"));
    } else if here < wanted {
        say!(
            "{}",
            words
                .with("grid-too-few", &[("wanted", f64::from(wanted).into()), ("n", f64::from(here).into())])
        );
    }
}

/// Runs `fog job places`.
pub async fn places(context: &Context, client: &Client, id: JobId) -> Result<ExitCode, Failure> {
    let list = match client.call(Command::Placement(PlacementCommand::Places { id })).await? {
        Reply::Places(list) => list,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    if list.is_empty() {
        print_text("No other device has a task of this job now.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["task", "device", "state", "units", "done"].map(str::to_owned).to_vec()];
    let words = context.words_here().await;
    for place in list {
        let done = place.permille.map_or_else(String::new, |permille| format!("{} %", permille / 10));
        rows.push(vec![place.index.to_string(), place.name, place.state, words.units(place.units), done]);
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Runs `fog job map`: prints the Pareto front and the chosen point.
pub async fn map(
    context: &Context,
    client: &Client,
    submission: Command,
    grid: GridOptions,
) -> Result<ExitCode, Failure> {
    let Command::Jobs(JobCommand::Submit { job_file, folder, .. }) = submission else {
        return Err(Failure::input("a checkpoint is not placed: it goes on where it is submitted"));
    };
    let words = context.words_of(client).await;
    let command = Command::Placement(PlacementCommand::Plan { job_file, folder, grid });
    let files = crate::watch::files_of(&command) as f64;
    let working = |past| words.with("job-mapping", &[("n", files.into()), ("span", words.span(past).into())]);
    let view = match crate::patience::call(client, command, "mapping", working, context.json).await? {
        Reply::Placement(view) => view,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    print_text(&words.with(
        "map-tasks",
        &[("tasks", f64::from(view.tasks).into()), ("n", (view.front.len() as f64).into())],
    ));
    if view.planned > 0 && view.planned < view.tasks {
        print_text(&words.with("map-planned", &[("n", f64::from(view.planned).into())]));
    }
    let mut rows = vec![
        ["", "seconds", "units paid", "Wh", "risk", "uneven", "tasks on devices"].map(str::to_owned).to_vec(),
    ];
    for (at, point) in view.front.iter().enumerate() {
        let shares: Vec<String> =
            point.shares.iter().map(|(_, name, count)| format!("{name} {count}")).collect();
        rows.push(vec![
            if at == view.chosen { "→" } else { "" }.to_owned(),
            format!("{:.1}", point.seconds),
            format!("{:.2e}", point.cost),
            format!("{:.3}", point.energy),
            format!("{:.1} %", point.risk * 100.0),
            format!("{:.0} %", point.unfairness * 100.0),
            shares.join(", "),
        ]);
    }
    print_table(&rows);
    print_text(&format!("Taken: {}.", view.why));
    if view.waiting > 0 {
        print_text(&format!("{}.", words.with("choices-waiting", &[("n", f64::from(view.waiting).into())])));
    }
    Ok(ExitCode::SUCCESS)
}

/// Formats thousandths of a credit.
pub fn in_credits(milli: u64) -> String {
    format!("{:.3}", milli as f64 / 1000.0)
}

/// Runs `fog credits`.
pub async fn credits(context: &Context) -> Result<ExitCode, Failure> {
    let view = match context.call(Command::Credits).await? {
        Reply::Credits(view) => view,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let limit = if view.limit == 0 {
        "no limit".to_owned()
    } else {
        format!("at most {} may be owed", in_credits(view.limit))
    };
    print_text(&format!(
        "Earned {}, spent {}, put aside {} ({limit}).",
        in_credits(view.earned),
        in_credits(view.spent),
        in_credits(view.reserved)
    ));
    if view.peers.is_empty() {
        print_text("No work was done for or by another device yet.");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["device", "earned", "spent", "put aside", "id"].map(str::to_owned).to_vec()];
    for peer in view.peers {
        rows.push(vec![
            peer.name,
            in_credits(peer.earned),
            in_credits(peer.spent),
            in_credits(peer.reserved),
            peer.id,
        ]);
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}
