//! Results of jobs, read in pieces: printed, and saved to a folder byte for byte.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use fog_api::{Command, JobCommand, JobDetail, Reply, ResultPart, ResultPosition};
use fog_ipc::Client;
use fog_runtime::OutputFolder;
use fog_types::text::{clean, counted};
use fog_types::{ErrorKind, JobId, TaskState};

use crate::connect::{Context, absolute, unexpected};
use crate::output::{Failure, base64_of, complain, print_json, print_text, write_out};
use crate::patience;

/// Bytes of one piece.
const PIECE_BYTES: u32 = 4 << 20;
/// Greatest number of remarks about tasks that are shown.
const MAX_REMARKS: usize = 20;

/// Reads a part of a result to its end; returns the number of bytes that a log limit dropped.
async fn read(
    client: &Client,
    id: JobId,
    part: ResultPart,
    mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let (mut from, mut all_dropped) = (ResultPosition::default(), 0);
    loop {
        match client
            .call(Command::Jobs(JobCommand::Read { id, part: part.clone(), from, limit: PIECE_BYTES }))
            .await?
        {
            Reply::Piece { base64, next, dropped } => {
                take(&decode(&base64)?)?;
                all_dropped += dropped;
                match next {
                    Some(next) => from = next,
                    None => return Ok(all_dropped),
                }
            }
            other => return Err(unexpected(&other)),
        }
    }
}

fn decode(base64: &str) -> Result<Vec<u8>, Failure> {
    base64::engine::general_purpose::STANDARD.decode(base64).map_err(|e| Failure::bug(e.to_string()))
}

fn tell_dropped(dropped: u64) {
    if dropped > 0 {
        let bytes = counted(dropped, "more byte was", "more bytes were");
        complain(&format!("fog: {bytes} dropped at the job's log limit ('log' under [limits] raises it)"));
    }
}

async fn detail(client: &Client, id: JobId, tasks_from: u32) -> Result<Box<JobDetail>, Failure> {
    match client.call(Command::Jobs(JobCommand::Show { id, tasks_from })).await? {
        Reply::Job(detail) => Ok(detail),
        other => Err(unexpected(&other)),
    }
}

