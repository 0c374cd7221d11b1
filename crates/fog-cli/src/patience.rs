//! Progress of calls that take long.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use fog_api::{Command, Reply};
use fog_ipc::Client;

use crate::output::{Failure, complain};

/// Time after which progress of a call is shown.
const FIRST: Duration = Duration::from_secs(2);
/// Time between two lines of progress, on a terminal and elsewhere.
const TICK: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);

/// Sends a command whose answer may take long; `say` gives the progress text after a number of seconds.
/// With JSON, an `event` line is printed instead.
///
/// # Errors
/// The failure that the engine reports.
pub async fn call(
    client: &Client,
    command: Command,
    event: &str,
    say: impl Fn(u64) -> String,
    json: bool,
) -> Result<Reply, Failure> {
    let is_terminal = std::io::stderr().is_terminal() && !json;
    let begun = Instant::now();
    let mut tick =
        tokio::time::interval_at(tokio::time::Instant::now() + FIRST, if is_terminal { TICK } else { EVERY });
    let mut call = std::pin::pin!(client.call(command));
    let mut is_drawn = false;
    loop {
        tokio::select! {
            reply = &mut call => {
                if is_drawn {
                    draw("");
                }
                return Ok(reply?);
            }
            _ = tick.tick() => {
                let seconds = begun.elapsed().as_secs();
                if json {
                    complain(&serde_json::json!({ "event": event, "seconds": seconds }).to_string());
                } else if is_terminal {
                    draw(&say(seconds));
                    is_drawn = true;
                } else {
                    complain(&say(seconds));
                }
            }
        }
    }
}

/// Draws over the last line of the terminal.
fn draw(text: &str) {
    let mut screen = std::io::stderr().lock();
    // A write error means that standard error is gone.
    let _ = write!(screen, "\r\x1b[K{text}").and_then(|()| screen.flush());
}
