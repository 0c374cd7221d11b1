//! The real app in a real window under Xvfb, driven through WebDriver.
//!
//! Needs programs that `cargo xtask setup` installs.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use fog_store::{Sample, Store};
use fog_tests::window::{Desk, type_key};
use fog_tests::{now_ms, wait_for};
use fog_types::{Percent, UnixMillis, WorkUnits};
use serde_json::json;

#[test]
fn a_person_goes_from_first_run_to_a_result_and_finds_it_again() {
    let desk = Desk::set_up().unwrap();
    let bench = &desk.bench;
    let begun = Instant::now();
    let window = desk.open().unwrap();
    window.wait_text("h1", "idle time", 30);
    println!("window start to first text: {:?}", begun.elapsed());
    window.screenshot("first-run.png");

    // First run: contributing is switched on.
    window.click("#welcome-start");
    window.wait_text("#pill", "Waiting", 15);
    // A recent click counts as use; the page appears a moment after the pill.
    window.wait_text("#headline", "using this device", 10);

    // A settings change takes effect within a second, here made on the command line while the window is
    // open.
    bench
        .fog(&[
            "settings",
            "set",
            "idle_after=3",
            "other_cpu_stop=100",
            "disk_free_min=0.1",
            "ram_available_min=64",
        ])
        .unwrap();
    window.wait_text("#headline", "Ready to work", 10);
    let mut fastest = Duration::MAX;
    for (theme, seen) in [("theme=dark", "dark"), ("theme=system", "")].repeat(2) {
        let changed = Instant::now();
        bench.fog(&["settings", "set", theme]).unwrap();
        wait_for("the theme", Duration::from_secs(10), || {
            (window.script("return document.documentElement.dataset.theme || ''").ok()? == seen).then_some(())
        })
        .unwrap();
        fastest = fastest.min(changed.elapsed());
    }
    println!("settings change to the window showing it, the fastest: {fastest:?}");
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");

    // An example is submitted in the window and shows progress and result. WebDriver's clicks are not input
    // to the X server.
    window.click("#example-protein-search");
    window.wait_text("#job-line", "8 of 8", 60);
    let result = window.wait_text("#result", "HBB_ORNAN", 15);
    assert!(result.contains("HBB_TACAC\t707"), "the echidna's is the closest relative: {result}");

    // A long job: input by XTEST pauses it, the end of input resumes it.
    window.click("#page-jobs");
    window.click("#example-path-tracer");
    window.wait_text("#pill", "Working", 30);
    window.click("#page-home");
    window.wait_text("#headline", "Working", 10);
    type_key(&desk.display);
    let pressed = Instant::now();
    window.wait_text("#pill", "Waiting", 5);
    println!("key press to the window saying so: {:?}", pressed.elapsed());
    window.wait_text("#headline", "using this device", 5);
    window.wait_text("#pill", "Working", 30);

    // Keyboard only: the palette leads to a page, arrows and space change the week plan.
    window.assert_accessible("home");
    window.keys(&["key", "ctrl+k"]);
    wait_for("the palette", Duration::from_secs(5), || window.text("#palette-input")).unwrap();
    window.assert_accessible("palette");
    window.keys(&["type", "settings"]);
    window.keys(&["key", "Return"]);
    wait_for("the settings", Duration::from_secs(5), || window.text("#hour-0")).unwrap();
    window.assert_accessible("settings");
    window.script("document.querySelector('#hour-0').focus()").unwrap();
    let week = || bench.json(&["settings", "get", "week"]).unwrap().to_string();
    let before = week();
    window.keys(&["key", "Right", "Down", "space"]);
    wait_for("the changed plan", Duration::from_secs(5), || (week() != before).then_some(())).unwrap();
    assert_eq!(
        window.script("return document.activeElement.id").unwrap(),
        json!("hour-25"),
        "Tuesday, one o'clock"
    );
    bench.fog(&["settings", "set", "week="]).unwrap();
    window.keys(&["key", "Escape"]);
    window.keys(&["key", "2"]);
    wait_for("the jobs", Duration::from_secs(5), || window.text("#jobs")).unwrap();
    window.assert_accessible("jobs");

    // Desktop and phone, light and dark.
    window.script("window.__TAURI__.core.invoke('call', { command: { set_settings: { changes: { theme: 'light' } } } });").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    window.screenshot("home-desktop-light.png");
    window.script("document.querySelector('#page-settings').click()").unwrap();
    std::thread::sleep(Duration::from_millis(400));
    window.screenshot("settings-desktop-light.png");
    window.script("document.querySelector('#page-jobs').click()").unwrap();
    wait_for("the list of jobs", Duration::from_secs(5), || window.text("#jobs")).unwrap();
    window.script("document.querySelector('#jobs button').click()").unwrap();
    wait_for("the growing picture", Duration::from_secs(90), || {
        window.script("return document.querySelector('#picture')?.naturalWidth || null").ok()?.as_u64()
    })
    .unwrap();
    window.screenshot("job-desktop-light.png");
    window.script("window.__TAURI__.core.invoke('call', { command: { set_settings: { changes: { theme: 'dark' } } } });").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    window.screenshot("job-desktop-dark.png");
    window.resize(390, 844);
    window.screenshot("job-phone-dark.png");
    window.script("document.querySelector('#page-home').click()").unwrap();
    std::thread::sleep(Duration::from_millis(400));
    window.screenshot("home-phone-dark.png");
    window.script("document.querySelector('#page-history').click()").unwrap();
    std::thread::sleep(Duration::from_millis(400));
    window.screenshot("history-phone-dark.png");
    let overflow = window.script("return document.documentElement.scrollWidth - window.innerWidth").unwrap();
    assert!(overflow.as_i64().unwrap_or(0) <= 0, "nothing is cut off at phone width: {overflow}");
    window.assert_contrast();

    // A restart keeps everything.
    window.close();
    std::thread::sleep(Duration::from_secs(1));
    let again = desk.open().unwrap();
    again.wait_text("#pill", "", 20);
    again.script("document.querySelector('#page-jobs').click()").unwrap();
    let list = again.wait_text("#jobs", "Protein search", 10);
    assert!(list.contains("Picture of five balls"), "{list}");
    assert!(
        again.text("h1").is_some_and(|text| !text.contains("idle time")),
        "the first screen does not come back"
    );

    again.close();
}

