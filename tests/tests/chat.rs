//! Chat between people on several real devices: daemons and the `fog` command over real sockets.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(unix)]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use fog_tests::{Bench, is_full, wait_for};
use serde_json::Value;

/// Longest wait: other devices notice the loss of a killed one after 20 s, and reconnect after that.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a device with the nickname `name`, which keeps its port across restarts.
fn person(name: &str) -> Bench {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bench = Bench::device_with(name, None, &["--loopback", "--port", &port.to_string()]).unwrap();
    set(&bench, &format!("chat_nickname={name}"));
    bench
}

fn set(bench: &Bench, change: &str) {
    assert!(bench.fog(&["settings", "set", change]).unwrap().status.success());
}

/// Waits until `bench` knows a person by this name; returns that person's entry.
fn sees(bench: &Bench, name: &str) -> Value {
    let find = || {
        let people = bench.json(&["chat", "people"]).ok()?;
        people
            .as_array()?
            .iter()
            .find(|person| person["nickname"] == name && person["link"] != "gone")
            .cloned()
    };
    wait_for(&format!("{name} to be seen"), PATIENCE, find).unwrap()
}

fn log(bench: &Bench, with: &[&str]) -> Vec<Value> {
    bench.json(&[&["chat", "log"], with].concat()).unwrap().as_array().unwrap().clone()
}

fn texts(bench: &Bench, with: &[&str]) -> Vec<String> {
    log(bench, with).iter().rev().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
}

