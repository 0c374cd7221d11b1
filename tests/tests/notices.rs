//! Notices that an engine sends to the desktop.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(unix)]

use std::time::Duration;

use fog_api::{EventBody, Notice};
use fog_tests::{Bench, wait_for};

/// Collects the notices of an engine until a job of this name has ended; returns the job names in them.
fn notices_until(bench: &Bench, last: &'static str) -> std::thread::JoinHandle<Vec<String>> {
    let endpoint = fog_ipc::endpoint(&bench.data());
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let listener = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = fog_ipc::Client::connect(&endpoint).await.unwrap();
            let mut events = client.subscribe().await;
            // The answer proves that the subscription is active.
            client.call(fog_api::Command::Snapshot).await.unwrap();
            ready.send(()).unwrap();
            let mut named = Vec::new();
            while let Ok(Some(event)) = events.next().await {
                if let EventBody::Notice(
                    Notice::JobFinished { name, .. }
                    | Notice::JobFailed { name, .. }
                    | Notice::JobStopped { name, .. },
                ) = event.body
                {
                    named.push(name);
                }
                if named.iter().any(|name| name == last) {
                    break;
                }
            }
            named
        })
    });
    is_ready.recv_timeout(Duration::from_secs(20)).unwrap();
    listener
}

fn finish(bench: &Bench, args: &[&str]) {
    let id = bench.json(&[&["submit"], args].concat()).unwrap()["id"].to_string();
    let is_finished =
        || (bench.json(&["job", "show", &id]).ok()?["summary"]["state"] == "finished").then_some(());
    wait_for("the end of a job", Duration::from_secs(90), is_finished).unwrap();
}

#[test]
fn the_end_of_somebody_elses_job_is_not_announced_on_this_desktop() {
    // The second device has the name that marks this device's own jobs.
    let (anna, ben) = (Bench::device("anna").unwrap(), Bench::device("this device").unwrap());
    ben.invite(&[&anna]).unwrap();
    let heard = notices_until(&anna, "own");
    let nothing = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
    let (theirs, own) =
        (ben.module("theirs.wasm", nothing).unwrap(), anna.module("own.wasm", nothing).unwrap());
    finish(&ben, &[theirs.to_str().unwrap(), "--where", "grid"]);
    assert_eq!(anna.json(&["jobs"]).unwrap().as_array().unwrap().len(), 1, "it was computed here");
    finish(&anna, &[own.to_str().unwrap()]);
    assert_eq!(heard.join().unwrap(), ["own"]);
}
