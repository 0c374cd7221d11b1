//! Session with a running worker, from its first message to its end.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use fog_types::{ByteCount, Percent, WorkUnits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::outgoing::Outgoing;
use super::supervise::{Finding, LOOK_EVERY, Supervisor};
use super::{EVENT_QUEUE, WorkerError, WorkerEvent, read_frames};
use crate::outcome::{LeftOut, LimitKind, Outcome, Report};
use crate::program::WorkerProcess;
use crate::protocol::{CHUNK_BYTES, FromWorker, ToWorker};
use crate::snapshot::{Snapshot, encoded};
use crate::task::TaskSpec;

/// Time after which a worker that has not frozen by itself is stopped by the system.
const FREEZE_GRACE: Duration = Duration::from_millis(40);

/// Largest number of pieces of a state that wait for the worker.
const STATE_QUEUE: usize = 4;

type Output = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// Requests of the owner of a worker.
pub(super) struct Wishes {
    /// Share of the processor; only the newest counts.
    pub(super) duty: watch::Receiver<Percent>,
    /// Requests for checkpoints; true for whole ones.
    pub(super) saves: mpsc::Receiver<bool>,
}

pub(super) struct Session {
    seat: WorkerProcess,
    outgoing: Outgoing,
    sink: mpsc::Sender<WorkerEvent>,
    /// Events for which the owner's queue has no room; nothing more is read meanwhile.
    untold: VecDeque<WorkerEvent>,
    wishes: Wishes,
    freeze_by: Option<Instant>,
    /// Whether the system has stopped the worker, because it did not freeze by itself.
    is_stopped: bool,
    supervisor: Supervisor,
    /// Work units at the last progress message.
    units: u64,
}

/// State that a task continues from.
pub(super) enum State {
    None,
    Bytes(Vec<u8>),
    Snapshot(Box<Snapshot>),
}

impl State {
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::None => Ok(0),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::Snapshot(snapshot) => encoded::length(&**snapshot).map(|length| length as u64),
        }
    }

    /// Encoded bytes, made a few pieces at a time.
    pub(super) fn pieces(self) -> mpsc::Receiver<Vec<u8>> {
        let (to, pieces) = mpsc::channel(STATE_QUEUE);
        // Sending fails when the receiver is gone.
        let send = move |piece: &[u8]| to.blocking_send(piece.to_vec()).map_err(io::Error::other);
        tokio::task::spawn_blocking(move || match self {
            Self::None => Ok(()),
            Self::Bytes(bytes) => bytes.chunks(CHUNK_BYTES).try_for_each(send),
            Self::Snapshot(snapshot) => encoded::pages(&*snapshot, CHUNK_BYTES, send).map(|_| ()),
        });
        pieces
    }
}

impl Session {
    pub(super) fn begin(
        seat: WorkerProcess,
        input: Box<dyn AsyncWrite + Send + Sync + Unpin>,
        sink: mpsc::Sender<WorkerEvent>,
        wishes: Wishes,
        spec: TaskSpec,
        state: State,
    ) -> Result<Self, WorkerError> {
        let state_bytes =
            state.length().map_err(|e| WorkerError::ProtocolViolation { message: e.to_string() })?;
        // A continued task begins with its state in memory, and as much again for many small stretches.
        let memory = spec.limits.footprint().0.saturating_add(state_bytes.saturating_mul(2));
        let supervisor = Supervisor::new(Duration::from_secs(spec.limits.wall_seconds), memory, spec.duty);
        let outgoing =
            Outgoing::begin(input, &ToWorker::Start { spec: Box::new(spec), state_bytes }, state.pieces())?;
        Ok(Self {
            seat,
            outgoing,
            sink,
            untold: VecDeque::new(),
            wishes,
            freeze_by: None,
            is_stopped: false,
            supervisor,
            units: 0,
        })
    }

    pub(super) async fn serve(mut self, output: Output) {
        let ended = self.converse(output).await;
        if let Err(error) = ended {
            self.seat.end();
            self.tell(WorkerEvent::Gone(error));
        }
        for event in std::mem::take(&mut self.untold) {
            // Sending fails when the worker is being dropped.
            let _ = self.sink.send(event).await;
        }
    }