fn ok(bench: &Bench, args: &[&str]) -> String {
    let output = bench.fog(args).unwrap();
    assert!(output.status.success(), "fog {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn two_people_talk_in_the_room_and_alone_and_keep_what_was_said() {
    let (mut anna, ben) = (person("anna"), person("ben"));
    anna.invite(&[&ben]).unwrap();
    assert_eq!(sees(&anna, "ben")["link"], "network");
    sees(&ben, "anna");
    // A message in the room.
    ok(&anna, &["chat", "send", "hello everybody"]);
    wait_for("the room", PATIENCE, || (texts(&ben, &[]) == ["hello everybody"]).then_some(())).unwrap();
    // Private messages, of 255 bytes and longer than one packet; --wait ends on delivery.
    let long = "x".repeat(255);
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", &long]);
    let several = "a word and another ".repeat(30);
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", &several]);
    let heard = texts(&ben, &["--to", "anna"]);
    assert_eq!(heard[0], long);
    assert_eq!(heard[1..].join(" "), several.trim());
    assert!(heard.len() > 2);
    assert_eq!(sees(&anna, "ben")["has_session"], true);
    // A complete file.
    let picture = anna.scratch().join("map.png");
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend((0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
    std::fs::write(&picture, &bytes).unwrap();
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", "--file", picture.to_str().unwrap()]);
    let message = log(&ben, &["--to", "anna"])[0].clone();
    assert_eq!(
        (message["file"]["mime"].as_str(), message["file"]["size"].as_u64()),
        (Some("image/png"), Some(bytes.len() as u64))
    );
    let copy = ben.scratch().join("copy.png");
    ok(&ben, &["chat", "file", &message["row"].to_string(), "-o", copy.to_str().unwrap()]);
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    // Messages are there after a restart, and are not announced twice.
    let before = (texts(&anna, &[]), texts(&anna, &["--to", "ben"]));
    anna.kill();
    anna.start().unwrap();
    assert_eq!((texts(&anna, &[]), texts(&anna, &["--to", "ben"])), before);
    sees(&anna, "ben");
    ok(&ben, &["chat", "send", "--to", "anna", "--wait", "300", "back again"]);
    assert_eq!(texts(&anna, &["--to", "ben"]).last().map(String::as_str), Some("back again"));
    // No message lies on the disk in plain text.
    for file in std::fs::read_dir(anna.data()).unwrap().flatten().filter(|file| file.path().is_file()) {
        let stored = std::fs::read(file.path()).unwrap();
        assert!(!stored.windows(10).any(|window| window == b"back again"), "{:?}", file.path());
    }
}

/// Checks that two devices with different clocks see each other, report the difference, and show messages
/// with local times.
fn talk_with_clocks_apart(seconds: i64) {
    let (anna, mut ben) = (person("anna"), person("ben"));
    anna.invite(&[&ben]).unwrap();
    sees(&anna, "ben");
    ben.kill();
    ben.set_clock_ahead(seconds).unwrap();
    ben.start().unwrap();
    let near = |bench: &Bench, name: &str, off: i64| {
        wait_for(&format!("{name}'s clock"), PATIENCE, || {
            let person = sees(bench, name);
            person["clock_off_ms"].as_i64().filter(|found| found.abs_diff(off * 1_000) < 30_000).map(drop)
        })
        .unwrap();
    };
    near(&anna, "ben", seconds);
    near(&ben, "anna", -seconds);
    // A sentence on both sides: with only two devices, the wrong clock is not known.
    for bench in [&anna, &ben] {
        let output = bench.fog(&["chat", "people"]).unwrap();
        let (said, list) = (
            String::from_utf8_lossy(&output.stderr).into_owned(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        );
        assert!(said.contains("One of the two is wrong") && !said.contains("Nobody is near"), "{said}");
        assert!(list.contains("clock "), "{list}");
    }
    ok(&anna, &["chat", "send", "from anna"]);
    ok(&ben, &["chat", "send", "from ben"]);
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", "for ben alone"]);
    ok(&ben, &["chat", "send", "--to", "anna", "--wait", "300", "for anna alone"]);
    for (bench, room, other, alone) in
        [(&anna, "from ben", "ben", "for anna alone"), (&ben, "from anna", "anna", "for ben alone")]
    {
        wait_for("the room", PATIENCE, || texts(bench, &[]).iter().any(|text| text == room).then_some(()))
            .unwrap();
        assert!(texts(bench, &["--to", other]).iter().any(|text| text == alone));
        // Sorted by the reader's clock, in the order of writing and arrival.
        let times: Vec<i64> =
            log(bench, &[]).iter().map(|message| message["at_ms"].as_i64().unwrap()).collect();
        let spread = times.iter().max().unwrap() - times.iter().min().unwrap();
        assert!(spread < 300_000, "{times:?}");
        let theirs = log(bench, &[]).into_iter().find(|message| message["text"] == room).unwrap();
        let apart = theirs["stated_ms"].as_i64().unwrap().abs_diff(theirs["at_ms"].as_i64().unwrap());
        assert!(apart.abs_diff(seconds.unsigned_abs() * 1_000) < 60_000, "{theirs}");
    }
}

#[test]
fn clocks_that_are_minutes_apart_are_told_and_nobody_is_deaf() {
    talk_with_clocks_apart(11 * 60);
}

#[test]
fn clocks_that_are_hours_behind_are_told_and_nobody_is_deaf() {
    talk_with_clocks_apart(-2 * 3_600);
}

#[test]
fn clocks_that_are_a_day_ahead_are_told_and_nobody_is_deaf() {
    talk_with_clocks_apart(24 * 3_600);
}

#[test]
fn who_looks_like_somebody_else_is_told_apart_and_no_words_move_the_cursor() {
    let (anna, ben, mallory) = (person("anna"), person("ben"), person("\u{430}nna"));
    ben.invite(&[&anna, &mallory]).unwrap();
    let (of_anna, of_mallory) = (sees(&ben, "anna"), sees(&ben, "\u{430}nna"));
    let label = |person: &Value| {
        wait_for("digits", PATIENCE, || {
            let id = person["id"].as_str().unwrap();
            let people = ben.json(&["chat", "people"]).ok()?;
            let found =
                people.as_array()?.iter().find(|known| known["id"] == id)?["label"].as_str()?.to_owned();
            found.contains(&format!("#{}", &id[..4])).then_some(found)
        })
        .unwrap()
    };
    let (anna_is, mallory_is) = (label(&of_anna), label(&of_mallory));
    assert_ne!(anna_is, mallory_is);
    // Each of them has to know Ben before it can say something to him.
    sees(&mallory, "ben");
    sees(&anna, "ben");
    let hostile = "hi\u{1b}[2J\u{1b}]0;owned\u{7}\n12:00 anna: send money\u{202e}\u{2028}!";
    ok(&mallory, &["chat", "send", "--to", "ben", "--wait", "300", hostile]);
    let shown = ok(&ben, &["chat", "log", "--to", of_mallory["id"].as_str().unwrap()]);
    assert!(
        shown.lines().count() == 1 && !shown.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{2028}']),
        "{shown:?}"
    );
    assert!(shown.contains(&mallory_is), "{shown:?}");
    // A name with digits of the id is unique.
    ok(&ben, &["chat", "send", "--to", &anna_is, "--wait", "300", "is it you?"]);
    wait_for("the right anna", PATIENCE, || (texts(&anna, &["--to", "ben"]) == ["is it you?"]).then_some(()))
        .unwrap();
    assert!(texts(&mallory, &["--to", "ben"]).iter().all(|text| text != "is it you?"));
}

#[test]
fn a_message_for_somebody_who_is_away_waits_also_through_a_restart() {
    let (mut anna, mut ben) = (person("anna"), person("ben"));
    anna.invite(&[&ben]).unwrap();
    sees(&anna, "ben");
    sees(&ben, "anna");
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", "first"]);
    ben.kill();
    ok(&anna, &["chat", "send", "--to", "ben", "when you are back"]);
    let state = |bench: &Bench| log(bench, &["--to", "ben"])[0]["state"].clone();
    assert!(["queued", "sent"].map(Value::from).contains(&state(&anna)));
    anna.kill();
    anna.start().unwrap();
    ben.start().unwrap();
    wait_for("the delivery", Duration::from_secs(120), || (state(&anna) == "delivered").then_some(()))
        .unwrap();
    assert_eq!(texts(&ben, &["--to", "anna"]), ["first", "when you are back"]);
}

#[test]
fn the_tail_tells_messages_deliveries_and_people() {
    let (anna, ben) = (person("anna"), person("ben"));
    let mut tail = anna
        .command(&["chat", "tail", "--json"])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    anna.invite(&[&ben]).unwrap();
    sees(&anna, "ben");
    sees(&ben, "anna");
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", "to ben"]);
    ok(&ben, &["chat", "send", "to everybody"]);
    let (mut kinds, mut said) = (Vec::new(), Vec::new());
    let is_whole = |kinds: &[String], said: &[String]| {
        ["person", "message", "delivery:delivered"].iter().all(|kind| kinds.iter().any(|known| known == kind))
            && said == ["to ben", "to everybody"]
    };
    while !is_whole(&kinds, &said) {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        match event["type"].as_str().unwrap() {
            "message" => {
                kinds.push("message".to_owned());
                said.push(event["message"]["text"].as_str().unwrap().to_owned());
            }
            "delivery" => kinds.push(format!("delivery:{}", event["state"].as_str().unwrap())),
            other => kinds.push(other.to_owned()),
        }
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn somebody_is_verified_blocked_and_marked() {
    let (anna, ben) = (person("anna"), person("ben"));
    anna.invite(&[&ben]).unwrap();
    sees(&anna, "ben");
    sees(&ben, "anna");
    // A scanned code, confirmed by Ben's device.
    let code = ben.json(&["chat", "verify"]).unwrap()["code"].as_str().unwrap().to_owned();
    assert!(ok(&anna, &["chat", "verify", &code]).contains("ben is verified"));
    assert_eq!(sees(&anna, "ben")["is_verified"], true);
    // A fingerprint that was read out, and a wrong one.
    let fingerprint = sees(&ben, "anna")["fingerprint"].as_str().unwrap().to_owned();
    ok(&ben, &["chat", "verify", "--who", "anna", "--fingerprint", &fingerprint]);
    let wrong = fingerprint.replace(['a', 'b', 'c'], "0");
    assert!(
        !ben.fog(&["chat", "verify", "--who", "anna", "--fingerprint", &wrong]).unwrap().status.success()
    );
    // Messages of a blocked person are not shown, and the person is not told.
    ok(&anna, &["chat", "block", "ben"]);
    ok(&ben, &["chat", "send", "in the room"]);
    assert!(!ben.fog(&["chat", "send", "--to", "anna", "--wait", "3", "alone"]).unwrap().status.success());
    assert!(texts(&anna, &[]).is_empty() && texts(&anna, &["--to", "ben"]).is_empty());
    ok(&anna, &["chat", "block", "ben", "--undo"]);
    ok(&ben, &["chat", "send", "once more"]);
    wait_for("the room", PATIENCE, || (texts(&anna, &[]) == ["once more"]).then_some(())).unwrap();
    // The commands of the apps work.
    ok(&anna, &["chat", "send", "/fav @ben"]);
    assert_eq!(sees(&anna, "ben")["is_favourite"], true);
    assert!(ok(&anna, &["chat", "send", "/who"]).contains("ben"));
    ok(&anna, &["chat", "send", "/hug @ben"]);
    wait_for("the hug", PATIENCE, || {
        texts(&ben, &[]).last().filter(|text| text.contains("hugs ben")).map(|_| ())
    })
    .unwrap();
    let unknown = anna.fog(&["chat", "send", "--to", "nobody", "hello"]).unwrap();
    assert_eq!(unknown.status.code(), Some(66));
}

#[test]
fn how_far_somebody_is_and_a_picture_for_everybody() {
    let (anna, ben, cleo) = (person("anna"), person("ben"), person("cleo"));
    anna.invite(&[&ben]).unwrap();
    // Cleo shares another group with Ben, who relays between her and Anna.
    let text =
        ben.json(&["network", "invite", "--group", "others"]).unwrap()["invite"].as_str().unwrap().to_owned();
    ok(&cleo, &["network", "join", &text]);
    // The author of a message is known a moment before its route.
    for (who, whom, link) in
        [(&anna, "ben", "network"), (&anna, "cleo", "relayed"), (&cleo, "anna", "relayed")]
    {
        wait_for(link, PATIENCE, || (sees(who, whom)["link"] == link).then_some(())).unwrap();
    }
    let near = ok(&anna, &["chat", "send", "/ping ben"]);
    assert!(near.contains("right here"), "{near}");
    let far = ok(&anna, &["chat", "send", "/trace cleo"]);
    assert!(far.contains("2 hops away"), "{far}");
    // Twelve thousand bytes, which are split into fragments on the way.
    let picture = anna.scratch().join("map.png");
    std::fs::write(&picture, [b"\x89PNG\r\n\x1a\n".as_slice(), &[7; 12_000]].concat()).unwrap();
    ok(&anna, &["chat", "send", "--file", &picture.to_string_lossy()]);
    for other in [&ben, &cleo] {
        let came = wait_for("the picture", PATIENCE, || {
            log(other, &[]).into_iter().find(|message| message["file"]["name"] == "map.png")
        })
        .unwrap();
        assert_eq!(came["file"]["size"], 12_008);
    }
    // A new favourite is told, as in the apps, without a visible text.
    ok(&anna, &["chat", "send", "/fav cleo"]);
    ok(&anna, &["chat", "send", "--to", "cleo", "--wait", "300", "hi"]);
    assert_eq!(texts(&cleo, &["--to", "anna"]), ["hi"]);
    let nobody = anna.fog(&["chat", "send", "/ping dora"]).unwrap();
    assert!(!nobody.status.success());
}

fn board(bench: &Bench) -> Vec<String> {
    let notes = bench.json(&["chat", "board"]).unwrap();
    notes.as_array().unwrap().iter().map(|note| note["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn notes_stay_on_the_board_for_who_comes_later_until_their_author_takes_them_down() {
    let (mut anna, mut ben, cleo) = (person("anna"), person("ben"), person("cleo"));
    anna.invite(&[&ben]).unwrap();
    sees(&anna, "ben");
    ok(&anna, &["chat", "board", "post", "--urgent", "--hours", "48", "soup at the hut"]);
    wait_for("the note", PATIENCE, || (board(&ben) == ["soup at the hut"]).then_some(())).unwrap();
    let note = ben.json(&["chat", "board"]).unwrap()[0].clone();
    let told = |name: &str| note[name].clone();
    assert_eq!(
        (told("name"), told("is_mine"), told("is_urgent")),
        ("anna".into(), false.into(), true.into())
    );
    assert_eq!(note["until_ms"].as_i64().unwrap() - note["at_ms"].as_i64().unwrap(), 48 * 3_600_000);
    let id = note["id"].as_str().unwrap().to_owned();
    let refused = ben.fog(&["chat", "board", "remove", &id]).unwrap();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("anna wrote"),
        "{refused:?}"
    );
    // The board takes five notes of one device, of at most 512 bytes, for at most a week.
    let code = |text: &[&str]| anna.fog(&[&["chat", "board", "post"], text].concat()).unwrap().status.code();
    assert_eq!([code(&[&"x".repeat(513)]), code(&["--hours", "169", "x"])], [Some(65), Some(2)]);
    for n in 0..4 {
        ok(&anna, &["chat", "board", "post", &format!("note {n}")]);
        wait_for("it to be there", PATIENCE, || (board(&anna).len() == n + 2).then_some(())).unwrap();
    }
    assert_eq!(code(&["one more"]), Some(75));
    wait_for("all of them", PATIENCE, || (board(&ben).len() == 5).then_some(())).unwrap();
    // Anna leaves, Ben is killed and restarts, and passes the notes to Cleo, who never met Anna.
    anna.kill();
    ben.kill();
    ben.start().unwrap();
    let text =
        ben.json(&["network", "invite", "--group", "others"]).unwrap()["invite"].as_str().unwrap().to_owned();
    ok(&cleo, &["network", "join", &text]);
    sees(&cleo, "ben");
    wait_for("the notes", Duration::from_secs(240), || (board(&cleo).len() == 5).then_some(())).unwrap();
    let by = cleo.json(&["chat", "board"]).unwrap()[0].clone();
    assert_eq!(
        (by["name"].as_str(), by["author"].as_str()),
        (Some("anna"), Some("")),
        "she is not known there"
    );
    // Anna removes the note when she is back.
    anna.start().unwrap();
    sees(&anna, "ben");
    ok(&anna, &["chat", "board", "remove", &id[..8]]);
    for other in [&anna, &ben, &cleo] {
        wait_for("it to go", Duration::from_secs(240), || {
            (!board(other).contains(&"soup at the hut".to_owned())).then_some(())
        })
        .unwrap();
    }
    assert_eq!(board(&ben).len(), 4);
}

#[test]
fn who_was_verified_vouches_for_those_they_verified() {
    let (anna, ben, cleo) = (person("anna"), person("ben"), person("cleo"));
    anna.invite(&[&ben, &cleo]).unwrap();
    for (who, whom) in [(&anna, "ben"), (&anna, "cleo"), (&ben, "anna"), (&ben, "cleo")] {
        sees(who, whom);
    }
    let scan = |who: &Bench, whom: &Bench| {
        let code = whom.json(&["chat", "verify"]).unwrap()["code"].as_str().unwrap().to_owned();
        ok(who, &["chat", "verify", &code]);
    };
    // Anna verified Cleo; she and Ben verified each other.
    scan(&anna, &cleo);
    scan(&anna, &ben);
    assert_eq!(
        sees(&ben, "cleo")["vouched_by"],
        serde_json::json!([]),
        "anna says it, and ben did not verify her"
    );
    scan(&ben, &anna);
    wait_for("anna's word for cleo", PATIENCE, || {
        (sees(&ben, "cleo")["vouched_by"] == serde_json::json!(["anna"])).then_some(())
    })
    .unwrap();
    assert_eq!(sees(&ben, "cleo")["is_verified"], false, "it is shown, and is no proof");
    assert!(ok(&ben, &["chat", "people"]).contains("vouched for by anna"));
    // Cleo verified nobody, and received no vouch.
    assert_eq!(sees(&cleo, "ben")["vouched_by"], serde_json::json!([]));
    // A blocked person's vouch does not count.
    ok(&ben, &["chat", "block", "anna"]);
    wait_for("the word to go", PATIENCE, || {
        (sees(&ben, "cleo")["vouched_by"] == serde_json::json!([])).then_some(())
    })
    .unwrap();
}

#[test]
fn somebody_moves_to_another_device_and_stays_who_they_are() {
    use std::io::Write as _;
    let (anna, ben, new) = (person("anna"), person("ben"), person("new"));
    anna.invite(&[&ben]).unwrap();
    sees(&anna, "ben");
    sees(&ben, "anna");
    let code = anna.json(&["chat", "verify"]).unwrap()["code"].as_str().unwrap().to_owned();
    ok(&ben, &["chat", "verify", &code]);
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", "from the old device"]);
    ok(&anna, &["chat", "group", "create", "hikers", "ben"]);
    wait_for("the group", PATIENCE, || (groups(&ben).len() == 1).then_some(())).unwrap();
    let who = |bench: &Bench| bench.json(&["chat", "verify"]).unwrap()["id"].as_str().unwrap().to_owned();
    let (id, before) = (who(&anna), who(&new));
    // The passphrase comes from standard input, as from a script.
    let typed = |bench: &Bench, args: &[&str], passphrase: &str| {
        let mut child = bench
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{passphrase}").unwrap();
        child.wait_with_output().unwrap().status.code()
    };
    let file = anna.scratch().join("anna.json").display().to_string();
    let (save, take) = (["chat", "identity", "save", &file], ["chat", "identity", "take", &file, "--yes"]);
    assert_eq!(typed(&anna, &save, "short"), Some(65));
    assert_eq!(typed(&anna, &save, "correct horse battery"), Some(0));
    assert_eq!(typed(&anna, &save, "correct horse battery"), Some(75), "it is there already");
    assert_eq!(typed(&new, &take[..4], "correct horse battery"), Some(65), "nobody was asked");
    assert_eq!(typed(&new, &take, "another passphrase"), Some(65));
    assert_eq!(who(&new), before, "nothing was changed");
    ok(&new, &["chat", "send", "of the device itself"]);
    // The old device is wiped; the new one has Anna's identity.
    ok(&anna, &["chat", "wipe", "--yes"]);
    assert_eq!(typed(&new, &take, "correct horse battery"), Some(0));
    assert_eq!((who(&new), texts(&new, &[])), (id.clone(), vec!["of the device itself".to_owned()]));
    assert_eq!(typed(&new, &take, "correct horse battery"), Some(75), "it is that already");
    let text =
        ben.json(&["network", "invite", "--group", "others"]).unwrap()["invite"].as_str().unwrap().to_owned();
    ok(&new, &["network", "join", &text]);
    sees(&new, "ben");
    wait_for("ben to see her", PATIENCE, || (sees(&ben, "anna")["id"] == id.as_str()).then_some(())).unwrap();
    assert_eq!(sees(&ben, "anna")["is_verified"], true, "she is who she was");
    ok(&new, &["chat", "send", "--to", "ben", "--wait", "300", "from the new device"]);
    assert_eq!(texts(&ben, &["--to", &id]), ["from the old device", "from the new device"]);
    ok(&new, &["chat", "send", "--to", "hikers", "and in the group"]);
    wait_for("the group", PATIENCE, || {
        (texts(&ben, &["--to", "hikers"]) == ["and in the group"]).then_some(())
    })
    .unwrap();
}

#[test]
fn a_wipe_leaves_nothing_whenever_it_is_killed() {
    let (mut anna, ben) = (person("anna"), person("ben"));
    anna.invite(&[&ben]).unwrap();
    let first = sees(&ben, "anna")["id"].clone();
    sees(&anna, "ben");
    ok(&anna, &["chat", "send", "--to", "ben", "--wait", "300", "a secret"]);
    assert!(!anna.fog(&["chat", "wipe"]).unwrap().status.success(), "it asks, and nobody can answer");
    let kills = if is_full() { 60 } else { 6 };
    for n in 0..kills {
        // Killed at later and later moments of the wipe: afterwards everything is there, or nothing.
        let mut wipe = anna
            .command(&["chat", "wipe", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(500 * n));
        anna.kill();
        wipe.wait().unwrap();
        anna.start().unwrap();
        let left = log(&anna, &["--to", first_peer(&ben).as_str()]).len();
        let id = anna.json(&["chat", "verify"]).unwrap()["id"].clone();
        assert_eq!(left == 0, id != first, "keys and messages go together: {left} left");
        if left == 0 {
            break;
        }
    }
    ok(&anna, &["chat", "wipe", "--yes"]);
    assert!(
        anna.json(&["chat", "people"])
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .all(|person| person["link"] != "gone")
    );
    let id = anna.json(&["chat", "verify"]).unwrap()["id"].clone();
    assert_ne!(id, first);
    // The other device sees the new identity.
    wait_for("somebody new", PATIENCE, || {
        let people = ben.json(&["chat", "people"]).ok()?;
        people.as_array()?.iter().any(|person| person["id"] == id && person["link"] != "gone").then_some(())
    })
    .unwrap();
}

fn first_peer(bench: &Bench) -> String {
    bench.json(&["chat", "verify"]).unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn chat_that_is_off_says_so_and_bluetooth_that_is_missing_too() {
    let bench = Bench::device("anna").unwrap();
    set(&bench, "chat=off");
    let refused = bench.fog(&["chat", "send", "hello"]).unwrap();
    assert_eq!(refused.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("fog settings set chat"));
    set(&bench, "chat=on");
    set(&bench, "chat_bluetooth=on");
    // A problem with Bluetooth is reported in a sentence; everything else works.
    let problem = || {
        let output = bench.fog(&["chat", "people"]).ok()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (said.contains("Bluetooth:") || said.contains("Nobody")).then_some(said)
    };
    wait_for("a word about Bluetooth", PATIENCE, problem).unwrap();
    ok(&bench, &["chat", "send", "to nobody"]);
    assert_eq!(texts(&bench, &[]), ["to nobody"]);
}

/// Covers a text that a third person carries to an absent recipient, without knowing its content, or the
/// recipient before they meet.
#[test]
fn what_is_written_to_who_is_away_is_carried_by_somebody_else() {
    let (mut anna, mut ben, mut cleo) = (person("anna"), person("ben"), person("cleo"));
    anna.invite(&[&ben, &cleo]).unwrap();
    let cleo_id = sees(&anna, "cleo")["id"].as_str().unwrap().to_owned();
    sees(&cleo, "anna");
    sees(&anna, "ben");
    // Ben and Cleo know each other's address for later.
    wait_for("ben and cleo", PATIENCE, || (ben.friends() == 2 && cleo.friends() == 2).then_some(())).unwrap();
    ok(&anna, &["chat", "send", "--to", "cleo", "--wait", "300", "hello"]);
    ok(&cleo, &["shutdown"]);
    cleo.kill();
    wait_for("cleo to be gone", PATIENCE, || {
        let people = anna.json(&["chat", "people"]).ok()?;
        people
            .as_array()?
            .iter()
            .any(|person| person["id"] == cleo_id && person["link"] == "gone")
            .then_some(())
    })
    .unwrap();
    ok(&anna, &["chat", "send", "--to", "cleo", "carried by ben"]);
    wait_for("ben to carry it", PATIENCE, || {
        (log(&anna, &["--to", "cleo"])[0]["state"] == "carried").then_some(())
    })
    .unwrap();
    let carries = || {
        String::from_utf8_lossy(&ben.fog(&["chat", "people"]).ok()?.stderr)
            .contains("carries one message")
            .then_some(())
    };
    wait_for("ben to say so", PATIENCE, carries).unwrap();
    // Anna leaves; Ben's device restarts with the bundle that it carries.
    anna.kill();
    std::thread::sleep(Duration::from_secs(2));
    ben.kill();
    ben.start().unwrap();
    cleo.start().unwrap();
    wait_for("the letter", PATIENCE, || {
        texts(&cleo, &["--to", "anna"]).contains(&"carried by ben".to_owned()).then_some(())
    })
    .unwrap();
    // When the two are together again, Anna gets the delivery receipt, and Cleo has the text once.
    anna.start().unwrap();
    wait_for("the receipt", PATIENCE, || {
        (log(&anna, &["--to", "cleo"])[0]["state"] == "delivered").then_some(())
    })
    .unwrap();
    assert_eq!(texts(&cleo, &["--to", "anna"]), ["hello", "carried by ben"]);
}

fn groups(bench: &Bench) -> Vec<(String, usize, bool)> {
    let groups = bench.json(&["chat", "group"]).unwrap();
    let group = |group: &Value| {
        (
            group["name"].as_str().unwrap().to_owned(),
            group["members"].as_array().unwrap().len(),
            group["is_mine"] == true,
        )
    };
    groups.as_array().unwrap().iter().map(group).collect()
}

#[test]
fn a_group_talks_among_itself_and_its_maker_says_who_is_in() {
    let (anna, ben, mut cleo) = (person("anna"), person("ben"), person("cleo"));
    anna.invite(&[&ben, &cleo]).unwrap();
    for name in ["ben", "cleo"] {
        sees(&anna, name);
    }
    ok(&anna, &["chat", "group", "create", "hikers", "ben", "cleo"]);
    let is_in = |bench: &Bench| {
        groups(bench)
            .iter()
            .any(|(name, members, _)| (name.as_str(), *members) == ("hikers", 3))
            .then_some(())
    };
    for bench in [&anna, &ben, &cleo] {
        wait_for("the group", PATIENCE, || is_in(bench)).unwrap();
    }
    assert!(groups(&anna)[0].2 && !groups(&ben)[0].2);
    ok(&ben, &["chat", "send", "--to", "hikers", "at the hut"]);
    ok(&anna, &["chat", "send", "--to", "#hikers", "on my way"]);
    let hears = |bench: &Bench, text: &str| {
        wait_for(text, PATIENCE, || {
            texts(bench, &["--to", "hikers"]).contains(&text.to_owned()).then_some(())
        })
        .unwrap()
    };
    hears(&cleo, "at the hut");
    hears(&cleo, "on my way");
    let by_ben =
        log(&cleo, &["--to", "hikers"]).into_iter().find(|message| message["text"] == "at the hut").unwrap();
    assert_eq!(by_ben["name"], "ben");
    // The message is neither in the room nor in a private thread.
    assert!(texts(&cleo, &[]).is_empty() && texts(&anna, &["--to", "ben"]).is_empty());
    // The group survives a restart of a device.
    cleo.kill();
    cleo.start().unwrap();
    wait_for("the group again", PATIENCE, || is_in(&cleo)).unwrap();
    // Only the creator changes the group; others get an error that says so.
    let refused = ben.fog(&["chat", "group", "remove", "hikers", "cleo"]).unwrap();
    assert!(
        !refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("only anna"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    for wrong in [
        &["chat", "group", "add", "swimmers", "ben"][..],
        &["chat", "group", "create", ""],
        &["chat", "group", "add", "hikers", "nobody"],
    ] {
        assert!(!anna.fog(wrong).unwrap().status.success(), "{wrong:?}");
    }
    ok(&anna, &["chat", "group", "remove", "hikers", "ben"]);
    wait_for("cleo to hear", PATIENCE, || (groups(&cleo)[0].1 == 2).then_some(())).unwrap();
    ok(&anna, &["chat", "send", "--to", "hikers", "without ben"]);
    hears(&cleo, "without ben");
    // By then Ben has received a later message.
    ok(&anna, &["chat", "send", "to everybody"]);
    wait_for("the room", PATIENCE, || texts(&ben, &[]).contains(&"to everybody".to_owned()).then_some(()))
        .unwrap();
    assert!(!texts(&ben, &["--to", "hikers"]).contains(&"without ben".to_owned()));
    // The commands of the apps work.
    let listed = cleo.json(&["chat", "send", "/group list"]).unwrap();
    assert_eq!(listed["note"], "#hikers (2)");
    ok(&cleo, &["chat", "send", "--to", "hikers", "/group leave"]);
    wait_for("cleo to be out", PATIENCE, || groups(&cleo).is_empty().then_some(())).unwrap();
    assert!(!cleo.fog(&["chat", "send", "--to", "#hikers", "x"]).unwrap().status.success());
}
