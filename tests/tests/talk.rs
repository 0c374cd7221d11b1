//! Two people chat with the real app in real windows.
//!
//! Needs programs that `cargo xtask setup` installs.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::time::Duration;

use fog_tests::wait_for;
use fog_tests::window::{Desk, Driver};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// Sets up a desk whose engine stays on this machine, with a nickname for its owner.
fn person(name: &str) -> Desk {
    let mut desk = Desk::set_up().unwrap();
    desk.bench.stay_on_loopback();
    desk.bench.start().unwrap();
    let name = format!("chat_nickname={name}");
    assert!(desk.bench.fog(&["settings", "set", "first_run_done=on", &name]).unwrap().status.success());
    desk
}

fn id_of(desk: &Desk) -> String {
    desk.bench.json(&["chat", "verify"]).unwrap()["id"].as_str().unwrap().to_owned()
}

fn sees(desk: &Desk, id: &str) {
    let find = || {
        desk.bench
            .json(&["chat", "people"])
            .ok()?
            .as_array()?
            .iter()
            .any(|person| person["id"] == id && person["link"] != "gone")
            .then_some(())
    };
    wait_for("somebody to be seen", PATIENCE, find).unwrap();
}

fn value(window: &Driver, code: &str) -> Value {
    window.script(code).unwrap()
}

fn count(window: &Driver, selector: &str) -> u64 {
    value(window, &format!("return document.querySelectorAll({selector:?}).length")).as_u64().unwrap()
}

