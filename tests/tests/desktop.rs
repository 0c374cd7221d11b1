//! Integration with the desktop: tray, notifications, autostart, a second start, dropped files, a running
//! daemon; and every page with its controls.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fog_tests::window::Desk;
use fog_tests::{Bench, Guarded, app_binary, drag, wait_for};
use serde_json::json;
use zbus::blocking::{Connection, Proxy, connection};
use zbus::zvariant::{OwnedValue, Value};

/// Two windows at once would slow each other down on a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Calls that the desktop's shell received.
#[derive(Default)]
struct Told {
    tray: Vec<(String, String)>,
    notifications: Vec<String>,
}

struct Watcher(Arc<Mutex<Told>>);

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(
        &self,
        #[zbus(header)] header: zbus::message::Header<'_>,
        service: String,
    ) {
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        self.0.lock().unwrap().tray.push((sender, service));
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }
}

struct Notifications(Arc<Mutex<Told>>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notifications {
    #[expect(clippy::too_many_arguments, reason = "as the specification has it")]
    fn notify(
        &self,
        _app: &str,
        _replaces: u32,
        _icon: &str,
        summary: &str,
        body: &str,
        _actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _ms: i32,
    ) -> u32 {
        self.0.lock().unwrap().notifications.push(format!("{summary}: {body}"));
        1
    }

    fn get_capabilities(&self) -> Vec<String> {
        vec!["body".to_owned()]
    }

    fn get_server_information(&self) -> (String, String, String, String) {
        ("test".to_owned(), "test".to_owned(), "1".to_owned(), "1.2".to_owned())
    }
}

fn shell(desk: &Desk) -> (Connection, Arc<Mutex<Told>>) {
    let told = Arc::<Mutex<Told>>::default();
    let connection = connection::Builder::address(desk.bus.address.as_str())
        .unwrap()
        .name("org.kde.StatusNotifierWatcher")
        .unwrap()
        .name("org.freedesktop.Notifications")
        .unwrap()
        .serve_at("/StatusNotifierWatcher", Watcher(Arc::clone(&told)))
        .unwrap()
        .serve_at("/org/freedesktop/Notifications", Notifications(Arc::clone(&told)))
        .unwrap()
        .build()
        .unwrap();
    (connection, told)
}

type Layout = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

/// Returns the entries of the tray's menu: number and label.
fn menu(menu: &Proxy<'_>) -> Vec<(i32, String)> {
    let (_, (_, _, entries)): (u32, Layout) = menu.call("GetLayout", &(0, -1, Vec::<String>::new())).unwrap();
    let entry = |value: OwnedValue| -> Option<(i32, String)> {
        let (id, properties, _) = Layout::try_from(value).ok()?;
        let label = properties.get("label")?.downcast_ref::<&str>().ok()?.to_owned();
        Some((id, label))
    };
    entries.into_iter().filter_map(entry).collect()
}

#[test]
fn without_a_display_the_app_says_so_and_its_help_needs_none() {
    let bench = Bench::new().unwrap();
    let app = |args: &[&str], display: Option<&str>| {
        let mut command = Command::new(app_binary());
        command
            .args(args)
            .env("FOG_DATA_DIR", bench.data())
            .env("HOME", bench.scratch())
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("DISPLAY");
        if let Some(display) = display {
            command.env("DISPLAY", display);
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(!text.contains("panicked"), "{text}");
        (output.status.code(), text)
    };
    for args in [&["--help"][..], &["-h"], &["--hidden", "--help"]] {
        let (code, text) = app(args, None);
        assert!(code == Some(0) && text.contains("--hidden") && text.contains("fog daemon"), "{text}");
    }
    let (code, text) = app(&["--version"], None);
    assert!(code == Some(0) && text.starts_with("fog-compute "), "{text}");
    for (display, why) in [(None, "nor DISPLAY is set"), (Some(":4711"), "DISPLAY is :4711")] {
        for args in [&[][..], &["--hidden"]] {
            let (code, text) = app(args, display);
            assert!(code == Some(78) && text.contains(why) && text.contains("fog daemon"), "{code:?} {text}");
        }
    }
    assert!(!bench.data().exists(), "nothing was begun");
}

#[test]
fn tray_notifications_autostart_drop_and_a_second_start() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let desk = Desk::set_up().unwrap();
    let (bus, told) = shell(&desk);
    let bench = &desk.bench;
    let window = desk.open().unwrap();
    window.click("#welcome-start");
    window.wait_text("#pill", "Waiting", 20);

    // Tray: the state in the tooltip, a pause by the menu.
    let (owner, path) = wait_for("an icon in the tray", Duration::from_secs(15), || {
        told.lock().unwrap().tray.first().cloned()
    })
    .unwrap();
    let item = Proxy::new(&bus, owner.as_str(), path.as_str(), "org.kde.StatusNotifierItem").unwrap();
    let menu_path: zbus::zvariant::OwnedObjectPath = item.get_property("Menu").unwrap();
    let entries = Proxy::new(&bus, owner.as_str(), menu_path.as_str(), "com.canonical.dbusmenu").unwrap();
    let list = menu(&entries);
    println!("tray: {list:?}");
    let choose = |part: &str| {
        let (id, _) = menu(&entries)
            .into_iter()
            .find(|(_, label)| label.contains(part))
            .unwrap_or_else(|| panic!("no '{part}' in {list:?}"));
        let _: () = entries.call("Event", &(id, "clicked", Value::from(""), 0_u32)).unwrap();
    };
    choose("30 min");
    window.wait_text("#pill", "Paused", 10);
    assert!(bench.json(&["status"]).unwrap()["snoozed_until_ms"].is_i64());
    choose("End the pause");
    window.wait_text("#pill", "Waiting", 10);

    // Autostart is optional and can be switched off again.
    let entry = || {
        std::fs::read_dir(bench.scratch().join(".config/autostart"))
            .into_iter()
            .flatten()
            .flatten()
            .next()
            .map(|entry| entry.path())
    };
    assert_eq!(entry(), None, "off unless asked for");
    bench.fog(&["settings", "set", "autostart=on"]).unwrap();
    let file = wait_for("an entry of autostart", Duration::from_secs(5), entry).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("fog-compute") && text.contains("--hidden"), "{text}");
    bench.fog(&["settings", "set", "autostart=off"]).unwrap();
    wait_for("the entry to go", Duration::from_secs(5), || entry().is_none().then_some(())).unwrap();

    // A file dropped on the window becomes a job; a failed job causes a notification unless the window is
    // in front.
    bench.work_always().unwrap();
    let broken = bench
        .module(
            "broken.wasm",
            "(module (memory (export \"memory\") 1) (func (export \"_start\") unreachable))",
        )
        .unwrap();
    window.click("#page-jobs");
    wait_for("the invitation", Duration::from_secs(5), || window.text(".drop")).unwrap();
    let id: u32 = window.window_id().parse().unwrap();
    drag::drop_file(&desk.display, id, &broken).unwrap();
    window.wait_text("#job-line", "of 1", 20);
    assert_eq!(bench.json(&["jobs"]).unwrap()[0]["name"], "broken");
    std::process::Command::new("xdotool")
        .args(["windowminimize", &id.to_string()])
        .env("DISPLAY", &desk.display)
        .status()
        .unwrap();
    // Each job has a name of its own: a notification says of which it is, however late it comes.
    let fail = |name: &str| {
        let module = broken.with_file_name(format!("{name}.wasm"));
        std::fs::copy(&broken, &module).unwrap();
        bench.json(&["submit", "--wait", &module.to_string_lossy()]).unwrap_err();
    };
    let note =
        |name: &str| told.lock().unwrap().notifications.iter().find(|note| note.contains(name)).cloned();
    fail("second");
    println!(
        "notification: {}",
        wait_for("a notification", Duration::from_secs(20), || note("second")).unwrap()
    );
    bench.fog(&["settings", "set", "notifications=off"]).unwrap();
    fail("silenced");
    bench.fog(&["settings", "set", "notifications=on"]).unwrap();
    fail("fourth");
    wait_for("a notification", Duration::from_secs(20), || note("fourth")).unwrap();
    assert_eq!(note("silenced"), None);

    // Closing the window keeps the app in the tray; a second start shows the window of the first.
    let shown = || {
        let found = std::process::Command::new("xdotool")
            .args(["search", "--onlyvisible", "--name", "Fog Compute"])
            .env("DISPLAY", &desk.display)
            .output();
        found.is_ok_and(|found| !found.stdout.is_empty())
    };
    assert!(!shown(), "minimised");
    let mut second = Guarded(desk.app().spawn().unwrap());
    let status =
        wait_for("the second to leave", Duration::from_secs(20), || second.0.try_wait().unwrap()).unwrap();
    assert!(status.success(), "{status}");
    wait_for("the window of the first", Duration::from_secs(10), || shown().then_some(())).unwrap();
    choose("Quit");
    wait_for("the end", Duration::from_secs(15), || {
        bench.fog(&["status"]).ok().filter(|status| !status.status.success())
    })
    .unwrap();
}

