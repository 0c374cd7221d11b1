//! Slash commands that people type, as in the apps.

/// A command that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Opens a private chat and says something in it.
    Message {
        /// Nickname of the recipient.
        to: String,
        /// Text to send, if any.
        text: Option<String>,
    },
    /// Lists the people who are here.
    Who,
    /// Empties this view.
    Clear,
    /// Hugs somebody: sends a text to everybody.
    Hug(String),
    /// Slaps somebody with a trout: sends a text to everybody.
    Slap(String),
    /// Blocks somebody; without a name, lists the people who are blocked.
    Block(Option<String>),
    /// Unblocks somebody.
    Unblock(String),
    /// Marks somebody as a favourite.
    Favourite(String),
    /// Removes somebody from the favourites.
    NoFavourite(String),
    /// Creates, changes, leaves or lists groups.
    Group(GroupVerb),
    /// Measures how far away somebody is.
    Ping(String),
    /// Shows the nodes on the way to somebody.
    Trace(String),
    /// Lists the commands.
    Help,
}

/// Action of a `/group` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupVerb {
    /// Creates a group of this name.
    Create(String),
    /// Adds the person of this name to the group.
    Invite(String),
    /// Removes the person of this name from the group.
    Remove(String),
    /// Leaves the group.
    Leave,
    /// Lists the groups.
    List,
}

/// Reasons why a line is not a valid command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The command does not exist.
    #[error("there is no command {0}; /help lists them")]
    Unknown(String),
    /// An argument is missing; holds what to add and an example.
    #[error("{0}; for example {1}")]
    Incomplete(&'static str, &'static str),
}

/// All commands: usage and description of each.
pub const COMMANDS: [(&str, &str); 13] = [
    ("/msg @name [text]", "opens a private chat and says something in it; short: /m"),
    ("/who", "lists who is here; short: /w"),
    ("/clear", "empties this view; nothing is deleted for others"),
    ("/hug @name", "hugs somebody, for everybody to see"),
    ("/slap @name", "slaps somebody with a large trout, for everybody to see"),
    ("/block [@name]", "hides what somebody says; without a name lists whom"),
    ("/unblock @name", "shows it again"),
    ("/fav @name", "marks somebody as a favourite"),
    ("/unfav @name", "takes that back"),
    ("/group create|invite|remove|leave|list [name]", "private groups of up to 16"),
    ("/ping @name", "measures how far away somebody is"),
    ("/trace @name", "shows the way to somebody"),
    ("/help", "lists the commands"),
];

impl Command {
    /// Parses a line; `None` when the line is a text and not a command.
    ///
    /// # Errors
    /// [`CommandError`] names what is missing, with an example.
    pub fn parse(line: &str) -> Option<Result<Self, CommandError>> {
        let line = line.trim();
        // A line that starts with two slashes is a text that starts with one.
        if !line.starts_with('/') || line.starts_with("//") {
            return None;
        }
        let (verb, rest) =
            line.split_once(char::is_whitespace).map_or((line, ""), |(verb, rest)| (verb, rest.trim()));
        Some(read(&verb.to_lowercase(), rest))
    }
}

fn read(verb: &str, rest: &str) -> Result<Command, CommandError> {
    let (first, others) =
        rest.split_once(char::is_whitespace).map_or((rest, ""), |(first, others)| (first, others.trim()));
    let name = first.strip_prefix('@').unwrap_or(first).to_owned();
    let needs = |example: &'static str| {
        if name.is_empty() { Err(CommandError::Incomplete("say who", example)) } else { Ok(name.clone()) }
    };
    Ok(match verb {
        "/msg" | "/m" => Command::Message {
            to: needs("/msg @anna hello")?,
            text: (!others.is_empty()).then(|| others.to_owned()),
        },
        "/who" | "/w" => Command::Who,
        "/clear" => Command::Clear,
        "/hug" => Command::Hug(needs("/hug @anna")?),
        "/slap" => Command::Slap(needs("/slap @anna")?),
        "/block" => Command::Block((!name.is_empty()).then_some(name)),
        "/unblock" => Command::Unblock(needs("/unblock @anna")?),
        "/fav" => Command::Favourite(needs("/fav @anna")?),
        "/unfav" => Command::NoFavourite(needs("/unfav @anna")?),
        "/ping" => Command::Ping(needs("/ping @anna")?),
        "/trace" => Command::Trace(needs("/trace @anna")?),
        "/help" => Command::Help,
        "/group" => Command::Group(group(&name, others)?),
        other => return Err(CommandError::Unknown(other.to_owned())),
    })
}

fn group(verb: &str, name: &str) -> Result<GroupVerb, CommandError> {
    let name = name.strip_prefix('@').unwrap_or(name).to_owned();
    let is_named = !name.is_empty();
    match verb {
        "create" if is_named => Ok(GroupVerb::Create(name)),
        "invite" if is_named => Ok(GroupVerb::Invite(name)),
        "remove" if is_named => Ok(GroupVerb::Remove(name)),
        "create" => Err(CommandError::Incomplete("give it a name", "/group create hikers")),
        "invite" | "remove" => Err(CommandError::Incomplete("say who", "/group invite @anna")),
        "leave" => Ok(GroupVerb::Leave),
        "list" => Ok(GroupVerb::List),
        _ => Err(CommandError::Incomplete(
            "say what to do: create, invite, remove, leave or list",
            "/group create hikers",
        )),
    }
}

/// Text of a hug, in the wording of the iOS app.
#[must_use]
pub fn hug(from: &str, to: &str) -> String {
    format!("* 🫂 {from} hugs {to} *")
}

/// Text of a slap, in the wording of the iOS app.
#[must_use]
pub fn slap(from: &str, to: &str) -> String {
    format!("* 🐟 {from} slaps {to} around a bit with a large trout *")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Command {
        Command::parse(line).unwrap().unwrap()
    }

    #[test]
    fn commands_are_read_as_the_apps_do() {
        assert_eq!(
            parsed("/m @anna  hello there "),
            Command::Message { to: "anna".to_owned(), text: Some("hello there".to_owned()) }
        );
        assert_eq!(parsed("/MSG anna"), Command::Message { to: "anna".to_owned(), text: None });
        assert_eq!(parsed(" /w"), Command::Who);
        assert_eq!(parsed("/block"), Command::Block(None));
        assert_eq!(parsed("/block @x#12ab"), Command::Block(Some("x#12ab".to_owned())));
        assert_eq!(parsed("/group create hikers"), Command::Group(GroupVerb::Create("hikers".to_owned())));
        assert_eq!(parsed("/group leave"), Command::Group(GroupVerb::Leave));
    }

    #[test]
    fn what_is_missing_is_said_with_an_example() {
        for (line, part) in [
            ("/hug", "/hug @anna"),
            ("/group", "create"),
            ("/group invite", "/group invite @anna"),
            ("/nope", "/help"),
        ] {
            let error = Command::parse(line).unwrap().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn texts_are_no_commands() {
        assert_eq!(Command::parse("hello /who"), None);
        assert_eq!(Command::parse("//hello"), None);
        assert_eq!(Command::parse(""), None);
    }

    #[test]
    fn every_command_in_the_help_can_be_typed() {
        for (usage, _) in COMMANDS {
            let line = usage
                .replace("create|invite|remove|leave|list [name]", "list")
                .replace("[text]", "x")
                .replace(['[', ']'], "");
            assert!(Command::parse(&line).unwrap().is_ok(), "{line}");
        }
    }
}
