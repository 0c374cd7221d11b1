//! The real app in a real window under Xvfb, driven through WebDriver as a person would.
//!
//! Needs `Xvfb`, `WebKitWebDriver`, `xdotool`, `openbox` and `dbus-run-session`; `cargo xtask setup`
//! installs them. Without them the test says so and fails: it never passes untried.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fog_tests::{Bench, app_binary, artefacts, wait_for};
use serde_json::{Value, json};

/// A process that ends with the test.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Driver {
    agent: ureq::Agent,
    base: String,
    session: String,
    display: String,
}

impl Driver {
    fn open(port: u16, display: &str) -> anyhow::Result<Self> {
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).http_status_as_error(false).build();
        let (agent, base) = (ureq::Agent::from(config), format!("http://127.0.0.1:{port}"));
        let capabilities = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": { "binary": app_binary() } } } });
        let body: Value = agent.post(format!("{base}/session")).send_json(capabilities)?.body_mut().read_json()?;
        let session = body["value"]["sessionId"].as_str().ok_or_else(|| anyhow::anyhow!("no session: {body}"))?.to_owned();
        Ok(Self { agent, base, session, display: display.to_owned() })
    }

    fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer: Value = self.agent.post(format!("{}/session/{}/{path}", self.base, self.session)).send_json(body)?.body_mut().read_json()?;
        anyhow::ensure!(answer["value"]["error"].is_null(), "{path}: {}", answer["value"]);
        Ok(answer["value"].clone())
    }

    fn script(&self, code: &str) -> anyhow::Result<Value> {
        self.post("execute/sync", json!({ "script": code, "args": [] }))
    }

    /// The same for code that ends by calling `done(value)`.
    fn script_later(&self, code: &str) -> anyhow::Result<Value> {
        self.post("execute/async", json!({ "script": format!("const done = arguments[arguments.length - 1]; {code}"), "args": [] }))
    }

    /// What axe-core finds wrong on the page as it is; nothing when axe-core was not fetched.
    fn assert_accessible(&self, page: &str) {
        let Some(axe) = std::env::var_os("FOG_AXE").and_then(|path| std::fs::read_to_string(path).ok()) else {
            println!("{page}: axe-core is not here, not checked with it");
            return;
        };
        self.script(&format!("if (!window.axe) {{ {axe} }}")).unwrap();
        let found = "axe.run(document).then(r => done([r.passes.length, r.violations.map(v => v.id + ' at ' + v.nodes.map(n => n.target.join(' ')).join(', '))]), e => done([0, [String(e)]]))";
        let found = self.script_later(found).unwrap();
        println!("{page}: axe-core passes {} rules", found[0]);
        assert!(found[0].as_u64() > Some(10), "{page}: {found}");
        assert_eq!(found[1], json!([]), "{page}");
    }

    /// Real key events to the window that has the focus.
    fn keys(&self, args: &[&str]) {
        let id = self.window_id();
        let act = |args: &[&str]| Command::new("xdotool").args(args).env("DISPLAY", &self.display).status().is_ok_and(|status| status.success());
        assert!(act(&["windowfocus", "--sync", &id]) && act(args), "xdotool {args:?}");
    }

    /// The text of the first element that a selector finds; `None` when there is none.
    fn text(&self, selector: &str) -> Option<String> {
        let value = self.script(&format!("const e = document.querySelector({selector:?}); return e ? e.innerText : null;")).ok()?;
        value.as_str().map(str::to_owned)
    }

    fn wait_text(&self, selector: &str, part: &str, seconds: u64) -> String {
        let found = wait_for(&format!("'{part}' in {selector}"), Duration::from_secs(seconds), || self.text(selector).filter(|text| text.contains(part)));
        found.unwrap_or_else(|error| panic!("{error}; it says {:?}", self.text("body")))
    }

    /// Clicks as the pointer would, through WebDriver's own element click.
    fn click(&self, selector: &str) {
        let element = wait_for(selector, Duration::from_secs(15), || self.post("element", json!({ "using": "css selector", "value": selector })).ok());
        let element = element.unwrap_or_else(|error| panic!("{error}; it says {:?}", self.text("body")));
        let id = element.as_object().and_then(|o| o.values().next()).and_then(Value::as_str).unwrap().to_owned();
        self.post(&format!("element/{id}/click"), json!({})).unwrap();
    }

    /// What the screen really shows of the window.
    fn screenshot(&self, name: &str) {
        std::thread::sleep(Duration::from_millis(300));
        let path = artefacts().join(name);
        let shot = Command::new("import").args(["-window", &self.window_id(), &path.to_string_lossy()]).env("DISPLAY", &self.display).status();
        assert!(shot.is_ok_and(|status| status.success()), "import (ImageMagick)");
        assert!(std::fs::metadata(&path).unwrap().len() > 2_000, "a screenshot with something on it");
    }

    fn resize(&self, width: u32, height: u32) {
        let sized = Command::new("xdotool")
            .args(["windowsize", "--sync", &self.window_id(), &width.to_string(), &height.to_string()])
            .env("DISPLAY", &self.display)
            .status();
        assert!(sized.is_ok_and(|status| status.success()), "xdotool");
        std::thread::sleep(Duration::from_millis(400));
    }

    fn window_id(&self) -> String {
        let found = Command::new("xdotool").args(["search", "--onlyvisible", "--name", "Fog Compute"]).env("DISPLAY", &self.display).output().unwrap();
        String::from_utf8_lossy(&found.stdout).lines().next().expect("the app's window").to_owned()
    }

    fn close(&self) {
        let _ = self.agent.delete(format!("{}/session/{}", self.base, self.session)).call();
    }
}