#[test]
fn the_tray_says_what_was_not_read_and_leads_there() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut desk = Desk::set_up().unwrap();
    desk.bench.stay_on_loopback();
    desk.bench.start().unwrap();
    assert!(
        desk.bench
            .fog(&["settings", "set", "first_run_done=on", "chat_nickname=anna"])
            .unwrap()
            .status
            .success()
    );
    let (bus, told) = shell(&desk);
    let ben = Bench::device("ben").unwrap();
    desk.bench.invite(&[&ben]).unwrap();
    let window = desk.open().unwrap();
    window.click("#page-jobs");
    let (owner, path) = wait_for("an icon in the tray", Duration::from_secs(15), || {
        told.lock().unwrap().tray.first().cloned()
    })
    .unwrap();
    let item = Proxy::new(&bus, owner.as_str(), path.as_str(), "org.kde.StatusNotifierItem").unwrap();
    let menu_path: zbus::zvariant::OwnedObjectPath = item.get_property("Menu").unwrap();
    let entries = Proxy::new(&bus, owner.as_str(), menu_path.as_str(), "com.canonical.dbusmenu").unwrap();
    let entry = || menu(&entries).into_iter().find(|(_, label)| label.starts_with("Chat"));
    assert_eq!(entry().map(|(_, label)| label).as_deref(), Some("Chat"));
    let arrived = || {
        ben.fog(&["chat", "send", "--to", "anna", "--wait", "60", "are you there?"])
            .ok()
            .filter(|sent| sent.status.success())
    };
    wait_for("the message", Duration::from_secs(120), arrived).unwrap();
    let unread = || entry().filter(|(_, label)| label == "Chat · One unread message").map(|(id, _)| id);
    let id = wait_for("the count in the menu", Duration::from_secs(15), unread).unwrap();
    // A new proxy: the old one caches the properties that it has read.
    let item = Proxy::new(&bus, owner.as_str(), path.as_str(), "org.kde.StatusNotifierItem").unwrap();
    assert_eq!(item.get_property::<String>("XAyatanaLabel").unwrap(), "1", "beside the icon");
    let _: () = entries.call("Event", &(id, "clicked", Value::from(""), 0_u32)).unwrap();
    window.wait_text("#threads", "are you there?", 15);
    let from = ben.json(&["chat", "verify"]).unwrap()["id"].as_str().unwrap().to_owned();
    window.click(&format!("#thread-{from}"));
    window.wait_text("#messages", "are you there?", 15);
    wait_for("nothing unread", Duration::from_secs(30), || entry().filter(|(_, label)| label == "Chat"))
        .unwrap();
}

