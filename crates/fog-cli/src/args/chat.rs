//! Arguments of `fog chat`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Command to run; when not given, typed lines are sent and received messages are shown
    #[command(subcommand)]
    pub verb: Option<ChatVerb>,
    /// Person or group to talk to instead of everybody: nickname, nickname# and the first digits of the id,
    /// or the id
    #[arg(long, value_name = "PEER")]
    pub to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// List groups and their members
    #[command(after_help = "Example:\n  fog chat group list")]
    List,
    /// Create a group; the members named here are invited as soon as they are reachable
    #[command(after_help = "Example:\n  fog chat group create hikers anna ben")]
    Create {
        /// Name of the group, at most 64 bytes
        name: String,
        /// Members to add: nickname, nickname# and the first digits of the id, or the id
        who: Vec<String>,
    },
    /// Add a member to a group that this device created
    #[command(after_help = "Example:\n  fog chat group add hikers carla")]
    Add {
        /// Name or id of the group
        group: String,
        /// Person to add
        who: String,
    },
    /// Remove a member from a group; messages sent after that cannot be read by that person
    #[command(after_help = "Example:\n  fog chat group remove hikers ben")]
    Remove {
        /// Name or id of the group
        group: String,
        /// Person to remove
        who: String,
    },
    /// Leave a group; its other members are not told
    #[command(after_help = "Example:\n  fog chat group leave hikers")]
    Leave {
        /// Name or id of the group
        group: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum ChatVerb {
    /// Send a message or a file
    #[command(
        after_help = "Examples:\n  fog chat send 'hello everybody'\n  fog chat send --to anna --wait 60 'see you at 8'\n  fog chat send --to anna --file map.png"
    )]
    Send {
        /// Person or group that alone gets the message
        #[arg(long, value_name = "PEER")]
        to: Option<String>,
        /// File to send, at most 100 KiB; without --to everybody near gets it
        #[arg(long, value_name = "FILE", conflicts_with = "text")]
        file: Option<PathBuf>,
        /// Seconds to wait for the delivery; exit code 1 when the message is not delivered by then
        #[arg(long, value_name = "SECONDS", requires = "to")]
        wait: Option<u64>,
        /// Text of the message
        #[arg(required_unless_present = "file", num_args = 1..)]
        text: Vec<String>,
    },
    /// Show messages, people who come and go, and changes of message states, until stopped
    #[command(after_help = "Examples:\n  fog chat tail\n  fog chat tail --json    # one event a line")]
    Tail,
    /// Show earlier messages, the newest last
    #[command(
        after_help = "Examples:\n  fog chat log\n  fog chat log --to anna --search hut --limit 20\n  fog chat log --to anna -o anna.txt"
    )]
    Log {
        /// Person or group of the conversation (default: the room)
        #[arg(long, value_name = "PEER")]
        to: Option<String>,
        /// Greatest number of messages
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Only messages that contain this text
        #[arg(long, default_value = "")]
        search: String,
        /// File that gets the whole conversation: JSON if it ends in .json, otherwise text
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the file of a message to disk
    #[command(after_help = "Example:\n  fog chat file 7 -o map.png")]
    File {
        /// Number of the message, as in `fog chat log --json`
        row: i64,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// List the people who are here and those who are remembered
    #[command(after_help = "Example:\n  fog chat people")]
    People,
    /// Show this device's code, or verify a person by the text of a scanned code or a fingerprint compared
    /// by eye
    #[command(
        after_help = "Examples:\n  fog chat verify    # this device's code\n  fog chat verify --who anna --fingerprint 3F0C…"
    )]
    Verify {
        /// Text of the scanned code; bitchat://verify?…
        #[arg(conflicts_with_all = ["who", "fingerprint"])]
        code: Option<String>,
        /// Person whose fingerprint was compared
        #[arg(long, value_name = "PEER", requires = "fingerprint")]
        who: Option<String>,
        /// Fingerprint that the person read out
        #[arg(long, value_name = "HEX", requires = "who")]
        fingerprint: Option<String>,
    },
    /// Private groups of up to 16 people: list, create, change or leave them. `fog chat send --to NAME`
    /// talks in one
    #[command(after_help = "Examples:\n  fog chat group\n  fog chat group create hikers anna ben")]
    Group {
        /// Command to run; lists the groups when not given
        #[command(subcommand)]
        verb: Option<GroupVerb>,
    },
    /// Notes that stay for days and reach everybody who comes by: list, post or remove them
    #[command(after_help = "Examples:\n  fog chat board\n  fog chat board post 'Soup at the hut at seven'")]
    Board {
        /// Command to run; lists the notes when not given
        #[command(subcommand)]
        verb: Option<BoardVerb>,
    },
    /// Move your identity to another device: save it to a file protected by a passphrase, or take it over
    /// from one
    #[command(
        after_help = "Examples:\n  fog chat identity save anna.json\n  fog chat identity take anna.json"
    )]
    Identity {
        /// Command to run
        #[command(subcommand)]
        verb: IdentityVerb,
    },
    /// Hide the messages of a person
    #[command(after_help = "Examples:\n  fog chat block eve\n  fog chat block eve --undo")]
    Block {
        /// Person to block
        who: String,
        /// Show the messages again
        #[arg(long)]
        undo: bool,
    },
    /// Mark a person as a favourite
    #[command(after_help = "Examples:\n  fog chat favourite anna\n  fog chat favourite anna --undo")]
    Favourite {
        /// Person to mark
        who: String,
        /// Remove the mark
        #[arg(long)]
        undo: bool,
    },
    /// Delete keys, messages and people, keys first, and start with a new identity. This cannot be undone
    #[command(after_help = "Examples:\n  fog chat wipe\n  fog chat wipe --yes    # without a question")]
    Wipe {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum BoardVerb {
    /// List the notes on the board, the newest first
    #[command(after_help = "Example:\n  fog chat board list")]
    List,
    /// Put a note on the board; at most five notes of this device stand there
    #[command(after_help = "Example:\n  fog chat board post --hours 48 'Soup at the hut at seven'")]
    Post {
        /// Notify people who know this device
        #[arg(long)]
        urgent: bool,
        /// Hours for which the note stays
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
        hours: u32,
        /// Text of the note, at most 512 bytes
        #[arg(required = true, num_args = 1..)]
        text: Vec<String>,
    },
    /// Remove a note of this device, on every device that has it
    #[command(after_help = "Example:\n  fog chat board remove 3f0c")]
    Remove {
        /// Id of the note, or its first digits
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// Save keys, people and groups to a file, without messages. The passphrase is asked for, or is the
    /// first line of standard input
    #[command(after_help = "Example:\n  fog chat identity save anna.json")]
    Save {
        /// File to create; must not exist
        file: PathBuf,
    },
    /// Take over the identity in a saved file: the identity of this device is deleted, its messages stay.
    /// Two devices with one identity confuse others; wipe chat on the old one
    #[command(after_help = "Example:\n  fog chat identity take anna.json")]
    Take {
        /// Saved file
        file: PathBuf,
        /// Do not ask for confirmation before this device's own identity is deleted
        #[arg(long)]
        yes: bool,
    },
}
