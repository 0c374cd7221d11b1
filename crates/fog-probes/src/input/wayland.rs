use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::{wl_registry::WlRegistry, wl_seat::WlSeat};
use wayland_client::{Connection, Dispatch, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notification_v1::{
    Event, ExtIdleNotificationV1,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1;

use super::{OnInput, Shared};

/// Time without input after which the compositor reports idleness; the end of it is reported at once.
const QUIET: Duration = Duration::from_secs(1);

/// Watches a compositor that supports `ext-idle-notify-v1`; returns false when there is none.
pub(super) fn start(shared: &Arc<Shared>, on_input: &OnInput) -> bool {
    let Ok(connection) = Connection::connect_to_env() else { return false };
    watch(connection, shared, on_input).is_some()
}

pub(super) fn watch(connection: Connection, shared: &Arc<Shared>, on_input: &OnInput) -> Option<()> {
    let (globals, mut queue) = registry_queue_init::<State>(&connection).ok()?;
    let handle = queue.handle();
    let seat: WlSeat = globals.bind(&handle, 1..=1, ()).ok()?;
    let notifier: ExtIdleNotifierV1 = globals.bind(&handle, 1..=2, ()).ok()?;
    let timeout = QUIET.as_millis() as u32;
    // Version 2 can ignore idle inhibitors, which are a separate rule here.
    if wayland_client::Proxy::version(&notifier) >= 2 {
        notifier.get_input_idle_notification(timeout, &seat, &handle, ());
    } else {
        notifier.get_idle_notification(timeout, &seat, &handle, ());
    }
    let mut state = State { quiet_since: None, had_input: AtomicBool::new(false) };
    queue.roundtrip(&mut state).ok()?;
    let (weak, on_input) = (Arc::downgrade(shared), Arc::clone(on_input));
    let run = move || {
        let _seat_and_notifier = (seat, notifier);
        while let Some(shared) = weak.upgrade().filter(|shared| !shared.should_stop()) {
            let idle = state.quiet_since.map_or(Duration::ZERO, |since| since.elapsed() + QUIET);
            shared.publish(idle, None);
            if state.had_input.swap(false, Ordering::Relaxed) {
                on_input();
            }
            drop(shared);
            if wait(&mut queue, &mut state).is_none() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".to_owned()).stack_size(256 << 10).spawn(run).ok().map(drop)
}

fn wait(queue: &mut EventQueue<State>, state: &mut State) -> Option<()> {
    queue.flush().ok()?;
    if queue.dispatch_pending(state).ok()? > 0 {
        return Some(());
    }
    let guard = queue.prepare_read()?;
    let ready = {
        let fd = guard.connection_fd();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&QUIET.try_into().ok()?))
    };
    match ready {
        Ok(n) if n > 0 => {
            guard.read().ok()?;
            queue.dispatch_pending(state).ok()?;
        }
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(_) => return None,
    }
    Some(())
}

struct State {
    quiet_since: Option<Instant>,
    had_input: AtomicBool,
}

impl Dispatch<ExtIdleNotificationV1, ()> for State {
    fn event(
        state: &mut Self,
        _: &ExtIdleNotificationV1,
        event: Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            Event::Idled => state.quiet_since = Some(Instant::now()),
            Event::Resumed => {
                state.quiet_since = None;
                state.had_input.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for State {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: wayland_client::protocol::wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(State: ignore WlSeat);
delegate_noop!(State: ExtIdleNotifierV1);
