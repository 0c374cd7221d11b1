//! Every verb answers in JSON with `--json`.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use fog_tests::Bench;

#[test]
fn changes_answer_with_what_is_in_force() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let set = bench.json(&["settings", "set", "keep_awake=on", "battery_stop=40"]).unwrap();
    assert!(
        set["keep_awake"] == true && set["battery_stop"] == 40.0 && set.as_object().unwrap().len() == 2,
        "{set}"
    );
    let reset = bench.json(&["settings", "reset"]).unwrap();
    assert!(reset["keep_awake"] == false && reset.as_object().unwrap().len() > 20, "{reset}");
    let chat = bench.fog(&["--json", "chat"]).unwrap();
    assert!(chat.status.success());
    for line in String::from_utf8(chat.stdout).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert_eq!(
        bench.json(&["chat", "log", "-o", "room.txt"]).unwrap()["file"],
        bench.scratch().join("room.txt").to_str().unwrap()
    );
}
