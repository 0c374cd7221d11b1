//! Saves running tasks before the system goes to sleep.

use std::sync::mpsc::sync_channel;

use tokio::sync::mpsc;

use crate::message::EngineMessage;

/// Watches for sleep until the loop is gone. On systems without notice, the last checkpoint before sleep is
/// a periodic one.
pub(crate) fn watch(to: mpsc::Sender<EngineMessage>) -> std::io::Result<()> {
    fog_probes::watch_sleep(Box::new(move |patience| {
        let (done, saved) = sync_channel(1);
        let asked = to.blocking_send(EngineMessage::Sleep(done)).is_ok();
        // The system sleeps when its patience is over, whether or not tasks are saved.
        let _ = saved.recv_timeout(patience);
        asked
    }))
}