#[test]
fn a_damaged_key_and_a_damaged_database_are_told_in_the_window() {
    let mut desk = Desk::set_up().unwrap();
    desk.bench.start().unwrap();
    for setting in ["first_run_done=true", "theme=light"] {
        assert!(desk.bench.fog(&["settings", "set", setting]).unwrap().status.success());
    }
    assert!(desk.bench.fog(&["shutdown"]).unwrap().status.success());
    desk.bench.kill();
    let (key, database) = (desk.bench.data().join("checkpoint.key"), desk.bench.data().join("fog.sqlite"));
    let whole = std::fs::read(&key).unwrap();
    std::fs::write(&key, "short").unwrap();
    let window = desk.open().unwrap();
    let told = window.wait_text("#no-checkpoints", "No checkpoints are taken", 30);
    assert!(told.contains("checkpoint.key"), "{told}");
    window.screenshot("damaged-key-light.png");
    window.assert_contrast();
    window.click("#no-checkpoints button");
    window.wait_text("#content", "from a copy", 15);
    assert!(desk.bench.fog(&["settings", "set", "theme=dark"]).unwrap().status.success());
    wait_for("the theme", Duration::from_secs(10), || {
        (window.script("return document.documentElement.dataset.theme || ''").ok()? == "dark").then_some(())
    })
    .unwrap();
    window.screenshot("damaged-key-dark.png");
    window.assert_contrast();
    window.close();
    std::fs::write(&key, whole).unwrap();
    wait_for("the end", Duration::from_secs(20), || {
        (desk.bench.fog(&["status"]).ok()?.status.code() == Some(69)).then_some(())
    })
    .unwrap();

    let good = std::fs::read(&database).unwrap();
    // The journal of a killed engine would repair the file.
    for journal in ["fog.sqlite-wal", "fog.sqlite-shm"] {
        let _ = std::fs::remove_file(desk.bench.data().join(journal));
    }
    let mut bytes = good.clone();
    bytes[100..].fill(0xff);
    std::fs::write(&database, bytes).unwrap();
    let window = desk.open().unwrap();
    let told = window.wait_text("#lost", "cannot start", 30);
    assert!(told.contains(&database.display().to_string()) && told.contains("from a copy"), "{told}");
    for theme in ["light", "dark"] {
        window.script(&format!("document.documentElement.dataset.theme = '{theme}'")).unwrap();
        window.screenshot(&format!("damaged-database-{theme}.png"));
        window.assert_contrast();
    }
    // Once the file is repaired, the window goes on without a restart.
    std::fs::write(&database, good).unwrap();
    window.click("#lost button");
    window.wait_text("#pill", "", 20);
    wait_for("nothing to say", Duration::from_secs(20), || window.text("#lost").is_none().then_some(()))
        .unwrap();
    window.close();
}

