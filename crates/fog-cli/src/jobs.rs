use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use fog_api::{Command, GridView, JobAction, JobCommand, JobQuery, JobSummary, PromiseView, Reply};
use fog_ipc::Client;
use fog_types::{ErrorKind, JobId, JobState};
use fog_words::Words;

use crate::args::{JobVerb, JobsArgs, ProgramArgs, SubmitArgs};
use crate::connect::{Context, absolute, change, engine_now, unexpected};
use crate::network::in_credits;
use crate::output::{Failure, print_json, print_table, print_text, say};
use crate::program::Program;
use crate::results;
use crate::signals;
use crate::watch::{self, Watch, current, done_of};

/// Number of tasks shown in one table.
const LISTED: usize = 50;

/// Runs `fog submit`.
pub async fn submit(context: &Context, args: SubmitArgs) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    if args.list_examples {
        let Reply::Examples(list) = client.call(Command::Jobs(JobCommand::Examples)).await? else {
            return Err(Failure::bug("no list of examples"));
        };
        if context.json {
            print_json(&list)?;
        } else {
            print_table(
                &std::iter::once(vec!["example".to_owned(), "title".to_owned()])
                    .chain(list.into_iter().map(|e| vec![e.name, e.title]))
                    .collect::<Vec<_>>(),
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scratch = tempfile::tempdir().map_err(|e| Failure::storage(Path::new("the temporary folder"), &e))?;
    if args.estimate {
        let file = args.file.as_deref().ok_or_else(|| Failure::input("name a job file or a module"))?;
        return crate::estimate::estimate(
            context,
            &client,
            submission(file, &args.program, scratch.path())?,
            args.sample,
            args.now,
        )
        .await;
    }
    if let Some(out) = &args.program.out {
        crate::screen::Screen::check(out)?;
    }
    let grid = args.grid();
    if args.now && grid.is_some() {
        return Err(Failure::input(
            "--now is for a job on this device; the owners of other devices decide when those work. Nothing was submitted",
        ));
    }
    let stall_timeout = args.stall_timeout()?;
    let deadline_seconds =
        args.deadline.as_deref().map(fog_types::job::parse_span).transpose().map_err(Failure::input)?;
    let command = match (&args.example, &args.file) {
        (Some(_), _) if !args.program.is_out_alone() => return Err(for_programs_only("an example")),
        (Some(name), _) => {
            Command::Jobs(JobCommand::SubmitExample { name: name.clone(), grid, deadline_seconds })
        }
        (None, Some(file)) => match submission(file, &args.program, scratch.path())? {
            Command::Jobs(JobCommand::Submit { job_file, folder, .. }) => {
                Command::Jobs(JobCommand::Submit { job_file, folder, grid, deadline_seconds })
            }
            _ if grid.is_some() || deadline_seconds.is_some() => {
                return Err(Failure::input(
                    "a checkpoint goes on here, with the limits it has; submit its job file instead",
                ));
            }
            other => other,
        },
        (None, None) => return Err(Failure::input("name a job file or a module")),
    };
    let words = context.words_of(&client).await;
    let mut events = client.subscribe().await;
    let job = match watch::submit(&client, command, &words, context.json).await? {
        Reply::Submitted { job } => job,
        other => return Err(unexpected(&other)),
    };
    // The engine has its own copies by now.
    drop(scratch);
    if args.program.stdin.is_none() && args.file.as_deref().is_some_and(is_program) {
        crate::source::hint_at_stdin();
    }
    if args.now {
        change(&client, Command::Jobs(JobCommand::Change { id: job.id, action: JobAction::RunNow })).await?;
    }
    if !args.wait && !args.watch && args.program.out.is_none() {
        if context.json {
            print_json(&job)?
        } else {
            let values = [
                ("id", job.id.to_string().into()),
                ("name", job.name.as_str().into()),
                ("n", f64::from(job.tasks_total).into()),
            ];
            print_text(&words.with("job-stored", &values));
            if job.is_grid {
                crate::network::explain_waiting(&client, &words, grid).await;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !context.json {
        if args.watch {
            say!("{}", words.with("submitted", &[("name", job.name.as_str().into())]));
        }
        // A rule that stops the job in spite of `--now` is reported while the job is followed.
        if args.now && watch::stop_of(&watch::snapshot(&client).await?.status, job.id, true).is_none() {
            say!("{}", words.with("watch-now", &[("name", job.name.as_str().into())]));
        }
        if job.is_grid {
            crate::network::explain_waiting(&client, &words, grid).await;
        }
    }
    let watch = Watch { shows_progress: args.watch, stall_timeout, is_requested: args.now };
    let left = left(context.json, &words, &job);
    signals::end_with(move || say!("{left}"))
        .map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
    let job = watch::follow(context, &client, &mut events, &words, job, watch).await?;
    if let (JobState::Finished, Some(folder)) = (job.state, &args.program.out) {
        results::save_files(&client, job.id, folder).await?;
    }
    if context.json {
        print_json(&job)?;
    } else if args.watch && job.state == JobState::Finished {
        match results::print(&client, job.id).await {
            // The job succeeded; it only has no single output to print.
            Err(failure) if failure.error.kind == ErrorKind::NotFound && job.tasks_total > 1 => {
                failure.in_words(&words).print(false)
            }
            printed => printed?,
        }
    }
    if job.state == JobState::Finished {
        return Ok(ExitCode::SUCCESS);
    }
    let why = if job.problem.is_empty() { String::new() } else { format!(": {}", job.problem) };
    say!("fog: job {} {}{why}", job.id, words.t(&format!("state-{}", job.state.as_str())));
    Ok(ExitCode::FAILURE)
}

/// Returns the text for a job that is not waited for any more.
fn left(json: bool, words: &Words, job: &JobSummary) -> String {
    let sentence = words.with("watch-left", &[("job", job.id.to_string().into())]);
    if json {
        return serde_json::json!({ "job": job.id, "event": "left", "sentence": sentence }).to_string();
    }
    // The terminal has just drawn `^C`, perhaps over a progress line.
    let over = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    format!("{over}{sentence}")
}

/// Returns the command that submits a file; a program gets what `fog run` would give it.
fn submission(file: &Path, args: &ProgramArgs, scratch: &Path) -> Result<Command, Failure> {
    if is_program(file) {
        return Program::new(file, args, scratch)?.submission();
    }
    if !args.is_out_alone() {
        return Err(for_programs_only(&file.display().to_string()));
    }
    from_file(file)
}

fn for_programs_only(what: &str) -> Failure {
    Failure::input(format!(
        "{what} says itself what its program is given; these options go with a program (.wasm) alone. Nothing was submitted"
    ))
}

/// Whether a file is a Wasm module, by its extension or its first bytes.
fn is_program(file: &Path) -> bool {
    let mut magic = [0; 4];
    file.extension().is_some_and(|extension| extension == "wasm")
        || fog_runtime::open_regular(file)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
            .is_ok()
            && magic == *b"\0asm"
}

fn from_file(file: &Path) -> Result<Command, Failure> {
    Ok(fog_engine::submission(&absolute(file)?)?)
}

/// Runs `fog jobs`.
pub async fn list(context: &Context, args: JobsArgs) -> Result<ExitCode, Failure> {
    let state = |word: &String| {
        JobState::from_word(word).ok_or_else(|| {
            Failure::input(format!(
                "'{word}' is not a state; queued, running, paused, finished, failed and cancelled are"
            ))
        })
    };
    let states = args.state.iter().map(state).collect::<Result<_, _>>()?;
    let is_filtered = !args.state.is_empty() || !args.name.is_empty() || args.before.is_some();
    let query = JobQuery { states, name: args.name, before: args.before, limit: args.limit };
    let client = context.client().await?;
    let list = match client.call(Command::Jobs(JobCommand::List(query))).await? {
        Reply::Jobs(list) => list,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let words = context.words_of(&client).await;
    if list.is_empty() {
        print_text(&words.t(if is_filtered { "no-such-jobs" } else { "empty-jobs" }));
        return Ok(ExitCode::SUCCESS);
    }
    let (now, status) = (engine_now(&client).await, watch::snapshot(&client).await?.status);
    let mut rows = vec![["id", "state", "tasks", "submitted", "name"].map(str::to_owned).to_vec()];
    for job in list {
        let state = words.t(&format!("state-{}", status.shown_state(&job).as_str()));
        rows.push(vec![
            job.id.to_string(),
            state,
            format!("{}/{}", job.tasks_finished, job.tasks_total),
            words.ago(job.created_ms, now),
            job.name,
        ]);
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}

/// Runs `fog job …`.
pub async fn job(context: &Context, verb: JobVerb) -> Result<ExitCode, Failure> {
    let client = context.client().await?;
    let wish = |id, action| (id, Command::Jobs(JobCommand::Change { id, action }));
    let (id, command) = match verb {
        JobVerb::Show { id, from } => return show(context, &client, id, from).await,
        JobVerb::Logs { id, task, stderr } => return results::logs(context, &client, id, task, stderr).await,
        JobVerb::Result { id, output: Some(folder) } => {
            return results::save(context, &client, id, &folder).await;
        }
        JobVerb::Result { id, output: None } => {
            if context.json {
                results::tell(&client, id).await?;
            } else {
                results::print(&client, id).await?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        JobVerb::Checkpoint { id, output: None } => {
            return checkpoints(context, &client, Command::Jobs(JobCommand::Checkpoint { id })).await;
        }
        JobVerb::Checkpoint { id, output: Some(output) } => {
            return export_checkpoint(context, &client, id, None, &output).await;
        }
        JobVerb::ExportCheckpoint { id, task, output } => {
            return export_checkpoint(context, &client, id, task, &output).await;
        }
        JobVerb::ExportHistory { id, task, output } => {
            return export_history(context, &client, id, task, &output).await;
        }
        JobVerb::Map { file, replicas, prefer } => {
            let wish = fog_types::job::GridOptions { replicas, prefer: prefer.into(), ..Default::default() };
            return crate::network::map(context, &client, from_file(&file)?, wish).await;
        }
        JobVerb::Places { id } => return crate::network::places(context, &client, id).await,
        JobVerb::Pause { id } => wish(id, JobAction::Pause),
        JobVerb::Now { id } => wish(id, JobAction::RunNow),
        JobVerb::Resume { id } => wish(id, JobAction::Resume),
        JobVerb::Cancel { id } => wish(id, JobAction::Cancel),
        JobVerb::Remove { id } => {
            change(&client, Command::Jobs(JobCommand::Change { id, action: JobAction::Remove })).await?;
            if context.json {
                print_json(&serde_json::json!({ "removed": id }))?
            } else {
                print_text(&format!("Job {id} and its results are removed."))
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    change(&client, command).await?;
    let job = match current(&client, id).await {
        // The job was removed in the meantime.
        Err(failure) if failure.error.kind == ErrorKind::NotFound => {
            if context.json {
                print_json(&serde_json::json!({ "removed": id }))?
            } else {
                print_text(&format!("Job {id} is changed, and was removed meanwhile."))
            }
            return Ok(ExitCode::SUCCESS);
        }
        job => job?,
    };
    if context.json {
        print_json(&job)?
    } else {
        print_text(&format!(
            "Job {id}: {}",
            context.words_of(&client).await.t(&format!("state-{}", job.state.as_str()))
        ))
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    context: &Context,
    client: &fog_ipc::Client,
    id: JobId,
    from: u32,
) -> Result<ExitCode, Failure> {
    let detail = match client.call(Command::Jobs(JobCommand::Show { id, tasks_from: from })).await? {
        Reply::Job(detail) => detail,
        other => return Err(unexpected(&other)),
    };
    if context.json {
        print_json(&detail)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (words, now, job) = (context.words_of(client).await, engine_now(client).await, &detail.summary);
    let state = watch::snapshot(client).await?.status.shown_state(job);
    print_text(&format!("Job {}: {}", job.id, job.name));
    print_text(&format!("  {}, {}", words.t(&format!("state-{}", state.as_str())), done_of(&words, job)));
    if !job.problem.is_empty() {
        print_text(&format!("  {}", job.problem));
    }
    print_text(&format!(
        "  {}",
        words.with("job-submitted", &[("ago", words.ago(job.created_ms, now).into())])
    ));
    print_text(&format!("  {}", words.units(job.units)));
    print_text(&format!("  module {}", detail.module));
    if let Some(grid) = &detail.grid {
        show_grid(&words, grid);
    }
    let mut rows =
        vec![["task", "state", "units", "time", "exit", "tries", "note"].map(str::to_owned).to_vec()];
    for task in detail.tasks.iter().take(LISTED) {
        let exit = task.exit_code.map_or_else(String::new, |code| code.to_string());
        let state = words.t(&format!("state-{}", task.state.as_str()));
        rows.push(vec![
            task.index.to_string(),
            state,
            words.units(task.units),
            format!("{} ms", task.active_ms),
            exit,
            task.attempts.len().to_string(),
            task.problem.clone(),
        ]);
    }
    print_table(&rows);
    let next = from.saturating_add(detail.tasks.len().min(LISTED) as u32);
    if next < job.tasks_total {
        print_text(&format!("tasks {next} to {} are not listed; add --from {next}", job.tasks_total - 1));
    }
    for task in detail.tasks.iter().take(LISTED).filter(|task| task.marks > 0) {
        print_text(&format!(
            "task {}: {}",
            task.index,
            words.with("task-marks", &[("n", f64::from(task.marks).into())])
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn show_grid(words: &Words, grid: &GridView) {
    let promise = match grid.promise {
        PromiseView::Open => "not decided yet".to_owned(),
        PromiseView::Kept => "kept".to_owned(),
        PromiseView::Broken => format!("broken: {}", grid.why),
    };
    print_text(&format!("  service {}: {promise}", grid.service.as_str()));
    print_text(&format!(
        "  cost {} credits, {} put aside",
        in_credits(grid.spent),
        in_credits(grid.reserved)
    ));
    if !grid.withheld.is_empty() {
        print_text(&format!("  waiting: {}", grid.withheld));
    }
    if grid.checks.0 > 0 {
        let values = [("n", f64::from(grid.checks.0).into()), ("wrong", f64::from(grid.checks.1).into())];
        print_text(&format!("  {}", words.with("job-checks", &values)));
    }
}

async fn export_checkpoint(
    context: &Context,
    client: &Client,
    id: JobId,
    index: Option<u32>,
    output: &Path,
) -> Result<ExitCode, Failure> {
    let path = absolute(output)?.to_string_lossy().into_owned();
    checkpoints(context, client, Command::Jobs(JobCommand::ExportCheckpoint { id, index, path })).await
}

async fn export_history(
    context: &Context,
    client: &Client,
    id: JobId,
    index: u32,
    output: &Path,
) -> Result<ExitCode, Failure> {
    let folder = absolute(output)?;
    match client
        .call(Command::Jobs(JobCommand::ExportHistory {
            id,
            index,
            folder: folder.to_string_lossy().into_owned(),
        }))
        .await?
    {
        Reply::TaskHistory(written) if context.json => print_json(&written)?,
        Reply::TaskHistory(written) => {
            let segments = written.marks + u32::from(written.ended);
            let values =
                [("segments", f64::from(segments).into()), ("n", f64::from(written.checkpoints).into())];
            print_text(&format!(
                "{}: {}",
                folder.display(),
                context.words_of(client).await.with("history-written", &values)
            ));
            if let Some(segment) = written.checked {
                print_text(&format!(
                    "Check one: fog verify segment {} --segment {segment}",
                    folder.display()
                ));
            }
        }
        other => return Err(unexpected(&other)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn checkpoints(context: &Context, client: &Client, command: Command) -> Result<ExitCode, Failure> {
    match client.call(command).await? {
        Reply::Checkpoints(taken) if context.json => print_json(&taken)?,
        Reply::Checkpoints(taken) => {
            for one in taken {
                print_text(&format!("task {}: saved at {}", one.index, fog_types::WorkUnits(one.units)));
            }
        }
        other => return Err(unexpected(&other)),
    }
    Ok(ExitCode::SUCCESS)
}