    async fn converse(&mut self, output: Output) -> Result<(), WorkerError> {
        // A separate task reads frames, because reading half a frame must not be cancelled.
        let (frames_in, mut frames) = mpsc::channel(EVENT_QUEUE);
        let reader = tokio::spawn(read_frames(output, frames_in));
        let _stop_reading = AbortOnDrop(reader.abort_handle());
        let sink = self.sink.clone();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let freeze_by = self.freeze_by;
            // No arm waits for the worker or the owner, so a changed share takes effect at once.
            tokio::select! {
                biased;
                changed = self.wishes.duty.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let duty = *self.wishes.duty.borrow_and_update();
                    self.change_duty(duty);
                }
                save = self.wishes.saves.recv() => match save {
                    Some(whole) => self.ask_to_save(whole),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(freeze_by.unwrap_or_else(Instant::now)), if freeze_by.is_some() => {
                    self.freeze_by = None;
                    self.is_stopped = self.seat.hold(true);
                    if self.is_stopped {
                        self.tell(WorkerEvent::Frozen(true));
                    }
                }
                _ = looks.tick(), if !self.is_stopped => {
                    if self.look(!frames.is_empty()) {
                        return Ok(());
                    }
                }
                said = self.outgoing.go_on(), if self.outgoing.has_more() => said?,
                room = sink.reserve(), if !self.untold.is_empty() => match (room, self.untold.pop_front()) {
                    (Ok(room), Some(event)) => room.send(event),
                    // The receiver is gone: the worker is being dropped.
                    _ => self.untold.clear(),
                },
                frame = frames.recv(), if self.untold.is_empty() => match frame {
                    Some(Ok(message)) => {
                        if self.hear(message)? {
                            return Ok(());
                        }
                    }
                    Some(Err(message)) => return Err(WorkerError::ProtocolViolation { message }),
                    None => return self.died().await,
                },
            }
        }
    }

    /// Handles a message; returns true when the task is done.
    fn hear(&mut self, message: FromWorker) -> Result<bool, WorkerError> {
        self.supervisor.hear(&message, self.seat.usage());
        let is_last = matches!(message, FromWorker::Done(_) | FromWorker::Failed { .. });
        match message {
            FromWorker::Frozen => {
                self.freeze_by = None;
                self.tell(WorkerEvent::Frozen(true));
            }
            FromWorker::Thawed => self.tell(WorkerEvent::Frozen(false)),
            FromWorker::AtSafePoint => {}
            FromWorker::Compiled
            | FromWorker::CannotCompile(_)
            | FromWorker::CannotWrite(_)
            | FromWorker::SandboxStatus(_) => {
                return Err(WorkerError::ProtocolViolation {
                    message: "an answer to a question not asked".to_owned(),
                });
            }
            other => {
                if let FromWorker::Progress { units, .. } = other {
                    self.units = self.units.max(units);
                }
                self.tell(WorkerEvent::Message(other));
            }
        }
        Ok(is_last)
    }

    /// Enforces the limits; returns true when one of them ended the task.
    fn look(&mut self, has_unread: bool) -> bool {
        // A thread cannot be measured or stopped separately from its process; it keeps its limits by
        // itself.
        let Some(usage) = self.seat.usage() else { return false };
        let was_held = self.supervisor.throttle.is_held;
        let limit = match self.supervisor.look(std::time::Instant::now(), usage, has_unread) {
            Finding::Run if was_held => {
                self.seat.hold(false);
                return false;
            }
            Finding::Run => return false,
            Finding::Hold => {
                // On a system that cannot stop a process, only the worker's own pauses limit it.
                self.supervisor.throttle.is_held = was_held || self.seat.hold(true);
                return false;
            }
            Finding::TimeOver => LimitKind::WallTime,
            Finding::MemoryOver => LimitKind::Memory,
        };
        self.end_at(limit);
        true
    }

    /// Reports an end that the worker cannot report itself.
    fn end_at(&mut self, limit: LimitKind) {
        self.seat.end();
        let report = Report {
            outcome: Outcome::Limit(limit),
            units: WorkUnits(self.units),
            memory: ByteCount(0),
            disk: ByteCount(0),
            active_millis: u64::try_from(self.supervisor.job_time().as_millis()).unwrap_or(u64::MAX),
            stdout_dropped: 0,
            stderr_dropped: 0,
            left_out: LeftOut::default(),
        };
        self.tell(WorkerEvent::Message(FromWorker::Done(report)));
    }

    fn tell(&mut self, event: WorkerEvent) {
        self.untold.push_back(event);
    }

    /// Continues a worker that was held for being ahead of its share.
    fn release(&mut self, duty: Percent) {
        if self.supervisor.throttle.is_held {
            self.seat.hold(false);
        }
        self.supervisor.throttle.set_duty(duty);
    }

    fn change_duty(&mut self, duty: Percent) {
        self.release(duty);
        self.freeze_by = (duty == Percent::ZERO && !self.is_stopped).then(|| Instant::now() + FREEZE_GRACE);
        if duty > Percent::ZERO && self.is_stopped {
            self.is_stopped = false;
            self.seat.hold(false);
            self.tell(WorkerEvent::Frozen(false));
        }
        if !self.is_stopped {
            self.outgoing.set_duty(duty);
        }
    }

    fn ask_to_save(&mut self, whole: bool) {
        // The checkpoint is needed now, often because the task must leave.
        if self.supervisor.throttle.is_held {
            self.seat.hold(false);
        }
        self.supervisor.ask();
        self.outgoing.ask_to_save(whole);
    }

    /// Handles a worker that closed its output without a final message.
    async fn died(&mut self) -> Result<(), WorkerError> {
        let exit = self.seat.exit().await;
        if exit.is_out_of_memory {
            self.end_at(LimitKind::Memory);
            return Ok(());
        }
        Err(WorkerError::Died { status: exit.status })
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
