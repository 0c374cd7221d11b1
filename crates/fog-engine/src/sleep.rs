//! The system going to sleep: what runs is saved first.

use std::sync::mpsc::sync_channel;

use tokio::sync::mpsc;

use crate::core::Message;

/// Starts watching until the loop is gone. Where the system does not tell, the last checkpoint before
/// sleep is that of the interval.
pub(crate) fn watch(to: mpsc::Sender<Message>) -> std::io::Result<()> {
    fog_probes::watch_sleep(Box::new(move |patience| {
        let (done, saved) = sync_channel(1);
        let asked = to.blocking_send(Message::Sleep(done)).is_ok();
        // Saved or not, the system sleeps when its patience is over.
        let _ = saved.recv_timeout(patience);
        asked
    }))
}
