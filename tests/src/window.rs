//! The real app in a real window under Xvfb, driven through WebDriver.
//!
//! Needs `Xvfb`, `WebKitWebDriver`, `xdotool`, `openbox`, `dbus-daemon` and ImageMagick; `cargo xtask
//! setup` installs them. A missing program is named in the error.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::bus::Bus;
use crate::{Bench, Guarded, app_binary, artefacts, wait_for};

/// A display with a window manager, a session bus and a driver for the app.
pub struct Desk {
    /// Data folder, which `fog` of this bench uses too.
    pub bench: Bench,
    /// The session bus.
    pub bus: Bus,
    /// The X display, such as `:7`.
    pub display: String,
    port: u16,
    environment: Vec<(String, String)>,
    _processes: Vec<Guarded>,
}

impl Desk {
    /// Starts everything except the app.
    ///
    /// # Errors
    /// When a program is missing or does not start; the error names it.
    pub fn set_up() -> anyhow::Result<Self> {
        let (bench, bus) = (Bench::new()?, Bus::start()?);
        let mut server = Command::new("Xvfb");
        server
            .args(["-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut server = server.spawn().context("Xvfb; `cargo xtask setup` installs it")?;
        let mut number = String::new();
        BufReader::new(server.stdout.take().context("its output")?).read_line(&mut number)?;
        let display = format!(":{}", number.trim());
        let run = bench.scratch().join("run");
        std::fs::create_dir_all(&run)?;
        std::fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let home = bench.scratch().to_string_lossy().into_owned();
        let environment = [
            ("DISPLAY", display.clone()),
            ("DBUS_SESSION_BUS_ADDRESS", bus.address.clone()),
            ("FOG_DATA_DIR", bench.data().to_string_lossy().into_owned()),
            ("XDG_RUNTIME_DIR", run.to_string_lossy().into_owned()),
            ("HOME", home.clone()),
            ("XDG_DATA_HOME", home.clone()),
            ("XDG_CONFIG_HOME", home),
            ("TAURI_AUTOMATION", "true".to_owned()),
            ("TAURI_WEBVIEW_AUTOMATION", "true".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("GDK_BACKEND", "x11".to_owned()),
            ("WAYLAND_DISPLAY", String::new()),
            ("WEBKIT_DISABLE_COMPOSITING_MODE", "1".to_owned()),
            ("NO_AT_BRIDGE", "1".to_owned()),
            ("FOG_KEYCHAIN", "off".to_owned()),
        ];
        let environment: Vec<(String, String)> =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let manager = spawn("openbox", &[], &environment);
        let port = free_port();
        let driver = spawn("WebKitWebDriver", &[&format!("--port={port}")], &environment);
        wait_for("the driver", Duration::from_secs(10), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        })?;
        Ok(Self {
            bench,
            bus,
            display,
            port,
            environment,
            _processes: vec![driver, manager, Guarded(server)],
        })
    }

    /// Starts the app under the driver.
    ///
    /// # Errors
    /// When the app does not start.
    pub fn open(&self) -> anyhow::Result<Driver> {
        Driver::open(self.port, &self.display)
    }

    /// Returns a command that starts the app without the driver, as for a second start.
    #[must_use]
    pub fn app(&self) -> Command {
        let mut command = Command::new(app_binary());
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// A window with its WebDriver session.
pub struct Driver {
    agent: ureq::Agent,
    base: String,
    session: String,
    display: String,
}

impl Driver {
    /// Starts the app through the driver at this port.
    ///
    /// # Errors
    /// When the app does not start.
    pub fn open(port: u16, display: &str) -> anyhow::Result<Self> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .http_status_as_error(false)
            .build();
        let (agent, base) = (ureq::Agent::from(config), format!("http://127.0.0.1:{port}"));
        let capabilities = json!({ "capabilities": { "alwaysMatch": { "webkitgtk:browserOptions": { "binary": app_binary() } } } });
        let body: Value =
            agent.post(format!("{base}/session")).send_json(capabilities)?.body_mut().read_json()?;
        let session = body["value"]["sessionId"]
            .as_str()
            .ok_or_else(|| anyhow::anyhow!("no session: {body}"))?
            .to_owned();
        Ok(Self { agent, base, session, display: display.to_owned() })
    }

    /// Runs one command of the session.
    ///
    /// # Errors
    /// When the driver reports an error.
    pub fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer: Value = self
            .agent
            .post(format!("{}/session/{}/{path}", self.base, self.session))
            .send_json(body)?
            .body_mut()
            .read_json()?;
        anyhow::ensure!(answer["value"]["error"].is_null(), "{path}: {}", answer["value"]);
        Ok(answer["value"].clone())
    }

    /// Runs a script in the page.
    ///
    /// # Errors
    /// When the driver reports an error.
    pub fn script(&self, code: &str) -> anyhow::Result<Value> {
        self.post("execute/sync", json!({ "script": code, "args": [] }))
    }

    /// Runs a script that ends by calling `done(value)`.
    ///
    /// # Errors
    /// When the driver reports an error.
    pub fn script_later(&self, code: &str) -> anyhow::Result<Value> {
        self.post(
            "execute/async",
            json!({ "script": format!("const done = arguments[arguments.length - 1]; {code}"), "args": [] }),
        )
    }

    /// Fails on accessibility problems that axe-core finds on the page. Without axe-core (`FOG_AXE`) it
    /// prints so, and fails where `CI` is set.
    pub fn assert_accessible(&self, page: &str) {
        let Some(axe) = std::env::var_os("FOG_AXE").and_then(|path| std::fs::read_to_string(path).ok())
        else {
            assert!(std::env::var_os("CI").is_none(), "axe-core is not here");
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

    /// Fails on text with too little contrast.
    pub fn assert_contrast(&self) {
        assert_eq!(self.script(CONTRAST).unwrap(), json!([]), "text with too little contrast");
    }

    /// Sends real key events to the focused window.
    pub fn keys(&self, args: &[&str]) {
        let id = self.window_id();
        let act = |args: &[&str]| {
            Command::new("xdotool")
                .args(args)
                .env("DISPLAY", &self.display)
                .status()
                .is_ok_and(|status| status.success())
        };
        assert!(act(&["windowfocus", "--sync", &id]) && act(args), "xdotool {args:?}");
    }

    /// Returns the text of the first element that matches a selector; `None` when there is none.
    pub fn text(&self, selector: &str) -> Option<String> {
        let value = self
            .script(&format!(
                "const e = document.querySelector({selector:?}); return e ? e.innerText : null;"
            ))
            .ok()?;
        value.as_str().map(str::to_owned)
    }

    /// Waits until the element of a selector contains a text; returns its whole text.
    pub fn wait_text(&self, selector: &str, part: &str, seconds: u64) -> String {
        let found = wait_for(&format!("'{part}' in {selector}"), Duration::from_secs(seconds), || {
            self.text(selector).filter(|text| text.contains(part))
        });
        found.unwrap_or_else(|error| panic!("{error}; it says {:?}", self.text("body")))
    }

    /// Clicks an element through WebDriver.
    pub fn click(&self, selector: &str) {
        let id = self.element(selector);
        self.post(&format!("element/{id}/click"), json!({})).unwrap();
    }

    /// Types into the element of a selector; a line break becomes Enter.
    pub fn type_into(&self, selector: &str, text: &str) {
        let id = self.element(selector);
        self.post(&format!("element/{id}/value"), json!({ "text": text.replace('\n', "\u{e007}") })).unwrap();
    }

    fn element(&self, selector: &str) -> String {
        let element = wait_for(selector, Duration::from_secs(15), || {
            self.post("element", json!({ "using": "css selector", "value": selector })).ok()
        });
        let element = element.unwrap_or_else(|error| panic!("{error}; it says {:?}", self.text("body")));
        element.as_object().and_then(|o| o.values().next()).and_then(Value::as_str).unwrap().to_owned()
    }

    /// Saves a screenshot of the window.
    pub fn screenshot(&self, name: &str) {
        std::thread::sleep(Duration::from_millis(300));
        let path = artefacts().join(name);
        let shot = Command::new("import")
            .args(["-window", &self.window_id(), &path.to_string_lossy()])
            .env("DISPLAY", &self.display)
            .status();
        assert!(shot.is_ok_and(|status| status.success()), "import (ImageMagick)");
        assert!(std::fs::metadata(&path).unwrap().len() > 2_000, "a screenshot with something on it");
    }

    /// Resizes the window; sizes in pixels.
    pub fn resize(&self, width: u32, height: u32) {
        let sized = Command::new("xdotool")
            .args(["windowsize", "--sync", &self.window_id(), &width.to_string(), &height.to_string()])
            .env("DISPLAY", &self.display)
            .status();
        assert!(sized.is_ok_and(|status| status.success()), "xdotool");
        std::thread::sleep(Duration::from_millis(400));
    }

    /// Returns the window id of the X server.
    pub fn window_id(&self) -> String {
        let found = Command::new("xdotool")
            .args(["search", "--onlyvisible", "--name", "Fog Compute"])
            .env("DISPLAY", &self.display)
            .output()
            .unwrap();
        String::from_utf8_lossy(&found.stdout).lines().next().expect("the app's window").to_owned()
    }

    /// Ends the session and with it the app.
    pub fn close(&self) {
        let _ = self.agent.delete(format!("{}/session/{}", self.base, self.session)).call();
    }
}

/// Starts a program that is killed when the test ends.
pub fn spawn(program: &str, args: &[&str], environment: &[(String, String)]) -> Guarded {
    let mut command = Command::new(program);
    // Messages of the app are kept with the pictures.
    let log = std::fs::File::options().create(true).append(true).open(artefacts().join("window.log"));
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
    for (name, value) in environment {
        command.env(name, value);
    }
    Guarded(
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask setup` installs it")),
    )
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Presses a key with the X server's XTEST extension.
pub fn type_key(display: &str) {
    let done = Command::new("xdotool").args(["key", "shift"]).env("DISPLAY", display).status();
    assert!(done.is_ok_and(|status| status.success()), "xdotool");
}

/// Returns every visible text whose contrast with its background is below 4.5:1 (WCAG 2.1, 1.4.3).
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