/// Uses a real window manager's report that a program covers the screen.
#[test]
fn a_program_over_the_whole_screen_stops_the_work() {
    use x11rb::connection::Connection as _;
    use x11rb::protocol::xproto::{
        AtomEnum, ClientMessageEvent, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, WindowClass,
    };
    use x11rb::wrapper::ConnectionExt as _;
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let desk = Desk::set_up().unwrap();
    let mut daemon = desk.bench.command(&["daemon"]);
    daemon.env("DISPLAY", &desk.display).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _daemon = Guarded(daemon.spawn().unwrap());
    wait_for("the daemon", Duration::from_secs(20), || desk.bench.json(&["status"]).ok()).unwrap();
    let settings = [
        "contributing=on",
        "run_while_in_use=on",
        "hold=1",
        "other_cpu_stop=100",
        "disk_free_min=0.1",
        "ram_available_min=64",
    ];
    assert!(desk.bench.fog(&[&["settings", "set"], settings.as_slice()].concat()).unwrap().status.success());
    let stops = || {
        desk.bench
            .fog(&["--json", "why"])
            .ok()
            .map(|why| String::from_utf8_lossy(&why.stdout).contains("\"fullscreen\""))
    };
    assert_eq!(stops(), Some(false));

    let (server, screen) = x11rb::connect(Some(&desk.display)).unwrap();
    let root = server.setup().roots[screen].root;
    let window = server.generate_id().unwrap();
    server
        .create_window(
            0,
            window,
            root,
            0,
            0,
            300,
            200,
            0,
            WindowClass::INPUT_OUTPUT,
            0,
            &CreateWindowAux::new(),
        )
        .unwrap();
    let atom = |name: &str| server.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom;
    let (state, covering) = (atom("_NET_WM_STATE"), atom("_NET_WM_STATE_FULLSCREEN"));
    // A window created before its manager runs is not brought to the front.
    let check = atom("_NET_SUPPORTING_WM_CHECK");
    let is_managed = || {
        server
            .get_property(false, root, check, AtomEnum::WINDOW, 0, 1)
            .ok()?
            .reply()
            .ok()
            .filter(|reply| reply.value_len > 0)
    };
    wait_for("the window manager", Duration::from_secs(20), is_managed).unwrap();
    server.change_property32(PropMode::REPLACE, window, state, AtomEnum::ATOM, &[covering]).unwrap();
    server.map_window(window).unwrap().check().unwrap();
    // Managers do not raise a window that nobody asked for, except at a pager's request.
    let front = atom("_NET_ACTIVE_WINDOW");
    let to_front = || {
        let wish = ClientMessageEvent::new(32, window, front, [2, 0, 0, 0, 0]);
        server
            .send_event(false, root, EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY, wish)
            .ok()?
            .check()
            .ok()
    };
    wait_for("a pause for it", Duration::from_secs(40), || {
        to_front().and_then(|()| stops()).filter(|stops| *stops)
    })
    .unwrap();
    server.destroy_window(window).unwrap().check().unwrap();
    wait_for("its end", Duration::from_secs(40), || stops().filter(|stops| !stops)).unwrap();
}

