//! Detects whether anybody still reads the output of a waiting verb.

use std::time::Duration;

use crate::args::Verb;
use crate::args::chat::ChatVerb;

/// Time between two looks at the streams.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The stream on which a waiting verb writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Standard output, at the latest when the verb ends.
    Out,
    /// Standard error only: the verb waits for the sake of its exit code, until nobody reads either stream.
    Aside,
}

/// Returns the stream on which a verb writes while it waits without a time limit; `None` for a verb that
/// ends soon, or whose work must be done even when nobody reads.
pub fn speaks(verb: &Verb, json: bool) -> Option<Speaks> {
    match verb {
        Verb::Status(args) if args.watch => Some(Speaks::Out),
        Verb::Submit(args) if args.estimate => Some(Speaks::Out),
        // The user waits for the files.
        Verb::Submit(args) if args.program.out.is_some() => Some(Speaks::Aside),
        Verb::Submit(args) if args.watch || args.wait && json => Some(Speaks::Out),
        Verb::Submit(args) if args.wait => Some(Speaks::Aside),
        Verb::Chat(args) if matches!(args.verb, Some(ChatVerb::Tail)) => Some(Speaks::Out),
        _ => None,
    }
}

/// Returns once nobody reads the stream any more; never for a verb that does not wait.
pub async fn gone(speaks: Option<Speaks>) {
    let Some(speaks) = speaks else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if is_unread(&std::io::stdout()) && (speaks == Speaks::Out || is_unread(&std::io::stderr())) {
            return;
        }
    }
}

/// Whether the reader at the other end of a pipe, socket or terminal is gone.
#[cfg(unix)]
fn is_unread(stream: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut streams = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut streams, Some(&now)).is_ok() && streams[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A write fails here instead when the reader is gone.
#[cfg(not(unix))]
fn is_unread(_stream: &impl Sized) -> bool {
    false
}