#[test]
fn two_people_talk_in_their_windows() {
    let (anna, ben) = (person("anna"), person("ben"));
    let (anna_id, ben_id) = (id_of(&anna), id_of(&ben));
    anna.bench.invite(&[&ben.bench]).unwrap();
    sees(&anna, &ben_id);
    sees(&ben, &anna_id);
    let (a, b) = (anna.open().unwrap(), ben.open().unwrap());
    for window in [&a, &b] {
        window.click("#page-chat");
        // Contributing and Bluetooth are off, and both notices are shown.
        window.wait_text("#bluetooth-off", "Bluetooth", 15);
    }
    a.wait_text("#near", "ben", 15);

    // A message in the room.
    a.click("#thread-room");
    b.click("#thread-room");
    a.type_into("#chat-text", "hello everybody\n");
    b.wait_text("#messages", "hello everybody", 20);
    b.type_into("#chat-text", "hello anna\n");
    a.wait_text("#messages", "hello anna", 20);

    // A private message: Ben sees a mark, opens it, and Anna sees that he read it.
    b.click("#page-home");
    a.click(&format!("#thread-{ben_id}"));
    a.type_into("#chat-text", "see you at 8\n");
    a.wait_text("#messages", "see you at 8", 20);
    b.wait_text("#chat-unread", "1", 20);
    b.click("#page-chat");
    b.click(&format!("#thread-{anna_id}"));
    b.wait_text("#messages", "see you at 8", 20);
    wait_for("the read receipt", PATIENCE, || {
        (count(&a, ".message-state[data-state=read]") == 1).then_some(())
    })
    .unwrap();
    wait_for("nothing unread", PATIENCE, || (count(&b, "#chat-unread") == 0).then_some(())).unwrap();

    // A picture, shown in the thread.
    let picture = anna.bench.scratch().join("map.png");
    std::fs::copy(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../icons/128x128.png"), &picture)
        .unwrap();
    assert!(
        anna.bench
            .fog(&["chat", "send", "--to", "ben", "--wait", "60", "--file", picture.to_str().unwrap()])
            .unwrap()
            .status
            .success()
    );
    wait_for("the picture", PATIENCE, || {
        (value(&b, "const i = document.querySelector('.photo img'); return i ? i.naturalWidth : 0")
            .as_u64()?
            == 128)
            .then_some(())
    })
    .unwrap();

    // Commands answer in the thread; a wrong command shows an error and stays in the field.
    a.type_into("#chat-text", "/who\n");
    a.wait_text("#messages", "ben", 15);
    b.type_into("#chat-text", "thank you for the map\n");
    a.wait_text("#messages", "thank you for the map", 20);
    let found = a.text("#messages").unwrap();
    assert!(found.find("see you at 8") < found.find("thank you for the map"), "the newest last: {found}");

    // Screenshots and accessibility checks.
    for (theme, width, height, name) in [
        ("light", 1200, 800, "chat-light.png"),
        ("dark", 1200, 800, "chat-dark.png"),
        ("light", 390, 780, "chat-phone-light.png"),
        ("dark", 390, 780, "chat-phone-dark.png"),
    ] {
        assert!(anna.bench.fog(&["settings", "set", &format!("theme={theme}")]).unwrap().status.success());
        wait_for("the theme", PATIENCE, || {
            (value(&a, "return document.documentElement.dataset.theme || ''") == theme).then_some(())
        })
        .unwrap();
        a.resize(width, height);
        a.screenshot(name);
        a.assert_accessible(name);
        a.assert_contrast();
    }
    a.screenshot("chat-phone-thread.png");
    a.click("#chat-back");
    a.wait_text("#threads", "ben", 10);
    a.screenshot("chat-phone-list.png");
    a.assert_accessible("chat list on a phone");
    a.resize(1200, 800);

    // Ben's details, with his fingerprint.
    a.click(&format!("#thread-{ben_id}"));
    a.click("#chat-details");
    let fingerprint = a.wait_text("#person-fingerprint", "", 10);
    let known = ben.bench.json(&["chat", "verify"]).unwrap()["fingerprint"].as_str().unwrap().to_owned();
    assert_eq!(fingerprint.split_whitespace().collect::<String>(), known);
    a.screenshot("chat-person.png");
    a.assert_accessible("a person");
    let code = ben.bench.json(&["chat", "verify"]).unwrap()["code"].as_str().unwrap().to_owned();
    a.click("#chat-verify");
    a.type_into("#chat-scan", &format!("{code}\n"));
    wait_for("the proof", PATIENCE, || {
        let people = anna.bench.json(&["chat", "people"]).ok()?;
        people.as_array()?.iter().any(|person| person["is_verified"] == true).then_some(())
    })
    .unwrap();
    a.screenshot("chat-verified.png");

    // The room's details contain the map.
    a.click("#thread-room");
    a.screenshot("chat-map.png");

    // The board: a note posted in one window, read in the other, and removed again.
    a.click("#chat-board");
    a.wait_text("#chat-beside", "Nothing is on the board", 10);
    // Text typed before the panel has the keyboard focus would go to its close button.
    let has_keyboard =
        || (value(&a, "return document.activeElement.id") == "chat-beside-close").then_some(());
    wait_for("the keyboard in the panel", PATIENCE, has_keyboard).unwrap();
    a.type_into("#board-text", "Soup at the hut tonight.\nBring a spoon.");
    a.click("#board-urgent");
    a.click("#board-post");
    a.wait_text("#notes", "Bring a spoon", 20);
    b.wait_text("#chat-board", "one note", 20);
    b.click("#chat-board");
    b.wait_text("#notes", "Soup at the hut tonight", 20);
    b.screenshot("chat-board-other.png");
    a.screenshot("chat-board.png");
    a.assert_accessible("the board");
    for (theme, name) in [("dark", "chat-board-phone-dark.png"), ("light", "chat-board-phone-light.png")] {
        assert!(anna.bench.fog(&["settings", "set", &format!("theme={theme}")]).unwrap().status.success());
        wait_for("the theme", PATIENCE, || {
            (value(&a, "return document.documentElement.dataset.theme || ''") == theme).then_some(())
        })
        .unwrap();
        a.resize(390, 780);
        a.screenshot(name);
        a.assert_contrast();
    }
    a.resize(1200, 800);
    a.click("button[data-ask=chat-board-take-down]");
    a.click("dialog[open] button.yes");
    b.wait_text("#chat-board", "nothing there", 20);
    b.click("#chat-beside-close");

    // A group: created in one window, used in both, left in the other.
    a.click("#chat-new-group");
    a.type_into("#group-name", "hikers");
    a.click(&format!("#with-{ben_id}"));
    a.screenshot("chat-new-group.png");
    a.assert_accessible("a new group");
    a.click("#group-make");
    a.wait_text("#chat-empty", "members of this group", 20);
    b.wait_text("#threads", "hikers", 20);
    let group = ben.bench.json(&["chat", "group"]).unwrap()[0]["id"].as_str().unwrap().to_owned();
    b.click(&format!("#thread-{group}"));
    b.type_into("#chat-text", "at the hut\n");
    a.wait_text("#messages", "at the hut", 20);
    a.wait_text("#members", "ben", 10);
    a.screenshot("chat-group.png");
    a.assert_accessible("a group");
    for (theme, name) in [("dark", "chat-group-dark.png"), ("light", "chat-group-light.png")] {
        assert!(anna.bench.fog(&["settings", "set", &format!("theme={theme}")]).unwrap().status.success());
        wait_for("the theme", PATIENCE, || {
            (value(&a, "return document.documentElement.dataset.theme || ''") == theme).then_some(())
        })
        .unwrap();
        a.resize(390, 780);
        a.screenshot(name);
        a.assert_contrast();
    }
    a.resize(1200, 800);
    b.click("#chat-details");
    b.click("button[data-ask=chat-group-leave]");
    b.click("dialog[open] button.yes");
    b.wait_text("#chat-beside", "not in this group", 20);
    b.wait_text("#threads", "hikers", 20);
    assert_eq!(ben.bench.json(&["chat", "group"]).unwrap(), json!([]));
    b.screenshot("chat-group-left.png");

    // A wipe asks once; then nothing is left, and Ben sees a new person.
    a.click("#chat-settings");
    a.screenshot("chat-settings.png");
    a.assert_accessible("chat settings");
    // Moving needs a passphrase that is long enough.
    let is_off = || value(&a, "return document.querySelector('#move-save').disabled");
    a.type_into("#move-passphrase", "too short");
    assert_eq!(is_off(), json!(true));
    a.type_into("#move-passphrase", " by far no more");
    assert_eq!(is_off(), json!(false));
    value(&a, "document.querySelector('#move-save').scrollIntoView({ block: 'center' }); return 0");
    a.screenshot("chat-moving.png");
    assert!(anna.bench.fog(&["settings", "set", "theme=dark"]).unwrap().status.success());
    wait_for("the theme", PATIENCE, || {
        (value(&a, "return document.documentElement.dataset.theme || ''") == "dark").then_some(())
    })
    .unwrap();
    a.resize(390, 780);
    value(&a, "document.querySelector('#move-save').scrollIntoView({ block: 'center' }); return 0");
    a.screenshot("chat-moving-phone-dark.png");
    a.assert_contrast();
    a.resize(1200, 800);
    a.click("button[data-ask=chat-wipe]");
    a.click("dialog[open] button.yes");
    wait_for("somebody new", PATIENCE, || (id_of(&anna) != anna_id).then_some(())).unwrap();
    assert_eq!(anna.bench.json(&["chat", "log"]).unwrap(), json!([]));
    wait_for("an empty list", PATIENCE, || {
        a.text("#threads").filter(|text| !text.contains("see you")).map(|_| ())
    })
    .unwrap();
    a.close();
    b.close();
}
