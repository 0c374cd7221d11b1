//! Runs the watcher against a real Wayland server: a compositor with a seat that reports idleness and draws
//! nothing, built on the protocol's server library.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use wayland_protocols::ext::idle_notify::v1::server::ext_idle_notification_v1::{
    self, ExtIdleNotificationV1,
};
use wayland_protocols::ext::idle_notify::v1::server::ext_idle_notifier_v1::{self, ExtIdleNotifierV1};
use wayland_server::backend::{ClientData, ClientId, DisconnectReason};
use wayland_server::protocol::wl_seat::{self, WlSeat};
use wayland_server::{Client, DataInit, Dispatch, Display, DisplayHandle, GlobalDispatch, New};

use super::{OnInput, Shared, wayland};

/// Action of the test at the compositor's keyboard.
enum Act {
    Leave,
    Touch,
}

#[derive(Default)]
struct Compositor {
    notifications: Vec<ExtIdleNotificationV1>,
    timeouts: Vec<u32>,
    ignores_inhibitors: bool,
}

struct Quiet;
impl ClientData for Quiet {
    fn initialized(&self, _: ClientId) {}
    fn disconnected(&self, _: ClientId, _: DisconnectReason) {}
}

impl GlobalDispatch<WlSeat, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        seat: New<WlSeat>,
        (): &(),
        data: &mut DataInit<'_, Self>,
    ) {
        data.init(seat, ());
    }
}

impl Dispatch<WlSeat, ()> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlSeat,
        _: wl_seat::Request,
        (): &(),
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
    }
}

impl GlobalDispatch<ExtIdleNotifierV1, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        notifier: New<ExtIdleNotifierV1>,
        (): &(),
        data: &mut DataInit<'_, Self>,
    ) {
        data.init(notifier, ());
    }
}

impl Dispatch<ExtIdleNotifierV1, ()> for Compositor {
    fn request(
        state: &mut Self,
        _: &Client,
        _: &ExtIdleNotifierV1,
        request: ext_idle_notifier_v1::Request,
        (): &(),
        _: &DisplayHandle,
        data: &mut DataInit<'_, Self>,
    ) {
        let (id, timeout) = match request {
            ext_idle_notifier_v1::Request::GetIdleNotification { id, timeout, .. } => (id, timeout),
            ext_idle_notifier_v1::Request::GetInputIdleNotification { id, timeout, .. } => {
                state.ignores_inhibitors = true;
                (id, timeout)
            }
            _ => return,
        };
        state.timeouts.push(timeout);
        state.notifications.push(data.init(id, ()));
    }
}

impl Dispatch<ExtIdleNotificationV1, ()> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &ExtIdleNotificationV1,
        _: ext_idle_notification_v1::Request,
        (): &(),
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
    }
}

/// Runs a compositor for the other end of `socket` until the test drops its sender.
fn compose(socket: UnixStream, version: u32, acts: &Receiver<Act>) -> Compositor {
    let mut display = Display::<Compositor>::new().unwrap();
    let mut handle = display.handle();
    handle.create_global::<Compositor, WlSeat, _>(1, ());
    handle.create_global::<Compositor, ExtIdleNotifierV1, _>(version, ());
    handle.insert_client(socket, Arc::new(Quiet)).unwrap();
    let mut state = Compositor::default();
    loop {
        display.dispatch_clients(&mut state).unwrap();
        match acts.recv_timeout(Duration::from_millis(2)) {
            Ok(Act::Leave) => state.notifications.iter().for_each(ExtIdleNotificationV1::idled),
            Ok(Act::Touch) => state.notifications.iter().for_each(ExtIdleNotificationV1::resumed),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return state,
        }
        display.flush_clients().unwrap();
    }
}

/// Starts the watcher with a compositor whose notifier has this version.
fn watched(
    version: u32,
) -> (SyncSender<Act>, std::thread::JoinHandle<Compositor>, Arc<Shared>, Receiver<Instant>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (acts, received) = sync_channel(16);
    let compositor = std::thread::spawn(move || compose(theirs, version, &received));
    let shared = Arc::new(Shared::default());
    let (touched, touches) = sync_channel(16);
    let on_input: OnInput = Arc::new(move || _ = touched.send(Instant::now()));
    let connection = wayland_client::Connection::from_socket(ours).unwrap();
    wayland::watch(connection, &shared, &on_input).expect("the watcher starts");
    (acts, compositor, shared, touches)
}

fn idle_within(shared: &Shared, range: std::ops::Range<f32>) -> bool {
    let limit = Instant::now() + Duration::from_secs(3);
    while Instant::now() < limit {
        let latest = *shared.latest.lock().unwrap();
        if latest.is_some_and(|latest| range.contains(&latest.idle.as_secs_f32())) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn a_compositor_tells_of_quiet_and_input() {
    for version in [1, 2] {
        let (acts, compositor, shared, touches) = watched(version);
        assert!(idle_within(&shared, 0.0..0.1), "in use at first");
        acts.send(Act::Leave).unwrap();
        assert!(idle_within(&shared, 1.0..4.0), "quiet for the second the compositor was asked to wait");
        assert!(touches.try_recv().is_err());
        let touched = Instant::now();
        acts.send(Act::Touch).unwrap();
        let heard = touches.recv_timeout(Duration::from_secs(3)).expect("input is passed on");
        assert!(
            heard.duration_since(touched) < Duration::from_millis(500),
            "{:?}",
            heard.duration_since(touched)
        );
        assert!(idle_within(&shared, 0.0..0.5));
        drop(acts);
        let state = compositor.join().unwrap();
        assert_eq!((state.timeouts, state.ignores_inhibitors), (vec![1000], version == 2));
    }
}

#[test]
fn a_compositor_that_goes_away_leaves_no_stale_quiet() {
    let (acts, compositor, shared, _touches) = watched(1);
    acts.send(Act::Leave).unwrap();
    assert!(idle_within(&shared, 1.0..4.0));
    drop(acts);
    drop(compositor.join().unwrap());
    std::thread::sleep(Duration::from_millis(1500));
    let first = shared.latest.lock().unwrap().unwrap().read_at;
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(shared.latest.lock().unwrap().unwrap().read_at, first, "nothing new is published");
}
