use super::*;

#[test]
fn a_monitor_that_hangs_stops_looking_idle() {
    let shared = Arc::new(Shared::default());
    let monitor = InputMonitor { shared: Arc::clone(&shared), source: InputSource::X11 };
    assert_eq!(monitor.idle_seconds(), None);
    shared.publish(Duration::from_secs(60), Some(true));
    assert!(monitor.idle_seconds().is_some_and(|idle| (60.0..61.0).contains(&idle)));
    assert_eq!(monitor.fullscreen(), Some(true));
    if let Some(latest) = shared.latest.lock().unwrap().as_mut() {
        latest.read_at -= EXPIRES;
    }
    assert_eq!(monitor.idle_seconds(), None);
}
