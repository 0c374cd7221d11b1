//! Checkpoints of a program in the foreground, written at intervals and on interruption.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fog_runtime::{Checkpoint, CheckpointWriter, SavedState, Worker};
use fog_types::WorkUnits;
use tokio::time::Instant;

use crate::checkpoint::Origin;
use crate::output::{Failure, say};
use crate::screen::Screen;
use crate::signals::{self, Signals};

/// Time to the next safe point after which an interruption stops waiting, or after which the user is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// Delay of a wait from which on this process is taken to have been suspended.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// A write problem, reported once when it begins and once when it ends.
#[derive(Debug, Default)]
pub struct Trouble {
    is_met: bool,
}

impl Trouble {
    /// Records that writing failed this time.
    pub fn meet(&mut self, screen: &mut Screen, text: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.is_met, true) {
            screen.clear();
            say!("fog: {}", text());
        }
    }

    /// Records that writing succeeded this time.
    pub fn end(&mut self, screen: &mut Screen, text: impl FnOnce() -> String) {
        if std::mem::take(&mut self.is_met) {
            screen.clear();
            say!("fog: {}", text());
        }
    }
}

/// Next step about checkpoints.
pub enum Due {
    /// The worker is to be asked for a checkpoint.
    Ask,
    /// Nothing is to be done yet.
    Wait,
    /// The program ends without a checkpoint; this process ends with this code.
    End(u8),
}

/// Writes checkpoints of a program that runs in the foreground.
pub struct Keeper {
    path: PathBuf,
    /// Checkpoint that the run continued from.
    from: Option<PathBuf>,
    writer: CheckpointWriter,
    /// Work units of the last checkpoint written.
    written: Option<WorkUnits>,
    every: Duration,
    next: Instant,
    signals: Signals,
    /// Exit code of an interruption, once there was one.
    interrupted: Option<u8>,
    /// Time at which the worker was asked, until it reaches a safe point.
    asked: Option<Instant>,
    /// Whether the user was told that the program reaches no safe point.
    has_waited: bool,
    has_warned: bool,
    trouble: Trouble,
}

