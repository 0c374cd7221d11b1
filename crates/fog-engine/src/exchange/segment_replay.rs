//! Replay of one segment of a run that another device claims.

use fog_runtime::{
    Checkpoint, CheckpointSurvey, FromWorker, History, HistoryMark, Mark, Segments, Worker, WorkerEvent,
};
use fog_types::Percent;
use fog_types::job::MAX_MARKS;
use rand::RngExt as _;
use tokio::sync::watch;

use crate::exchange::sealed_state::StateFile;
use crate::tasks::output_collector::Collector;
use crate::tasks::runner::{Launch, Left};

/// A segment of a claimed run, with its beginning and the required end.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    /// Mark at which it begins; `None` for the beginning of the run.
    pub(crate) begins: Option<HistoryMark>,
    ends: Ends,
    units: u64,
}

#[derive(Debug, Clone)]
enum Ends {
    Mark(HistoryMark),
    Result(String),
}

#[cfg(test)]
impl Segment {
    /// Creates a segment for tests that run nothing.
    pub(crate) fn test() -> Self {
        Self { begins: None, ends: Ends::Result(String::new()), units: 1 }
    }
}

/// Draws one segment of a history, after checking that the history is of this very task and result.
///
/// # Errors
/// A sentence that says why the history is refused.
pub(crate) fn draw(
    random: &mut impl rand::Rng,
    history: &History,
    launch: &Launch,
    units: u64,
    result_hash: &str,
) -> Result<Segment, String> {
    let claimed = history
        .end
        .as_ref()
        .filter(|end| end.units == units && end.result_hash.as_deref() == Some(result_hash));
    if history.module != launch.place.module.to_hex().as_str()
        || history.task != launch.place.header(&launch.spec).task_identity()
        || claimed.is_none()
    {
        return Err("the history it shows is of another run".to_owned());
    }
    check_marks(history, launch.spec.segments.map_or(0, |segments| segments.units), units)?;
    let at = random.random_range(0..history.segments().max(1));
    let ends = history
        .marks
        .get(at)
        .map_or_else(|| Ends::Result(result_hash.to_owned()), |mark| Ends::Mark(mark.clone()));
    Ok(Segment {
        begins: at.checked_sub(1).and_then(|before| history.marks.get(before)).cloned(),
        ends,
        units: history.segment,
    })
}

/// Checks that the marks of a history cover a run from its beginning to its end, because only segments
/// between marks are ever run again.
fn check_marks(history: &History, segment: u64, units: u64) -> Result<(), String> {
    if history.segment != segment || segment == 0 || history.marks.len() as u64 > MAX_MARKS {
        return Err("the history it shows has other segments than the job".to_owned());
    }
    // A mark is at the first safe point after its place, which may be in the next segment.
    let mut before = 0u64;
    for HistoryMark { mark, .. } in &history.marks {
        if mark.number != mark.units / segment {
            return Err("the history it shows counts its marks wrongly".to_owned());
        }
        if mark.units.saturating_sub(before) > segment.saturating_mul(2) {
            return Err("the history it shows leaves parts out".to_owned());
        }
        before = mark.units;
    }
    if before > units || units - before > segment.saturating_mul(2) {
        return Err("the history it shows leaves its end out".to_owned());
    }
    Ok(())
}

