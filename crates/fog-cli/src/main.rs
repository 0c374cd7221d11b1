//! The `fog` command: `fog daemon` runs the engine without a window; every other verb talks to the running
//! engine or works without one (`run`, `why --trace`).

#![deny(clippy::print_stderr, clippy::print_stdout)]

mod args;
mod chat;
mod checkpoint;
mod compiled;
mod connect;
mod daemon;
mod devnet;
mod estimate;
#[cfg(test)]
mod hints;
mod history;
mod jobs;
mod keeper;
mod metrics;
mod network;
mod output;
mod patience;
mod program;
mod reader;
mod results;
mod run;
mod screen;
mod settings;
mod signals;
mod source;
mod status;
mod watch;
mod why;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use fog_types::ErrorKind;

use crate::args::{Cli, Verb};
use crate::output::Failure;

fn main() -> ExitCode {
    // A worker is the same executable; it must not read arguments, settings or the environment.
    if std::env::args_os().nth(1).is_some_and(|arg| arg == fog_runtime::WORKER_ARGUMENT) {
        return fog_runtime::worker_main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error),
    };
    let json = cli.json;
    match execute(cli) {
        Ok(code) => code,
        Err(failure) => {
            failure.print(json);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Prints help, the version, or the error in the arguments.
fn not_a_command(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if !error.use_stderr() {
        let written = error.print().and_then(|()| std::io::Write::flush(&mut std::io::stdout()));
        let Err(problem) = written else { return ExitCode::from(code) };
        let failure = Failure::of_stream("standard output", &problem);
        failure.print(false);
        return ExitCode::from(failure.exit_code());
    }
    let is_json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if is_json {
        let text = error.render().to_string();
        Failure::input(text.trim().trim_start_matches("error: ")).print(true);
    } else {
        // Nobody can be told when standard error is closed or full.
        let _ = error.print();
    }
    ExitCode::from(code)
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    if let Verb::Completions { shell } = cli.verb {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "fog", &mut script);
        output::print_text(String::from_utf8_lossy(&script).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let context = connect::Context::new(cli.data_dir.as_deref(), cli.json)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ErrorKind::Bug, format!("the asynchronous runtime does not start: {e}")))?;
    let speaks = reader::speaks(&cli.verb, cli.json);
    runtime.block_on(async {
        tokio::select! {
            done = perform(&context, cli.verb) => match done {
                Err(failure) => Err(context.in_words(failure).await),
                done => done,
            },
            () = reader::gone(speaks) => Ok(ExitCode::from(output::READER_GONE)),
        }
    })
}

async fn perform(context: &connect::Context, verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Daemon(args) => daemon::daemon(context, &args).await,
        Verb::Status(args) => status::status(context, args.watch).await,
        Verb::Why(args) => why::why(context, args).await,
        Verb::On => status::switch(context, true).await,
        Verb::Off(args) => status::off(context, args.finish).await,
        Verb::Snooze(args) => status::snooze(context, args.minutes).await,
        Verb::Settings(verb) => settings::settings(context, verb).await,
        Verb::Run(args) => run::run(context, *args).await,
        Verb::Checkpoint(args::CheckpointVerb::Inspect { file }) => checkpoint::inspect(context, &file),
        Verb::Verify(args::VerifyVerb::Segment(args)) => history::verify(context, &args).await,
        Verb::Submit(args) => jobs::submit(context, *args).await,
        Verb::Jobs(args) => jobs::list(context, args).await,
        Verb::Job(verb) => jobs::job(context, verb).await,
        Verb::History(args) => status::history(context, args.hours).await,
        Verb::Doctor => status::doctor(context).await,
        Verb::Network(args) => {
            network::network(context, args.verb.unwrap_or(args::NetworkVerb::Status)).await
        }
        Verb::Devnet(args) => devnet::devnet(context, &args).await,
        Verb::Peers => network::peers(context).await,
        Verb::Chat(args) => chat::chat(context, args).await,
        Verb::Credits => network::credits(context).await,
        Verb::Shutdown => status::shutdown(context).await,
        // Completions need no data folder and were handled above.
        Verb::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent_and_every_verb_has_an_example() {
        Cli::command().debug_assert();
        fn look(verb: &mut clap::Command, path: &str, found: &mut usize) {
            let name = format!("{path} {}", verb.get_name()).trim_start().to_owned();
            for below in
                verb.get_subcommands_mut().filter(|below| below.get_name() != "help" && !below.is_hide_set())
            {
                look(below, &name, found);
            }
            if !path.is_empty() {
                let help = verb.render_long_help().to_string();
                let examples = help
                    .split_once("Example:\n")
                    .or_else(|| help.split_once("Examples:\n"))
                    .map(|(_, examples)| examples)
                    .unwrap_or_default();
                let is_own =
                    |line: &str| line.trim_start().starts_with(&name) || line.contains(&format!(" {name}"));
                assert!(examples.lines().any(is_own), "`{name}` has no example of its own:\n{help}");
                *found += 1;
            }
        }
        let mut found = 0;
        look(&mut Cli::command(), "", &mut found);
        assert!(found > 60, "only {found} verbs were found");
    }
}
