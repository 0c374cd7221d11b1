//! Arguments of `fog settings`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum SettingsVerb {
    /// List every setting with its value, default and range
    #[command(after_help = "Examples:\n  fog settings list\n  fog settings list --json")]
    List,
    /// Print one value
    #[command(after_help = "Example:\n  fog settings get battery_stop")]
    Get {
        /// Key of the setting
        key: String,
    },
    /// Change settings, all or none
    #[command(
        after_help = "Examples:\n  fog settings set battery_stop=50 run_on_battery=on\n  fog settings set battery_stop=    # the default again"
    )]
    Set {
        /// KEY=VALUE; an empty value returns to the default
        #[arg(required = true, value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
    /// Write all settings to one file
    #[command(after_help = "Example:\n  fog settings export -o fog.json")]
    Export {
        /// File to write (default: standard output)
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Import settings from an exported file, all or none
    #[command(after_help = "Example:\n  fog settings import fog.json")]
    Import {
        /// Exported file
        file: PathBuf,
    },
    /// Return every setting to its default
    #[command(after_help = "Example:\n  fog settings reset")]
    Reset,
}
