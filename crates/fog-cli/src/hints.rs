//! Tests that this program accepts every command that its messages tell people to type.

use std::path::{Path, PathBuf};

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Cli, SettingsVerb, Verb};

/// Returns the files whose texts people see.
fn sources() -> Vec<PathBuf> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = vec![crates.join("fog-words/words/en.ftl"), crates.join("fog-words/words/de.ftl")];
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(&crates).unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
    folders.extend([crates.join("../src-tauri/src"), crates.join("../ui/src")]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("hints.rs")
            {
                found.push(path);
            }
        }
    }
    found
}

/// Returns the documents that ship with the program.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = vec![root.join("README.md"), root.join("CONTRIBUTING.md"), root.join("CHANGELOG.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// Extracts the commands of a document: those in backticks, and those in code blocks, several on a line
/// included.
fn commands_of(document: &str) -> Vec<String> {
    let (mut found, mut prose, mut is_block) = (Vec::new(), String::new(), false);
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            let line = line.split(" #").next().unwrap_or_default();
            let parts = line.split(['|', '>', ';']).map(|part| part.trim().trim_start_matches("$ "));
            found.extend(parts.filter_map(|part| part.strip_prefix("fog ")).map(str::to_owned));
        } else {
            prose += line;
            prose.push('\n');
        }
    }
    found.extend(commands(&prose));
    // Placeholders in capitals are replaced by a number.
    found
        .iter()
        .map(|command| command.replace(" K", " 7").replace(" UNITS", " 7000000").replace(" ID", " 7"))
        .collect()
}

/// Extracts the commands in backticks, with values in place of variables.
fn commands(text: &str) -> Vec<String> {
    let is_comment = |line: &&str| !line.trim_start().starts_with("//");
    let lines: Vec<&str> = text.lines().filter(is_comment).collect();
    let whole = lines.join("\n");
    let mut found = Vec::new();
    for piece in whole.split("`fog ").skip(1) {
        let Some((command, _)) = piece.split_once('`') else { continue };
        if !command.contains('\n') {
            found.push(with_values(command));
        }
    }
    found
}

/// Replaces `{name}`, `{ $job }`, `…` and words in capitals by a number that fits most settings.
fn with_values(command: &str) -> String {
    let mut out = String::new();
    let mut rest = command;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        out.push_str("70");
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    out.push_str(rest);
    out.replace(" …", "").replace('…', "7")
}

/// Splits a command into words as a shell does, with single quotes.
fn split(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, piece) in command.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    words
}

fn check(command: &str) -> Result<(), String> {
    let words = std::iter::once("fog".to_owned()).chain(split(command));
    let parsed = match Cli::try_parse_from(words) {
        Ok(parsed) => parsed,
        // A verb that is only named, such as `fog verify segment`, lacks arguments.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::InvalidValue
            ) && !error.to_string().contains("invalid value") =>
        {
            return Ok(());
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    if let Verb::Settings(SettingsVerb::Set { changes }) = parsed.verb {
        for change in changes {
            crate::settings::parse(&change).map_err(|failure| failure.error.message)?;
        }
    }
    Ok(())
}

#[test]
fn every_command_that_is_suggested_is_accepted() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for path in sources() {
        for command in commands(&std::fs::read_to_string(&path).unwrap()) {
            tried += 1;
            if let Err(problem) = check(&command) {
                wrong.push(format!(
                    "{}: `fog {command}`: {}",
                    path.display(),
                    problem.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(tried > 60, "only {tried} commands were found");
    assert_eq!(wrong, [""; 0], "{tried} tried");
}

#[test]
fn every_command_in_the_documents_is_accepted() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for path in documents() {
        for command in commands_of(&std::fs::read_to_string(&path).unwrap()) {
            tried += 1;
            if let Err(problem) = check(&command) {
                wrong.push(format!(
                    "{}: `fog {command}`: {}",
                    path.display(),
                    problem.lines().next().unwrap_or_default()
                ));
            }
        }
    }
    assert!(tried > 40, "only {tried} commands were found");
    assert_eq!(wrong, [""; 0], "{tried} tried");
}

#[test]
fn commands_of_a_document_are_found() {
    let text = "See `fog why`.\n```\nfog on; fog status   # both\nfog submit --example path-tracer --watch > picture.png\ncargo build\n```\n`fog verify segment DIR --segment K`";
    let found = commands_of(text);
    assert_eq!(
        found,
        ["on", "status", "submit --example path-tracer --watch", "why", "verify segment DIR --segment 7"]
    );
    assert!(check("submit job.toml --estimation").is_err());
}

/// Covers the `--help` examples of every verb.
#[test]
fn every_example_of_the_help_is_accepted() {
    fn examples(command: &clap::Command, found: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        found.extend(
            help.lines().filter_map(|line| line.trim_start().strip_prefix("fog ")).map(str::to_owned),
        );
        command.get_subcommands().for_each(|verb| examples(verb, found));
    }
    let mut found = Vec::new();
    examples(&<Cli as clap::CommandFactory>::command(), &mut found);
    assert!(found.len() > 60, "{}", found.len());
    for example in found {
        // Comments, pipes and redirections are cut off.
        let command = example.split(['#', '|', '>']).next().unwrap_or_default().trim();
        assert_eq!(check(command), Ok(()), "fog {example}");
    }
}

#[test]
fn a_command_that_fails_when_pasted_is_found() {
    assert!(check("settings set chat on").is_err());
    assert!(check("settings set battery_stop=900").is_err());
    assert!(check("job nowadays 3").is_err());
    assert!(check("job now 3 --soon").is_err());
    assert_eq!(commands("a `fog job now { $job }` b `fog on`"), ["job now 70", "on"]);
}
