//! `fog devnet`: several real devices on this machine, each a daemon with a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fog_api::{Command, NetworkCommand, NetworkView, Reply, SettingsCommand, Snapshot};
use fog_ipc::Client;
use fog_types::ErrorKind;
use serde_json::Value;

use crate::args::DevnetArgs;
use crate::connect::{Context, absolute};
use crate::output::{Failure, print_json, print_table, print_text};
use crate::signals::Signals;

/// Longest time that a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device of the devnet; its daemon is stopped on drop.
struct Node {
    folder: PathBuf,
    daemon: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        // Errors mean that the daemon has ended already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Starts `count` devices, joins them to one group and shows them until interrupted.
pub async fn devnet(context: &Context, args: &DevnetArgs) -> Result<ExitCode, Failure> {
    let temporary = args
        .folder
        .is_none()
        .then(tempfile::tempdir)
        .transpose()
        .map_err(|e| Failure::storage(&std::env::temp_dir(), &e))?;
    let folder = match (&args.folder, &temporary) {
        (Some(folder), _) => absolute(folder)?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => return Err(Failure::bug("no folder")),
    };
    let program =
        std::env::current_exe().map_err(|e| Failure::bug(format!("this program cannot find itself: {e}")))?;
    let mut nodes = Vec::new();
    for number in 1..=args.count {
        nodes.push(start(&program, &folder.join(format!("node-{number}")))?);
    }
    let mut invite = String::new();
    for (at, node) in nodes.iter().enumerate() {
        let client = answering(node).await?;
        prepare(&client, at + 1).await?;
        if at == 0 {
            invite = first_invite(&client).await?;
        } else {
            client.call(Command::Network(NetworkCommand::Join { what: invite.clone() })).await?;
        }
    }
    let folders: Vec<String> = nodes.iter().map(|node| node.folder.display().to_string()).collect();
    if context.json {
        print_json(&serde_json::json!({ "folders": folders, "invite": invite }))?;
    } else {
        print_text(&format!("{} devices run. Give one of them a job:", nodes.len()));
        print_text(&format!(
            "  fog --data-dir {} submit --example lucas-lehmer --where grid --watch",
            folders[0]
        ));
        print_text("Ctrl-C stops them all.");
    }
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let mut signals = Signals::new().map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
    loop {
        tokio::select! {
            _ = signals.next() => break,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        if is_terminal && !context.json {
            show(&nodes).await;
        }
        if let Some(gone) = nodes.iter_mut().find_map(|node| {
            node.daemon.try_wait().ok().flatten().map(|status| (node.folder.clone(), status))
        }) {
            return Err(Failure::new(
                ErrorKind::NotRunning,
                format!(
                    "the device in {} ended with {}; its log is daemon.log there",
                    gone.0.display(),
                    gone.1
                ),
            ));
        }
    }
    for node in &nodes {
        if let Ok(client) = Client::connect(&fog_ipc::endpoint(&node.folder)).await {
            // A daemon that does not stop is killed on drop.
            let _ = client.call(Command::Shutdown).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start(program: &Path, folder: &Path) -> Result<Node, Failure> {
    fog_engine::make_private_folder(folder).map_err(|e| Failure::storage(folder, &e))?;
    let log_path = folder.join("daemon.log");
    let log = fog_engine::private_file()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&log_path)
        .map_err(|e| Failure::storage(&log_path, &e))?;
    let daemon = std::process::Command::new(program)
        .args(["daemon", "--loopback", "--port", "0"])
        .env("FOG_DATA_DIR", folder)
        // Each device has a key of its own; the keychain belongs to the person.
        .env("FOG_KEYCHAIN", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|e| Failure::bug(format!("a device cannot be started: {e}")))?;
    Ok(Node { folder: folder.to_owned(), daemon })
}

async fn answering(node: &Node) -> Result<Client, Failure> {
    let begun = Instant::now();
    loop {
        match Client::connect(&fog_ipc::endpoint(&node.folder)).await {
            Ok(client) => return Ok(client),
            Err(error) if begun.elapsed() > PATIENCE => return Err(Failure::of(&error)),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Configures a device to work at all times: nobody uses it, and all devices share one machine.
async fn prepare(client: &Client, number: usize) -> Result<(), Failure> {
    let on = [("contributing", true), ("run_while_in_use", true), ("run_on_battery", true)];
    let mut changes: std::collections::BTreeMap<String, Value> =
        on.map(|(key, value)| (key.to_owned(), value.into())).into();
    for (key, value) in [
        ("duty_in_use", 100.0),
        ("other_cpu_stop", 100.0),
        ("disk_free_min", 0.1),
        ("ram_available_min", 64.0),
        ("cores", 1.0),
        ("checkpoint_every", 5.0),
    ] {
        changes.insert(key.to_owned(), value.into());
    }
    changes.insert("unknown_idle".to_owned(), "allow".into());
    changes.insert("device_name".to_owned(), format!("node-{number}").into());
    client.call(Command::Settings(SettingsCommand::Set { changes })).await?;
    Ok(())
}

async fn first_invite(client: &Client) -> Result<String, Failure> {
    let group = Some("devnet".to_owned());
    let begun = Instant::now();
    loop {
        let Reply::Invite { text, .. } =
            client.call(Command::Network(NetworkCommand::Invite { group: group.clone() })).await?
        else {
            return Err(Failure::bug("no invitation"));
        };
        if let Reply::Network(view) = client.call(Command::Network(NetworkCommand::Show)).await?
            && (!view.addresses.is_empty() || begun.elapsed() > PATIENCE)
        {
            // The first invitation may date from before the device listened.
            let Reply::Invite { text: again, .. } =
                client.call(Command::Network(NetworkCommand::Invite { group })).await?
            else {
                return Ok(text);
            };
            return Ok(again);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn show(nodes: &[Node]) {
    let mut rows = vec![
        ["device", "peers", "running", "lent", "hosted", "finished jobs", "sent", "received"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for node in nodes {
        let Ok(client) = Client::connect(&fog_ipc::endpoint(&node.folder)).await else { continue };
        let Ok(Reply::Snapshot(snapshot)) = client.call(Command::Snapshot).await else { continue };
        rows.push(row(&snapshot));
    }
    // Moves to the top of the screen and clears it.
    print_text("\u{1b}[H\u{1b}[2J");
    print_table(&rows);
    print_text(&format!(
        "fog --data-dir {} submit … --where grid      Ctrl-C stops all",
        nodes[0].folder.display()
    ));
}

fn row(snapshot: &Snapshot) -> Vec<String> {
    let network: &NetworkView = &snapshot.network;
    let sum = |value: fn(&fog_api::PeerView) -> u32| network.peers.iter().map(value).sum::<u32>().to_string();
    vec![
        network.name.clone(),
        network.peers.len().to_string(),
        snapshot.status.active.len().to_string(),
        sum(|peer| peer.lent),
        sum(|peer| peer.hosted),
        snapshot.status.counts.finished.to_string(),
        fog_types::ByteCount(network.sent).to_string(),
        fog_types::ByteCount(network.received).to_string(),
    ]
}