/// Stores half a day of history with large numbers.
fn remember_half_a_day(data: &std::path::Path) {
    let mut store = Store::open(data).unwrap();
    for minutes in 1..=720 {
        let sample = Sample {
            at: UnixMillis(now_ms() - minutes * 60_000),
            span_millis: 60_000,
            duty: Percent::FULL,
            worked_millis: 60_000,
            units: WorkUnits(11_600_000_000 / (1 + minutes as u64 % 7)),
            cpu_temp: Some(40.0),
            battery: Some(100.0),
            other_cpu: Some(3.0),
            reason: String::new(),
        };
        store.keep_sample(&sample, None).unwrap();
    }
}

/// Finds elements of a selector that are wider than the page or cut off.
const CUT: &str = r#"
const bad = [];
if (document.documentElement.scrollWidth > innerWidth) bad.push('the page is ' + document.documentElement.scrollWidth);
for (const e of document.querySelectorAll(SELECTOR)) {
  const box = e.getBoundingClientRect(), around = (e.closest('dialog, .card') || document.body).getBoundingClientRect();
  const inside = box.left >= around.left - 1 && box.right <= around.right + 1 && box.top >= around.top - 1 && box.right <= innerWidth;
  const picture = e.closest('svg'), shows = picture && getComputedStyle(picture).overflow === 'visible';
  const drawn = picture && picture.getBoundingClientRect();
  if (!inside || drawn && !shows && (box.top < drawn.top || box.right > drawn.right)) bad.push(e.textContent + ' is cut');
}
return bad;
"#;

#[test]
fn long_names_and_large_numbers_fit_and_everything_is_in_the_language_of_the_window() {
    let mut desk = Desk::set_up().unwrap();
    remember_half_a_day(&desk.bench.data());
    desk.bench.start().unwrap();
    desk.bench.work_always().unwrap();
    let bench = &desk.bench;
    assert!(
        bench
            .fog(&["settings", "set", "first_run_done=true", "language=de", "theme=dark"])
            .unwrap()
            .status
            .success()
    );
    bench
        .module(
            "spin.wasm",
            r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#,
        )
        .unwrap();
    let job = |name: &str| {
        let file = bench.scratch().join("job.toml");
        std::fs::write(&file, format!("version = 1\nname = \"{name}\"\nmodule = \"spin.wasm\"\n")).unwrap();
        bench.json(&["submit", &file.to_string_lossy()]).unwrap();
    };
    job("Kurz");
    job(&"W".repeat(120));
    let window = desk.open().unwrap();
    let fits = |selector: &str| {
        let cut = CUT.replace("SELECTOR", &format!("{selector:?}"));
        assert_eq!(window.script(&cut).unwrap(), json!([]), "{selector}");
    };
    window.wait_text("#pill", "Arbeitet", 30);
    for (width, height, size) in [(1280, 800, "desktop"), (390, 844, "phone")] {
        window.resize(width, height);
        let go =
            |page: &str| window.script(&format!("document.querySelector('#page-{page}').click()")).unwrap();
        go("home");
        window.wait_text("#now", "für dieses Gerät", 15);
        for theme in ["dark", "light"] {
            window.script(&format!("document.documentElement.dataset.theme = '{theme}'")).unwrap();
            go("home");
            fits("#now strong");
            window.screenshot(&format!("long-home-{size}-{theme}.png"));
            go("jobs");
            wait_for("the jobs", Duration::from_secs(5), || window.text("#jobs")).unwrap();
            fits("#jobs .state");
            window.screenshot(&format!("long-jobs-{size}-{theme}.png"));
            window.script("document.querySelector('#jobs button').click()").unwrap();
            let told =
                wait_for("the job", Duration::from_secs(5), || window.text(".card:has(#job-line)")).unwrap();
            assert!(told.contains("für dieses Gerät"), "{told}");
            fits(".state");
            window.screenshot(&format!("long-job-{size}-{theme}.png"));
            window.script("document.querySelector('[data-ask=job-cancel]').click()").unwrap();
            let asked =
                wait_for("the question", Duration::from_secs(5), || window.text("dialog[open]")).unwrap();
            assert!(asked.contains("WWWW"), "{asked}");
            fits("dialog[open] p");
            window.screenshot(&format!("long-ask-{size}-{theme}.png"));
            window.script("document.querySelector('dialog[open] button').click(); document.querySelector('.jobs > section .plain').click()").unwrap();
            go("history");
            wait_for("the charts", Duration::from_secs(10), || {
                window
                    .script("return document.querySelectorAll('.axes svg text').length || null")
                    .ok()?
                    .as_u64()
            })
            .unwrap();
            std::thread::sleep(Duration::from_millis(500));
            fits(".axes svg text");
            let longest = window.script("return Math.max(...[...document.querySelectorAll('.axes svg text')].map(e => e.textContent.trim().length))").unwrap();
            assert!(longest.as_f64() <= Some(8.0), "numbers are short: {longest}");
            window.screenshot(&format!("long-history-{size}-{theme}.png"));
        }
    }
    window.close();
}