/// Runs `fog job logs`: prints the output exactly as the program wrote it.
pub async fn logs(
    context: &Context,
    client: &Client,
    id: JobId,
    index: u32,
    stderr: bool,
) -> Result<ExitCode, Failure> {
    let part = if stderr { ResultPart::Stderr { index } } else { ResultPart::Stdout { index } };
    let mut kept = Vec::new();
    let dropped = read(client, id, part, |bytes| {
        if context.json {
            kept.extend_from_slice(bytes);
            Ok(())
        } else {
            write_out(bytes)
        }
    })
    .await?;
    if context.json {
        let name = if stderr { "stderr" } else { "stdout" };
        // Same format as `fog run --json`.
        print_json(&serde_json::json!({
            name: String::from_utf8_lossy(&kept),
            format!("{name}_base64"): base64_of(&kept),
            format!("{name}_dropped"): dropped,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    tell_dropped(dropped);
    Ok(ExitCode::SUCCESS)
}

/// Returns every file of a finished task that was renamed or left out, with its task, as `fog run --json`
/// does; and the total number, those included that were only counted.
async fn renamed(client: &Client, id: JobId) -> Result<(Vec<serde_json::Value>, u64), Failure> {
    let (mut all, mut count, mut index) = (Vec::new(), 0u64, 0);
    loop {
        let detail = detail(client, id, index).await?;
        for task in detail.tasks.iter().filter(|task| task.state == TaskState::Finished && task.renamed > 0) {
            count = count.saturating_add(task.renamed);
            let mut from = Some(0);
            while let Some(first) = from {
                match client
                    .call(Command::Jobs(JobCommand::Renamed { id, index: task.index, from: first }))
                    .await?
                {
                    Reply::Renamed { renamed, next } => {
                        for one in renamed {
                            let mut told =
                                serde_json::json!({ "task": task.index, "name": one.name, "kept": one.kept });
                            if let Some(reason) = one.reason {
                                told["reason"] = reason.into();
                            }
                            all.push(told);
                        }
                        from = next;
                    }
                    other => return Err(unexpected(&other)),
                }
            }
        }
        index += detail.tasks.len() as u32;
        if detail.tasks.is_empty() || index >= detail.summary.tasks_total {
            return Ok((all, count));
        }
    }
}

/// Runs `fog job result --json`: prints the assembled result, or the output of the only task, with remarks.
pub async fn tell(client: &Client, id: JobId) -> Result<(), Failure> {
    let job = detail(client, id, u32::MAX).await?.summary;
    let (mut bytes, mut dropped) = (Vec::new(), 0);
    if job.is_picture {
        match client.call(Command::Jobs(JobCommand::Output { id, index: None, path: String::new() })).await? {
            Reply::Bytes { base64, .. } => bytes = decode(&base64)?,
            other => return Err(unexpected(&other)),
        }
    } else {
        for part in [ResultPart::Assembled, ResultPart::Stdout { index: 0 }] {
            bytes.clear();
            let is_whole = part == ResultPart::Assembled;
            let read = read(client, id, part, |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            });
            match read.await {
                Err(failure)
                    if is_whole && failure.error.kind == ErrorKind::NotFound && job.tasks_total == 1 => {}
                read => {
                    dropped = read?;
                    break;
                }
            }
        }
    }
    let (renamed, renamed_count) = renamed(client, id).await?;
    print_json(&serde_json::json!({
        "result": String::from_utf8_lossy(&bytes),
        "result_base64": base64_of(&bytes),
        "result_dropped": dropped,
        "renamed": renamed,
        "renamed_count": renamed_count,
    }))
}

/// Writes the assembled result, or the output of the only task, to standard output.
pub async fn print(client: &Client, id: JobId) -> Result<(), Failure> {
    let job = detail(client, id, u32::MAX).await?.summary;
    if job.is_picture {
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) {
            print_text(&format!("The result is a picture; `fog job result {id} -o FOLDER` saves it."));
            return Ok(());
        }
        return match client
            .call(Command::Jobs(JobCommand::Output { id, index: None, path: String::new() }))
            .await?
        {
            Reply::Bytes { base64, .. } => write_out(&decode(&base64)?),
            other => Err(unexpected(&other)),
        };
    }
    let dropped = match read(client, id, ResultPart::Assembled, write_out).await {
        Err(failure) if failure.error.kind == ErrorKind::NotFound && job.tasks_total == 1 => {
            read(client, id, ResultPart::Stdout { index: 0 }, write_out).await?
        }
        other => other?,
    };
    tell_dropped(dropped);
    tell_remarks(client, id).await
}

/// Runs `fog job result -o`.
pub async fn save(context: &Context, client: &Client, id: JobId, folder: &Path) -> Result<ExitCode, Failure> {
    let folder = fog_engine::as_text(&absolute(folder)?)?;
    let words = context.words_here().await;
    let saving = |seconds| words.with("job-saving", &[("span", words.span(seconds).into())]);
    match patience::call(
        client,
        Command::Jobs(JobCommand::Export { id, folder: folder.clone() }),
        "saving",
        saving,
        context.json,
    )
    .await?
    {
        Reply::Exported { files, count } if context.json => {
            let (renamed, renamed_count) = match renamed(client, id).await {
                Err(failure) if is_gone(&failure) => Default::default(),
                other => other?,
            };
            print_json(
                &serde_json::json!({ "folder": folder, "count": count, "files": files, "renamed": renamed, "renamed_count": renamed_count }),
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        Reply::Exported { count, .. } => print_text(&clean(
            &words.with("job-saved", &[("n", (count as f64).into()), ("folder", folder.into())]),
        )),
        other => return Err(unexpected(&other)),
    }
    match tell_remarks(client, id).await {
        Err(failure) if !is_gone(&failure) => Err(failure),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Whether the job was removed after its files were saved, which is no failure of saving.
fn is_gone(failure: &Failure) -> bool {
    failure.error.kind == ErrorKind::NotFound
}

/// Prints remarks about results: renamed files and dropped output.
async fn tell_remarks(client: &Client, id: JobId) -> Result<(), Failure> {
    let (mut from, mut told) = (0, 0);
    loop {
        let detail = detail(client, id, from).await?;
        for task in detail.tasks.iter().filter(|task| task.state == TaskState::Finished) {
            let mut remarks = Vec::new();
            if !task.problem.is_empty() {
                remarks.push(task.problem.clone());
            }
            for (stream, dropped) in [("output", task.dropped.0), ("error", task.dropped.1)] {
                if dropped > 0 {
                    let bytes = counted(
                        dropped,
                        &format!("byte of standard {stream} was"),
                        &format!("bytes of standard {stream} were"),
                    );
                    remarks.push(format!("{bytes} dropped at the job's log limit"));
                }
            }
            for remark in remarks {
                told += 1;
                if told <= MAX_REMARKS {
                    complain(&clean(&format!("fog: task {}: {remark}", task.index)));
                }
            }
        }
        from += detail.tasks.len() as u32;
        if detail.tasks.is_empty() || from >= detail.summary.tasks_total {
            break;
        }
    }
    if told > MAX_REMARKS {
        let more = (told - MAX_REMARKS) as u64;
        let (remarks, them) =
            (counted(more, "more remark", "more remarks"), if more == 1 { "it" } else { "them" });
        complain(&format!("fog: and {remarks}; `fog job show {id}` has {them}"));
    }
    Ok(())
}

/// Saves the files of a job as `fog run --out` does: those of its only task, or those of many tasks in a
/// folder each.
pub async fn save_files(client: &Client, id: JobId, folder: &Path) -> Result<(), Failure> {
    let mut out = OutputFolder::new(folder.to_owned());
    let mut index = 0;
    loop {
        let detail = detail(client, id, index).await?;
        for task in &detail.tasks {
            let place = if detail.summary.tasks_total == 1 {
                String::new()
            } else {
                format!("task-{:05}/", task.index)
            };
            let (mut outputs, mut left) = (task.outputs.clone(), task.outputs_left_out);
            loop {
                for output in &outputs {
                    let failed = |e: std::io::Error| Failure::storage(&folder.join(&output.path), &e);
                    let mut file = out.create(&format!("{place}{}", output.path)).map_err(failed)?;
                    let part = ResultPart::File { index: task.index, path: output.path.clone() };
                    read(client, id, part, |bytes| file.write_all(bytes).map_err(failed)).await?;
                    out.finish(file).map_err(failed)?;
                }
                let Some(last) = outputs.last().filter(|_| left > 0) else { break };
                match client
                    .call(Command::Jobs(JobCommand::Outputs {
                        id,
                        index: task.index,
                        after: last.path.clone(),
                    }))
                    .await?
                {
                    Reply::Outputs { outputs: next, more } => (outputs, left) = (next, more),
                    other => return Err(unexpected(&other)),
                }
            }
        }
        index += detail.tasks.len() as u32;
        if detail.tasks.is_empty() || index >= detail.summary.tasks_total {
            return Ok(());
        }
    }
}
