//! Whether anybody still reads what a verb that waits will say.

use std::time::Duration;

use crate::args::Verb;
use crate::args::chat::ChatVerb;

/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The stream on which a verb that waits speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// On standard output, at the latest when it ends.
    Out,
    /// On standard error only: it waits for the sake of its exit code, unless nobody is left at all.
    Aside,
}

/// The stream on which this verb speaks while it waits for something that takes any time; none where it ends soon, or where its work is to be
/// done whoever reads.
pub fn speaks(verb: &Verb, json: bool) -> Option<Speaks> {
    match verb {
        Verb::Status(args) if args.watch => Some(Speaks::Out),
        Verb::Submit(args) if args.estimate => Some(Speaks::Out),
        // The files are what is waited for.
        Verb::Submit(args) if args.program.out.is_some() => Some(Speaks::Aside),
        Verb::Submit(args) if args.watch || args.wait && json => Some(Speaks::Out),
        Verb::Submit(args) if args.wait => Some(Speaks::Aside),
        Verb::Chat(args) if matches!(args.verb, Some(ChatVerb::Tail)) => Some(Speaks::Out),
        _ => None,
    }
}

/// Returns once nobody reads any more what is said there; never for a verb that does not wait.
pub async fn gone(speaks: Option<Speaks>) {
    let Some(speaks) = speaks else { return std::future::pending().await };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if is_unread(&std::io::stdout()) && (speaks == Speaks::Out || is_unread(&std::io::stderr())) {
            return;
        }
    }
}

/// Whether the reader at the other end of a pipe, socket or terminal went.
#[cfg(unix)]
fn is_unread(stream: &impl std::os::fd::AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut streams = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut streams, Some(&now)).is_ok() && streams[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A write tells it here.
#[cfg(not(unix))]
fn is_unread(_stream: &impl Sized) -> bool {
    false
}