fn spawn(program: &str, args: &[&str], environment: &[(&str, &str)]) -> Guarded {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for (name, value) in environment {
        command.env(name, value);
    }
    Guarded(command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup` installs it")))
}

fn free_display() -> u32 {
    (90..200).find(|n| !Path::new(&format!("/tmp/.X11-unix/X{n}")).exists() && !Path::new(&format!("/tmp/.X{n}-lock")).exists()).unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Real input events of the X server's XTEST extension.
fn type_key(display: &str) {
    let done = Command::new("xdotool").args(["key", "shift"]).env("DISPLAY", display).status();
    assert!(done.is_ok_and(|status| status.success()), "xdotool");
}

#[test]
fn a_person_goes_from_first_run_to_a_result_and_finds_it_again() {
    let bench = Bench::new().unwrap();
    let display = format!(":{}", free_display());
    let _server = spawn("Xvfb", &[&display, "-screen", "0", "1400x1000x24", "-nolisten", "tcp"], &[]);
    wait_for("the X server", Duration::from_secs(10), || {
        Command::new("xdotool").args(["getmouselocation"]).env("DISPLAY", &display).output().ok().filter(|o| o.status.success())
    })
    .unwrap();
    let _manager = spawn("openbox", &[], &[("DISPLAY", &display)]);
    let port = free_port();
    let (data, run) = (bench.data().to_string_lossy().into_owned(), bench.scratch().join("run"));
    std::fs::create_dir_all(&run).unwrap();
    std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let run = run.to_string_lossy().into_owned();
    let home = bench.scratch().to_string_lossy().into_owned();
    let environment = [
        ("DISPLAY", display.as_str()),
        ("FOG_DATA_DIR", &data),
        ("XDG_RUNTIME_DIR", &run),
        ("HOME", &home),
        ("XDG_DATA_HOME", &home),
        ("XDG_CONFIG_HOME", &home),
        ("TAURI_AUTOMATION", "true"),
        ("TAURI_WEBVIEW_AUTOMATION", "true"),
        ("LANG", "C.UTF-8"),
        ("GDK_BACKEND", "x11"),
        ("WAYLAND_DISPLAY", ""),
        ("WEBKIT_DISABLE_COMPOSITING_MODE", "1"),
        ("NO_AT_BRIDGE", "1"),
        ("FOG_KEYCHAIN", "off"),
    ];
    let _driver = spawn("dbus-run-session", &["--", "WebKitWebDriver", &format!("--port={port}")], &environment);
    wait_for("the driver", Duration::from_secs(10), || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).unwrap();

    let begun = Instant::now();
    let window = Driver::open(port, &display).unwrap();
    window.wait_text("h1", "idle time", 30);
    println!("window start to first text: {:?}", begun.elapsed());
    window.screenshot("first-run.png");

    // First run → switch on.
    window.click("#welcome-start");
    window.wait_text("#pill", "Waiting", 15);
    assert!(window.text("#headline").is_some_and(|text| text.contains("using this device")), "a fresh click counts as use: {:?}", window.text("#headline"));

    // A settings change takes effect within a second, here from the command line while the window watches.
    bench.fog(&["settings", "set", "idle_after=3", "other_cpu_stop=100", "disk_free_min=0.1", "ram_available_min=64"]).unwrap();
    let changed = Instant::now();
    window.wait_text("#headline", "Ready to work", 10);
    println!("settings change to effect with the idle wait of 3 s: {:?}", changed.elapsed());

    // Submit an example by the UI → progress → result. WebDriver's clicks are not input to the X server.
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
    type_key(&display);
    let pressed = Instant::now();
    window.wait_text("#pill", "Waiting", 5);
    println!("key press to the window saying so: {:?}", pressed.elapsed());
    window.wait_text("#headline", "using this device", 5);
    window.wait_text("#pill", "Working", 30);

    // Everything by keyboard: the palette leads to a page, arrows and space change the week plan.
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
    assert_eq!(window.script("return document.activeElement.id").unwrap(), json!("hour-25"), "Tuesday, one o'clock");
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
    let contrast = window.script(CONTRAST).unwrap();
    assert_eq!(contrast, json!([]), "text with too little contrast");

    // A restart keeps everything.
    window.close();
    std::thread::sleep(Duration::from_secs(1));
    let again = Driver::open(port, &display).unwrap();
    again.wait_text("#pill", "", 20);
    again.script("document.querySelector('#page-jobs').click()").unwrap();
    let list = again.wait_text("#jobs", "Protein search", 10);
    assert!(list.contains("Picture of five balls"), "{list}");
    assert!(again.text("h1").is_some_and(|text| !text.contains("idle time")), "the first screen does not come back");

    // Many jobs: only the rows in sight are in the page, and the end of the list can be reached.
    bench.fog(&["off"]).unwrap();
    let module = bench.module("nothing.wasm", "(module (memory (export \"memory\") 1) (func (export \"_start\")))").unwrap();
    let many = 650;
    for _ in 0..many {
        assert!(bench.fog(&["submit", &module.to_string_lossy()]).unwrap().status.success());
    }
    let last = wait_for("the last row", Duration::from_secs(60), || {
        again.script("document.querySelector('.list.rows').scrollTop = 1e7").ok()?;
        let ends = "const rows = document.querySelectorAll('#jobs li'), last = rows[rows.length - 1]; return [rows.length, +last.ariaPosInSet || +last.getAttribute('aria-posinset'), +last.getAttribute('aria-setsize'), last.innerText]";
        let ends = again.script(ends).ok()?;
        (ends[2].as_u64() >= Some(many + 2) && ends[1] == ends[2]).then_some(ends)
    });
    let last = last.unwrap();
    assert!(last[0].as_u64() < Some(60), "{last}");
    assert!(last[3].as_str().is_some_and(|text| text.contains("Protein search")), "the first job is the last row: {last}");
    again.close();
}

/// Every visible text whose contrast with its background is below 4.5:1 (WCAG 2.1, 1.4.3).
const CONTRAST: &str = r#"
const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => { const f = v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
const back = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0.9) return c; } return [255, 255, 255]; };
const bad = [];
for (const e of document.querySelectorAll('p, h1, h2, span, button, a, label, td, li')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !e.offsetParent || e.disabled) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(e.textContent.trim().slice(0, 40) + ' ' + ((a + 0.05) / (b + 0.05)).toFixed(2));
}
return bad;
"#;
