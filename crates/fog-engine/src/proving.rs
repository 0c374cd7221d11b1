//! One segment of a run that another device claims, run again here.

use std::path::Path;

use fog_runtime::{Checkpoint, FromWorker, History, HistoryMark, Mark, Segments, Worker, WorkerEvent, prepare_within};
use fog_types::Percent;
use rand::RngExt as _;
use tokio::sync::watch;

use crate::tasks::{Collector, Launch, TaskEnd};

/// A segment of a claimed run: where it begins and how it must end.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// The mark it begins at; `None` for the beginning of the run.
    pub(crate) begins: Option<HistoryMark>,
    ends: Ends,
    units: u64,
}

#[derive(Debug, Clone)]
enum Ends {
    Mark(HistoryMark),
    Result(String),
}

/// Draws one segment of a history, if that is one of this very task with this result.
///
/// # Errors
/// A sentence about why it cannot be.
pub(crate) fn draw(history: &History, launch: &Launch, units: u64, result_hash: &str) -> Result<Segment, String> {
    let claimed = history.end.as_ref().filter(|end| end.units == units && end.result_hash.as_deref() == Some(result_hash));
    if history.module != launch.place.module.to_hex().as_str() || history.task != launch.place.header(&launch.spec).task_identity() || claimed.is_none() {
        return Err("the history it shows is of another run".to_owned());
    }
    if history.marks.windows(2).any(|pair| pair[1].mark.units > pair[0].mark.units + 2 * history.segment) {
        return Err("the history it shows leaves parts out".to_owned());
    }
    let at = rand::rng().random_range(0..history.segments().max(1));
    let ends = history.marks.get(at).map_or_else(|| Ends::Result(result_hash.to_owned()), |mark| Ends::Mark(mark.clone()));
    Ok(Segment { begins: at.checked_sub(1).and_then(|before| history.marks.get(before)).cloned(), ends, units: history.segment })
}

/// Runs it and compares, at the owner's pace.
///
/// # Errors
/// A sentence about what is wrong with the claim.
pub(crate) async fn replay(mut launch: Launch, segment: Segment, state: Option<&Path>, mut duty: watch::Receiver<Percent>) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    launch.spec.segments = Some(Segments { units: segment.units, keep: false });
    prepare_within(&launch.program, &launch.module, &launch.artifact, launch.spec.engine, None, duty.clone()).await.map_err(|e| text(&e))?;
    launch.spec.duty = *duty.borrow_and_update();
    let mut collector = Collector::new(&launch).map_err(|e| text(&e))?;
    let mut begins: Option<Mark> = None;
    let mut bytes = None;
    if let (Some(mark), Some(path)) = (&segment.begins, state) {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || Checkpoint::read(&path, None).map_err(|e| e.to_string()));
        let (checkpoint, _) = read.await.map_err(|e| text(&e))??;
        if checkpoint.header.task_identity() != launch.place.header(&launch.spec).task_identity() {
            return Err("the state it shows is of another task".to_owned());
        }
        if blake3::hash(&checkpoint.stdout).to_hex().as_str() != mark.stdout {
            return Err("the state it shows holds other output than its history says".to_owned());
        }
        collector.take(FromWorker::Stdout(checkpoint.stdout.clone())).map_err(|e| text(&e))?;
        bytes = Some(checkpoint.snapshot.encode().map_err(|e| text(&e))?);
        begins = Some(mark.mark.clone());
    }
    let mut worker = Worker::spawn(&launch.program, launch.spec.clone(), bytes).map_err(|e| text(&e))?;
    loop {
        let event = tokio::select! {
            biased;
            Ok(()) = duty.changed() => {
                worker.set_duty(*duty.borrow_and_update());
                continue;
            }
            event = worker.events.recv() => event,
        };
        match event {
            Some(WorkerEvent::Message(FromWorker::Mark(mark))) => match begins.take() {
                Some(begun) if begun == mark => {}
                Some(_) => return Err("the state it shows is not the one its history says".to_owned()),
                None => {
                    let found = HistoryMark::new(mark, &collector.stdout_bytes);
                    let is_right = matches!(&segment.ends, Ends::Mark(claimed) if *claimed == found);
                    return if is_right { Ok(()) } else { Err("a segment comes to another state than its history says".to_owned()) };
                }
            },
            Some(WorkerEvent::Message(FromWorker::Done(report))) => {
                let is_right = match collector.finish(report) {
                    Ok(TaskEnd::Result { hash, .. }) => matches!(&segment.ends, Ends::Result(claimed) if *claimed == hash),
                    _ => false,
                };
                return if is_right { Ok(()) } else { Err("its last segment comes to another result".to_owned()) };
            }
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(message),
            Some(WorkerEvent::Message(message)) => collector.take(message).map_err(|e| text(&e))?,
            Some(WorkerEvent::Frozen(_)) => {}
            Some(WorkerEvent::Gone(error)) => return Err(error.to_string()),
            None => return Err("the worker said nothing".to_owned()),
        }
    }
}
