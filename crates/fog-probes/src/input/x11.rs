use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::screensaver::ConnectionExt as _;
use x11rb::protocol::sync::{ConnectionExt as _, CreateAlarmAux, Int64, TESTTYPE, Trigger, VALUETYPE};
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, Window};
use x11rb::rust_connection::RustConnection;

use super::{OnInput, Shared};

/// Time without input after which the next input is reported at once.
const QUIET_MILLIS: u32 = 1_000;

/// Watches the X server's idle counter; returns false when there is no server.
///
/// An alarm of the SYNC extension on IDLETIME sends an event the moment the counter falls:
/// <https://www.x.org/releases/current/doc/xextproto/sync.html>
pub(super) fn start(shared: &Arc<Shared>, on_input: &OnInput) -> bool {
    let Ok((server, screen)) = x11rb::connect(None) else { return false };
    let Some(watch) = Watch::new(server, screen) else { return false };
    // Published here, because the first sample is taken before the thread first runs.
    if let Some(idle) = watch.idle() {
        shared.publish(idle, watch.fullscreen());
    }
    let (weak, on_input) = (Arc::downgrade(shared), Arc::clone(on_input));
    let run = move || {
        while let Some(shared) = weak.upgrade().filter(|shared| !shared.should_stop()) {
            let Some(idle) = watch.idle() else { return };
            shared.publish(idle, watch.fullscreen());
            drop(shared);
            match watch.wait(Duration::from_secs(1)) {
                Some(true) => {
                    if let Some(shared) = weak.upgrade() {
                        shared.publish(Duration::ZERO, None);
                    }
                    on_input();
                }
                Some(false) => {}
                None => return,
            }
        }
    };
    std::thread::Builder::new().name("input".to_owned()).stack_size(256 << 10).spawn(run).is_ok()
}

struct Watch {
    server: RustConnection,
    root: Window,
    active_window: Atom,
    wm_state: Atom,
    state_fullscreen: Atom,
}

impl Watch {
    fn new(server: RustConnection, screen: usize) -> Option<Self> {
        let root = server.setup().roots.get(screen)?.root;
        let atom = |name: &str| Some(server.intern_atom(false, name.as_bytes()).ok()?.reply().ok()?.atom);
        let (active_window, wm_state, state_fullscreen) =
            (atom("_NET_ACTIVE_WINDOW")?, atom("_NET_WM_STATE")?, atom("_NET_WM_STATE_FULLSCREEN")?);
        server.sync_initialize(3, 1).ok()?.reply().ok()?;
        let counters = server.sync_list_system_counters().ok()?.reply().ok()?.counters;
        let idle = counters.iter().find(|counter| counter.name == b"IDLETIME")?.counter;
        let trigger = Trigger {
            counter: idle,
            wait_type: VALUETYPE::ABSOLUTE,
            wait_value: Int64 { hi: 0, lo: QUIET_MILLIS },
            test_type: TESTTYPE::NEGATIVE_TRANSITION,
        };
        let values = CreateAlarmAux::new()
            .counter(trigger.counter)
            .value_type(trigger.wait_type)
            .value(trigger.wait_value)
            .test_type(trigger.test_type)
            .delta(Int64 { hi: 0, lo: 0 })
            .events(1);
        let alarm = server.generate_id().ok()?;
        server.sync_create_alarm(alarm, &values).ok()?.check().ok()?;
        Some(Self { server, root, active_window, wm_state, state_fullscreen })
    }

    fn idle(&self) -> Option<Duration> {
        let info = self.server.screensaver_query_info(self.root).ok()?.reply().ok()?;
        Some(Duration::from_millis(u64::from(info.ms_since_user_input)))
    }

    /// Whether the active window covers the screen, according to the window manager (EWMH).
    fn fullscreen(&self) -> Option<bool> {
        let property = |window, name, kind: AtomEnum| {
            self.server.get_property(false, window, name, kind, 0, 32).ok()?.reply().ok()
        };
        // Without a window manager it is unknown; without an active window nothing covers the screen.
        let active = property(self.root, self.active_window, AtomEnum::WINDOW)
            .filter(|reply| reply.type_ != x11rb::NONE)?;
        let Some(active) = active.value32().and_then(|mut list| list.next()).filter(|window| *window != 0)
        else {
            return Some(false);
        };
        // A window that was just closed covers nothing either.
        let Some(states) = property(active, self.wm_state, AtomEnum::ATOM) else { return Some(false) };
        Some(states.value32().is_some_and(|mut list| list.any(|state| state == self.state_fullscreen)))
    }

    /// Returns whether input ended an idle time before `limit`; `None` when the server is gone.
    fn wait(&self, limit: Duration) -> Option<bool> {
        self.server.flush().ok()?;
        loop {
            while let Some(event) = self.server.poll_for_event().ok()? {
                if matches!(event, Event::SyncAlarmNotify(_)) {
                    return Some(true);
                }
            }
            let stream = self.server.stream();
            let mut fds = [PollFd::new(stream, PollFlags::IN)];
            let timeout = limit.try_into().ok()?;
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Some(false),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}
