//! Arguments of `fog network` and `fog devnet`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `fog devnet N`
#[derive(Debug, Args)]
pub struct DevnetArgs {
    /// Number of devices
    #[arg(value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=50))]
    pub count: u16,
    /// Folder for the devices' data; when not given, a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `fog network …`
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Command to run; shows the state when not given
    #[command(subcommand)]
    pub verb: Option<NetworkVerb>,
}

/// A verb of `fog network`.
#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// Show the joined networks and how far this device can be reached
    #[command(after_help = "Examples:\n  fog network status\n  fog network status --json")]
    Status,
    /// Join a network
    #[command(
        after_help = "Examples:\n  fog network join lan\n  fog network join FOG1…    # what `fog network invite` printed on another device"
    )]
    Join {
        /// lan, open, or an invitation
        #[arg(value_name = "lan|open|INVITE")]
        what: String,
    },
    /// Show a text and a QR code that let another device into a private group
    #[command(after_help = "Examples:\n  fog network invite\n  fog network invite --group friends")]
    Invite {
        /// Name of the group; created when it does not exist
        #[arg(long)]
        group: Option<String>,
    },
    /// Leave a network
    #[command(after_help = "Examples:\n  fog network leave lan\n  fog network leave    # all of them")]
    Leave {
        /// lan, open or the name of a group; all of them when not given
        name: Option<String>,
    },
}