/// Runs the segment at the owner's duty and compares its end.
///
/// # Errors
/// A sentence that says what is wrong with the claim.
pub(crate) async fn replay(
    mut launch: Launch,
    segment: Segment,
    state: Option<StateFile>,
    mut duty: watch::Receiver<Percent>,
) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    launch.spec.segments = Some(Segments { units: segment.units, keep: false });
    launch.compile(&duty).await.map_err(|e| text(&e))?;
    launch.spec.duty = *duty.borrow_and_update();
    let mut collector = Collector::new(&launch).await.map_err(|e| text(&e))?;
    let mut begins: Option<Mark> = None;
    let mut snapshot = None;
    if let (Some(mark), Some(state)) = (&segment.begins, state) {
        let (task, stdout) = (launch.place.header(&launch.spec).task_identity(), mark.stdout.clone());
        let read = tokio::task::spawn_blocking(move || {
            // A state of another task, or one that differs from the claim, is not loaded into memory.
            let survey = CheckpointSurvey::read(std::io::BufReader::new(state.open()?))?;
            if survey.header.task_identity() != task {
                return Err("the state it shows is of another task".to_owned());
            }
            if survey.stdout.to_hex().as_str() != stdout {
                return Err("the state it shows holds other output than its history says".to_owned());
            }
            Checkpoint::read_from(state.open()?)
        });
        let checkpoint = read.await.map_err(|e| text(&e))??;
        collector.take(FromWorker::Stdout(checkpoint.stdout)).await.map_err(|e| text(&e))?;
        snapshot = Some(checkpoint.snapshot);
        begins = Some(mark.mark.clone());
    }
    let spec = launch.spec.clone();
    let worker = match snapshot {
        Some(snapshot) => Worker::resume(&launch.program, spec, snapshot),
        None => Worker::spawn(&launch.program, spec, None),
    };
    let mut worker = worker.map_err(|e| text(&e))?;
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
                    return if is_right {
                        Ok(())
                    } else {
                        Err("a segment comes to another state than its history says".to_owned())
                    };
                }
            },
            Some(WorkerEvent::Message(FromWorker::Done(report))) => {
                let is_right = match collector.finish(report).await {
                    Ok(Left::Result { hash, .. }) => {
                        matches!(&segment.ends, Ends::Result(claimed) if *claimed == hash)
                    }
                    _ => false,
                };
                return if is_right {
                    Ok(())
                } else {
                    Err("its last segment comes to another result".to_owned())
                };
            }
            Some(WorkerEvent::Message(FromWorker::Failed { message, .. })) => return Err(message),
            Some(WorkerEvent::Message(message)) => collector.take(message).await.map_err(|e| text(&e))?,
            Some(WorkerEvent::Frozen(_)) => {}
            Some(WorkerEvent::Gone(error)) => return Err(error.to_string()),
            None => return Err("the worker said nothing".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fog_runtime::SLICE_UNITS;

    const SEGMENT: u64 = 2 * SLICE_UNITS;

    fn history(units: &[u64]) -> History {
        let mut history = History::new("aa", "bb", SEGMENT);
        for units in units {
            history.marks.push(HistoryMark::new(
                Mark { number: units / SEGMENT, units: *units, state: "cc".to_owned() },
                b"",
            ));
        }
        history
    }

    #[test]
    fn a_history_covers_its_run_from_the_beginning_to_the_end() {
        let check = |units: &[u64], end: u64| check_marks(&history(units), SEGMENT, end);
        let s = SEGMENT;
        assert_eq!(check(&[s + 7, 2 * s, 3 * s + 1], 4 * s), Ok(()));
        assert_eq!(check(&[], s), Ok(()));
        // The first mark is too late, or the last one too early.
        assert!(check(&[2 * s + 1, 3 * s], 4 * s).is_err());
        assert!(check(&[s, 2 * s], 4 * s + 1).is_err());
        assert!(check(&[], 2 * s + 1).is_err());
        assert!(check(&[s, 3 * s + 1, 4 * s], 5 * s).is_err());
        assert!(check(&[s, 2 * s], 2 * s - 1).is_err());
        // Segments of another size, wrong mark numbers, and sums that overflow.
        assert!(check_marks(&history(&[s]), 2 * s, 2 * s).is_err());
        let mut wrong = history(&[s, 2 * s]);
        wrong.marks[1].mark.number = 7;
        assert!(check_marks(&wrong, s, 3 * s).is_err());
        let mut vast = History::new("aa", "bb", u64::MAX / SLICE_UNITS * SLICE_UNITS);
        vast.marks = history(&[s]).marks;
        assert!(check_marks(&vast, s, u64::MAX).is_err());
    }
}