impl Keeper {
    pub fn new(path: &Path, from: Option<&Path>, every: Duration) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            Failure::input(format!(
                "no checkpoint can be written to {}: {why}. Nothing was run",
                path.display()
            ))
        };
        // A symbolic link is followed to its file; a device or pipe is not replaced by a file.
        let target = fog_runtime::replaceable(path).map_err(|e| refuse(&e.to_string()))?;
        let folder =
            target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        if !folder.is_dir() {
            return Err(refuse("its folder does not exist"));
        }
        let signals = Signals::new().map_err(|e| Failure::bug(format!("signals cannot be heard: {e}")))?;
        let writer = CheckpointWriter::new(target, None);
        writer.check().map_err(|e| refuse(&e.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            from: from.map(Path::to_owned),
            writer,
            written: None,
            every,
            next: Instant::now() + every,
            signals,
            interrupted: None,
            asked: None,
            has_waited: false,
            has_warned: false,
            trouble: Trouble::default(),
        })
    }

    /// Returns the exit code when a signal interrupts a program that has not started yet.
    pub async fn interrupted(&mut self, screen: &mut Screen) -> u8 {
        let code = self.signals.next().await;
        screen.clear();
        say!("fog: interrupted before the program began. {}", self.kept());
        code
    }

    /// Returns when something is to be done: the interval is over, a signal interrupts, or the program
    /// reaches no safe point in time.
    pub async fn due(&mut self, screen: &mut Screen) -> Due {
        let waits = self.interrupted.is_some() || !self.has_waited;
        let patience = self.asked.filter(|_| waits).map(|asked| asked + PATIENCE);
        let turn = self.interrupted.is_none().then_some(self.next);
        let until = [patience, turn].into_iter().flatten().min();
        tokio::select! {
            code = self.signals.next() => {
                if self.interrupted.is_some() {
                    if signals::is_hangup(code) {
                        // The hang-up follows from the earlier interruption.
                        return Due::Wait;
                    }
                    // A second interruption ends the program at once.
                    screen.clear();
                    say!("fog: interrupted again, and not saved. {}", self.kept());
                    return Due::End(code);
                }
                (self.interrupted, self.asked) = (Some(code), Some(Instant::now()));
                Due::Ask
            }
            () = tokio::time::sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                let now = Instant::now();
                if patience.is_some_and(|patience| patience <= now) { self.no_safe_point(now, screen) } else { self.turn(now) }
            }
        }
    }

    fn turn(&mut self, now: Instant) -> Due {
        self.next = now + self.every;
        self.asked.get_or_insert(now);
        Due::Ask
    }

    fn no_safe_point(&mut self, now: Instant, screen: &mut Screen) -> Due {
        if self.asked.is_some_and(|asked| now > asked + PATIENCE + STOOD_STILL) {
            self.asked = Some(now);
            return Due::Wait;
        }
        screen.clear();
        if let Some(code) = self.interrupted {
            say!(
                "fog: interrupted; the program came to no safe point within {} s, so it is not saved. {}",
                PATIENCE.as_secs(),
                self.kept()
            );
            return Due::End(code);
        }
        self.has_waited = true;
        say!(
            "fog: the program has come to no safe point for {} s: it goes on, and is saved at the next one. {}",
            PATIENCE.as_secs(),
            self.kept()
        );
        Due::Wait
    }

    /// Records that the program has reached a safe point.
    pub fn at_safe_point(&mut self) {
        self.asked = None;
    }

    /// Interrupts a program whose output cannot be passed on. Returns false if it was interrupted before.
    pub fn interrupt(&mut self, code: u8, worker: &Worker) -> bool {
        let is_first = self.interrupted.is_none();
        if is_first {
            (self.interrupted, self.asked) = (Some(code), Some(Instant::now()));
            self.ask(worker);
        }
        is_first
    }

    /// Asks the worker for a checkpoint.
    pub fn ask(&self, worker: &Worker) {
        worker.save(self.writer.wants_whole());
    }

    /// Writes a complete checkpoint and returns the exit code if the program was interrupted. A write error
    /// loses only this checkpoint.
    pub fn keep(
        &mut self,
        saved: Result<(&Origin, SavedState, Vec<u8>), String>,
        screen: &mut Screen,
    ) -> Option<u8> {
        self.asked = None;
        let code = self.interrupted;
        let (origin, saved, state) = match saved {
            Ok(saved) => saved,
            Err(reason) => {
                if code.is_some() {
                    screen.clear();
                    say!(
                        "fog: interrupted; no checkpoint can be taken of this program: {reason}. {}",
                        self.kept()
                    );
                } else if !std::mem::replace(&mut self.has_warned, true) {
                    screen.clear();
                    say!("fog: no checkpoint can be taken of this program: {reason}");
                }
                return code;
            }
        };
        let generation = origin.generation(&saved, state, screen);
        let units = WorkUnits(generation.header.units);
        match self.writer.write(&generation, saved.whole) {
            Ok(()) => {
                self.written = Some(units);
                self.trouble
                    .end(screen, || format!("checkpoints are written again, to {}", self.path.display()));
                if code.is_some() {
                    screen.clear();
                    say!(
                        "fog: interrupted at {units}; continue with: fog run --from {}",
                        self.path.display()
                    );
                }
            }
            Err(error) if code.is_some() => {
                screen.clear();
                say!("fog: interrupted at {units}, which could not be saved: {error}. {}", self.kept());
            }
            Err(error) => {
                let kept = self.kept();
                let again = self.every.as_secs_f64();
                let text = || {
                    format!(
                        "no checkpoint could be written: {error}. The program goes on, and it is tried again every {again} s. {kept}"
                    )
                };
                self.trouble.meet(screen, text);
            }
        }
        code
    }

    /// Returns a sentence about the checkpoint to continue from.
    fn kept(&self) -> String {
        let path = self.path.display();
        match (self.written, &self.from) {
            (Some(units), _) => {
                format!("The checkpoint at {units} stands; continue with: fog run --from {path}")
            }
            (None, Some(from)) => {
                format!("The checkpoint that this run went on from stands: fog run --from {}", from.display())
            }
            (None, None) if Checkpoint::is_at(&self.path) => {
                format!("Nothing of this run is saved; {path} is the checkpoint of one before")
            }
            (None, None) => "Nothing is saved".to_owned(),
        }
    }
}
