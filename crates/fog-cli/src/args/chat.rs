//! What `fog chat` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct ChatArgs {
    /// What to do; without it lines that are typed are sent, and what is said is shown
    #[command(subcommand)]
    pub verb: Option<ChatVerb>,
    /// Talk to this person instead of everybody: nickname, nickname# and the first digits of the id, or the id; or in
    /// this group
    #[arg(long, value_name = "PEER")]
    pub to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// List groups and who is in them
    #[command(after_help = "Example:\n  fog chat group list")]
    List,
    /// Make one; those who are named are told when they are here
    #[command(after_help = "Example:\n  fog chat group create hikers anna ben")]
    Create {
        /// What it is called, at most 64 bytes
        name: String,
        /// Whom to take in: nickname, nickname# and the first digits of the id, or the id
        who: Vec<String>,
    },
    /// Take somebody into a group that this device made
    #[command(after_help = "Example:\n  fog chat group add hikers carla")]
    Add {
        /// Its name or id
        group: String,
        /// Whom
        who: String,
    },
    /// Take somebody out of it: they read nothing that is said from then on
    #[command(after_help = "Example:\n  fog chat group remove hikers ben")]
    Remove {
        /// Its name or id
        group: String,
        /// Whom
        who: String,
    },
    /// Leave one; its other members are not told
    #[command(after_help = "Example:\n  fog chat group leave hikers")]
    Leave {
        /// Its name or id
        group: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum ChatVerb {
    /// Say something, or send a file
    #[command(
        after_help = "Examples:\n  fog chat send 'hello everybody'\n  fog chat send --to anna --wait 60 'see you at 8'\n  fog chat send --to anna --file map.png"
    )]
    Send {
        /// To this person, or this group, alone
        #[arg(long, value_name = "PEER")]
        to: Option<String>,
        /// Send this file, at most 100 KiB; without --to everybody near gets it
        #[arg(long, value_name = "FILE", conflicts_with = "text")]
        file: Option<PathBuf>,
        /// Wait until it arrived; exit code 1 if that takes longer than so many seconds
        #[arg(long, value_name = "SECONDS", requires = "to")]
        wait: Option<u64>,
        /// What
        #[arg(required_unless_present = "file", num_args = 1..)]
        text: Vec<String>,
    },
    /// Show what is said, who comes and goes, and what becomes of messages, until it is stopped
    #[command(after_help = "Examples:\n  fog chat tail\n  fog chat tail --json    # one event a line")]
    Tail,
    /// Show what was said before, the newest last
    #[command(after_help = "Examples:\n  fog chat log\n  fog chat log --to anna --search hut --limit 20\n  fog chat log --to anna -o anna.txt")]
    Log {
        /// With this person, or in this group; the room when not given
        #[arg(long, value_name = "PEER")]
        to: Option<String>,
        /// At most so many messages
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
        /// Only messages that contain this
        #[arg(long, default_value = "")]
        search: String,
        /// Write all of it to a file: .json, or text
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write the file of a message to disk
    #[command(after_help = "Example:\n  fog chat file 7 -o map.png")]
    File {
        /// The message's number, as `fog chat log --json` has it
        row: i64,
        /// Where to
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Who is here, and who is remembered
    #[command(after_help = "Example:\n  fog chat people")]
    People,
    /// Show this device's code, or check somebody's: the text of a scanned code, or a fingerprint compared by eye
    #[command(after_help = "Examples:\n  fog chat verify    # this device's code\n  fog chat verify --who anna --fingerprint 3F0C…")]
    Verify {
        /// What the scanned code says; bitchat://verify?…
        #[arg(conflicts_with_all = ["who", "fingerprint"])]
        code: Option<String>,
        /// Whose fingerprint was compared
        #[arg(long, value_name = "PEER", requires = "fingerprint")]
        who: Option<String>,
        /// The fingerprint they read out
        #[arg(long, value_name = "HEX", requires = "who")]
        fingerprint: Option<String>,
    },
    /// Private groups of up to 16: list them, make one, take people in or out, leave. `fog chat send --to NAME` talks in one
    #[command(after_help = "Examples:\n  fog chat group\n  fog chat group create hikers anna ben")]
    Group {
        /// What to do; lists them when not given
        #[command(subcommand)]
        verb: Option<GroupVerb>,
    },
    /// Notes that stay for days, for everybody who comes by: list them, put one up, take one down
    #[command(after_help = "Examples:\n  fog chat board\n  fog chat board post 'Soup at the hut at seven'")]
    Board {
        /// What to do; lists them when not given
        #[command(subcommand)]
        verb: Option<BoardVerb>,
    },
    /// Move who you are to another device: save it to a file that a passphrase opens, take it over from one
    #[command(after_help = "Examples:\n  fog chat identity save anna.json\n  fog chat identity take anna.json")]
    Identity {
        /// What to do
        #[command(subcommand)]
        verb: IdentityVerb,
    },
    /// Hide what somebody says
    #[command(after_help = "Examples:\n  fog chat block eve\n  fog chat block eve --undo")]
    Block {
        /// Whom
        who: String,
        /// Show it again
        #[arg(long)]
        undo: bool,
    },
    /// Mark somebody as a favourite
    #[command(after_help = "Examples:\n  fog chat favourite anna\n  fog chat favourite anna --undo")]
    Favourite {
        /// Whom
        who: String,
        /// Take that back
        #[arg(long)]
        undo: bool,
    },
    /// Delete keys, messages and people, keys first, and begin as somebody new. It cannot be undone
    #[command(after_help = "Examples:\n  fog chat wipe\n  fog chat wipe --yes    # without a question")]
    Wipe {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum BoardVerb {
    /// The notes on the board, the newest first
    #[command(after_help = "Example:\n  fog chat board list")]
    List,
    /// Put a note on the board; at most five of this device are there
    #[command(after_help = "Example:\n  fog chat board post --hours 48 'Soup at the hut at seven'")]
    Post {
        /// It is meant to be noticed: people who know this device are notified
        #[arg(long)]
        urgent: bool,
        /// How long it stays
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
        hours: u32,
        /// What it says, at most 512 bytes
        #[arg(required = true, num_args = 1..)]
        text: Vec<String>,
    },
    /// Take a note of this device down, wherever it is by now
    #[command(after_help = "Example:\n  fog chat board remove 3f0c")]
    Remove {
        /// Its id, or the first digits of it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum IdentityVerb {
    /// Save keys, people and groups to a file; messages are not in it. The passphrase is asked for, or is the first line
    /// of standard input
    #[command(after_help = "Example:\n  fog chat identity save anna.json")]
    Save {
        /// A file that is not there yet
        file: PathBuf,
    },
    /// Become who such a file says: who this device was is deleted, its messages stay. Two devices of one identity
    /// confuse others; wipe chat on the old one
    #[command(after_help = "Example:\n  fog chat identity take anna.json")]
    Take {
        /// The file
        file: PathBuf,
        /// Do not ask whether this device's own identity may be deleted
        #[arg(long)]
        yes: bool,
    },
}