#[test]
fn a_window_on_a_running_daemon_and_every_page_of_it() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut desk = Desk::set_up().unwrap();
    let many = 10_000_u64;
    {
        let mut store = fog_store::Store::open(&desk.bench.data()).unwrap();
        let blob = fog_store::BlobFile::copy(
            &desk.bench.data(),
            &b"\0asm\x01\0\0\0"[..],
            fog_types::ByteCount::mib(1),
        )
        .unwrap();
        let module = store.add_blob(blob, fog_types::ByteCount::mib(100), fog_types::UnixMillis(0)).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        for n in 0..many {
            let file = fog_types::job::JobFile::for_module(&format!("job {n}"), "m.wasm");
            let blobs =
                fog_store::Blobs { module, stdin: None, inputs: Default::default(), items: Vec::new() };
            store
                .insert_job(&fog_store::NewJob {
                    file,
                    blobs,
                    owner: "me".to_owned(),
                    grid: None,
                    now: fog_types::UnixMillis(now),
                })
                .unwrap();
        }
    }
    desk.bench.stay_on_loopback();
    desk.bench.start().unwrap();
    let daemon = desk.bench.pid();
    let bench = &desk.bench;
    let window = desk.open().unwrap();

    // Errors that the page reports from here on fail the test.
    let listen = "window.complaints = []; const say = console.error; console.error = (...all) => { complaints.push(all.join(' ')); say(...all); }; \
        addEventListener('error', e => complaints.push(e.message)); \
        document.addEventListener('securitypolicyviolation', e => complaints.push(e.violatedDirective + ' ' + e.sample + ' ' + e.sourceFile))";
    window.script(listen).unwrap();
    let assert_no_complaints = || assert_eq!(window.script("return complaints").unwrap(), json!([]));

    // The first screen, in both colour schemes.
    for theme in ["theme=dark", "theme=light"] {
        bench.fog(&["settings", "set", theme]).unwrap();
        window.wait_text("h1", "idle time", 20);
        std::thread::sleep(Duration::from_millis(300));
        window.assert_accessible("welcome");
        window.assert_contrast();
    }
    window.screenshot("welcome-desktop-light.png");
    window.click("#welcome-later");
    window.click("#page-settings");
    window.wait_text("main", "Attached to", 15);

    // The pill shows the reason and pauses; "change" leads to the setting.
    window.click("#switch-contributing, #page-home");
    bench.fog(&["settings", "set", "contributing=on", "disk_free_min=2000"]).unwrap();
    window.wait_text("#pill", "Waiting", 10);
    window.click("#pill");
    window.wait_text("#pill-panel", "of disk is free", 5);
    window.assert_accessible("the pill's panel");
    window.screenshot("pill-desktop-light.png");
    // On a busy machine another reason comes first.
    let change = "[...document.querySelectorAll('#pill-panel li')].find(li => li.textContent.includes('of disk is free')).querySelector('button').click()";
    window.script(change).unwrap();
    wait_for("the setting", Duration::from_secs(5), || {
        (window.script("return document.activeElement.id").ok()? == "set-disk_free_min").then_some(())
    })
    .unwrap();
    window.click("#pill");
    window.click("#pill-panel > .row button");
    window.wait_text("#pill", "Paused", 10);
    window.keys(&["key", "Escape"]);
    wait_for("the panel to close", Duration::from_secs(5), || {
        (window.script("return document.querySelector('#pill-panel').hidden").ok()? == true).then_some(())
    })
    .unwrap();

    // The palette runs the actions of the command line.
    let palette = |what: &str| {
        window.keys(&["key", "ctrl+k"]);
        wait_for("the palette", Duration::from_secs(5), || window.text("#palette-input")).unwrap();
        window.keys(&["type", what]);
        window.keys(&["key", "Return"]);
    };
    palette("end the pause");
    window.wait_text("#pill", "Waiting", 10);
    palette("until tomorrow");
    window.wait_text("#pill", "Paused", 10);
    palette("end the pause");
    palette("check this device");
    window.wait_text("main", "sandbox around jobs", 10);

    // Another device joins by an invitation of the window, and gets a task of a job of this one.
    window.click("#page-network");
    window.wait_text("#network-none", "Only this device", 10);
    window.screenshot("page-network-none.png");
    window.click("#invite");
    let text = || {
        window
            .script("return document.querySelector('#invite-text').value")
            .ok()?
            .as_str()
            .map(str::to_owned)
            .filter(|text| text.starts_with("FOG1"))
    };
    // The first invitation already has an address.
    let invite = wait_for("the invitation", Duration::from_secs(10), text).unwrap();
    window.screenshot("page-network-invitation.png");
    let friend = fog_tests::Bench::device("attic").unwrap();
    friend.json(&["network", "join", &invite]).unwrap();
    let met = wait_for("meeting", Duration::from_secs(30), || (friend.friends() == 1).then_some(()));
    if let Err(error) = met {
        panic!(
            "{error}: {invite}\n{:#}\n{:#}\n{}",
            friend.json(&["network", "status"]).unwrap(),
            bench.json(&["network", "status"]).unwrap(),
            friend.log()
        );
    }
    window.wait_text("#peers", "attic", 30);
    window.wait_text("#peers", "places free", 30);
    let lent =
        bench.json(&["submit", "--example", "lucas-lehmer", "--where", "grid"]).unwrap()["id"].to_string();
    wait_for("its result", Duration::from_secs(60), || {
        (bench.json(&["job", "show", &lent]).ok()?["summary"]["state"] == "finished").then_some(())
    })
    .unwrap();

    // A job for other devices from the window: who has its tasks, and the other placements.
    window.click("#page-jobs");
    window.click("#where-grid");
    window.wait_text("main", "What matters", 5);
    window.script("const prefer = document.querySelector('#prefer'); prefer.value = '1'; prefer.dispatchEvent(new Event('change'))").unwrap();
    window.click("#example-path-tracer");
    window.wait_text("#promise", "not decided yet", 10);
    window.wait_text("#places", "attic", 60);
    window.click("#show-choices");
    window.wait_text("#choices", "done in", 10);
    // A job that does not end while its page is tested.
    let endless = bench
        .module(
            "endless.wasm",
            r#"(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))"#,
        )
        .unwrap();
    let elsewhere =
        bench.json(&["submit", &endless.to_string_lossy(), "--where", "grid"]).unwrap()["id"].to_string();
    let finished = bench.json(&["job", "show", &lent]).unwrap();
    assert_eq!(finished["grid"]["promise"], "kept", "{:#}", finished["grid"]);

    // Every page in both colour schemes and at both widths.
    bench.fog(&["submit", "--example", "protein-search"]).unwrap();
    for (theme, width) in [("dark", 1080), ("light", 390), ("dark", 390), ("light", 1080)] {
        bench.fog(&["settings", "set", &format!("theme={theme}")]).unwrap();
        window.resize(width, 844);
        for page in
            ["page-home", "page-network", "page-history", "page-settings", "page-jobs", "elsewhere", "job"]
        {
            if page == "elsewhere" {
                window
                    .script("[...document.querySelectorAll('#jobs li')].find(row => row.innerText.includes('endless')).querySelector('button').click()")
                    .unwrap();
                window.wait_text("#elsewhere", "Bronze", 10);
                window.script("document.querySelector('#show-choices').click()").unwrap();
                window.wait_text("#choices", "attic", 10);
                window.script("document.querySelector('#elsewhere').scrollIntoView()").unwrap();
            } else if page == "job" {
                window.script("document.querySelector('#page-jobs').click()").unwrap();
                wait_for("a row", Duration::from_secs(10), || window.text("#jobs li button")).unwrap();
                window.script("document.querySelector('#jobs li button').click()").unwrap();
                wait_for("the job", Duration::from_secs(10), || window.text("#job-line")).unwrap();
            } else {
                window.script(&format!("document.querySelector('#{page}').click()")).unwrap();
            }
            std::thread::sleep(Duration::from_millis(250));
            assert_no_complaints();
            window.assert_accessible(&format!("{page} {theme} {width}"));
            window.assert_contrast();
            let overflow =
                window.script("return document.documentElement.scrollWidth - window.innerWidth").unwrap();
            assert!(overflow.as_i64() <= Some(0), "{page} {theme} {width}: {overflow}");
            window.screenshot(&format!("{page}-{width}-{theme}.png"));
        }
    }

    assert_no_complaints();
    bench.json(&["job", "cancel", &elsewhere]).unwrap();

    // Ten thousand rows: only those in sight are in the page, and the end can be reached.
    window.script("document.querySelector('#page-jobs').click()").unwrap();
    wait_for("the list", Duration::from_secs(10), || window.text("#jobs li")).unwrap();
    let begun = Instant::now();
    let last = wait_for("the last row", Duration::from_secs(60), || {
        window.script("document.querySelector('.list.rows').scrollTop = 1e7").ok()?;
        let ends = "const rows = document.querySelectorAll('#jobs li'), last = rows[rows.length - 1]; return [rows.length, +last.getAttribute('aria-posinset'), +last.getAttribute('aria-setsize'), last.innerText]";
        let ends = window.script(ends).ok()?;
        (ends[2].as_u64() == Some(many + 4) && ends[1] == ends[2]).then_some(ends)
    });
    let last = last.unwrap();
    println!("to the last of 10,001 rows: {:?}", begun.elapsed());
    assert!(last[0].as_u64() < Some(60), "{last}");
    assert!(last[3].as_str().is_some_and(|text| text.contains("job 0")), "{last}");
    let frames = "const list = document.querySelector('.list.rows'); const times = []; let last = performance.now(), n = 0; \
        const step = now => { times.push(now - last); last = now; list.scrollTop = (n * 9973) % list.scrollHeight; if (++n < 60) requestAnimationFrame(step); else done(times.sort((a, b) => a - b)); }; requestAnimationFrame(step);";
    let times = window.script_later(frames).unwrap();
    println!(
        "frames while jumping through them: median {:.0} ms, longest {:.0} ms",
        times[30].as_f64().unwrap(),
        times[59].as_f64().unwrap()
    );
    let rows = window.script("return document.querySelectorAll('#jobs li').length").unwrap();
    assert!(rows.as_u64() < Some(60) && rows != json!(0), "{rows}");

    // The window was attached, so the daemon stays.
    window.close();
    assert!(bench.fog(&["status"]).unwrap().status.success());
    assert_eq!(bench.pid(), daemon);
    // When the daemon goes while a window is open, the window goes on with its own engine.
    let window = desk.open().unwrap();
    window.wait_text("#pill", "", 20);
    desk.bench.kill();
    wait_for("an engine in the window", Duration::from_secs(20), || desk.bench.json(&["status"]).ok())
        .unwrap();
    window.script("document.querySelector('#page-settings').click()").unwrap();
    wait_for("the window no longer attached", Duration::from_secs(20), || {
        window.text("main").filter(|text| text.contains("Import") && !text.contains("Attached to"))
    })
    .unwrap();
    // The own engine is not taken for a daemon once its socket exists.
    std::thread::sleep(Duration::from_secs(3));
    window.script("location.reload()").unwrap();
    let text = wait_for("the page read anew", Duration::from_secs(20), || {
        window.text("main").filter(|text| text.contains("Import"))
    })
    .unwrap();
    assert!(!text.contains("Attached to"), "{text}");
    window.close();
}
