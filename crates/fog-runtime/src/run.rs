mod references;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fog_instrument::names;
use fog_types::{ByteCount, Limits, WorkUnits};
use wasmtime::{Caller, Global, Linker, Module, Store, Trap, Val};

pub(crate) use self::references::Numbers;
use crate::compile;
use crate::outcome::{LimitKind, Outcome, OutputFile, Report};
use crate::protocol::Mark;
use crate::snapshot::{Snapshot, Taken, Tracker};
use crate::task::{Segments, TaskSpec};
use crate::usage::ThreadClock;
use crate::wasi::{self, Context, Exit};

/// Work units between two calls of the control: some milliseconds on a desktop core. A trap is reported
/// with the count of the last such check, so the value is part of what makes runs repeatable.
pub const SLICE_UNITS: u64 = 5_000_000;
/// Ratio of the machine stack to the counted stack. Frames differ between engines, and a continued frame is
/// larger than before it was saved; the counted stack ends a recursion first.
const MACHINE_STACK: usize = 4;

/// Receiver of the events of a running task.
pub trait Observer: Send {
    /// Bytes the job wrote to stdout or stderr, within its log limit.
    fn output(&mut self, stderr: bool, bytes: &[u8]);
    /// The job reported progress, in tenths of a percent.
    fn progress(&mut self, permille: u16);
    /// The first instruction is about to run.
    fn started(&mut self) {}
}

/// Order to a task at a safe point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Continue the task.
    Go,
    /// Take a checkpoint, pass it to [`Control::save`], and ask again.
    Save {
        /// Whether it must be whole rather than hold the changes since the last one, if there was one.
        whole: bool,
    },
    /// End with [`RunError::Abandoned`], without a result or a checkpoint.
    Abandon,
}

/// Control of a running task: its speed, and its checkpoints.
pub trait Control: Send {
    /// Called at every safe point with the processor time since the last call, including that for marks and
    /// checkpoints, and the work units used so far. May block, to throttle or freeze the task.
    fn safe_point(&mut self, worked: Duration, units: u64) -> Order;

    /// Called when the task is stopped for a mark or a checkpoint, which may take a while to make.
    fn at_safe_point(&mut self) {}

    /// Takes a checkpoint, or the reason why it could not be made.
    fn save(&mut self, taken: Result<Taken<'_>, String>);

    /// Called when the task comes to a mark. If checkpoints go with marks, [`Control::save`] follows.
    fn mark(&mut self, _mark: Mark) {}
}

/// Error of a task that could not begin or was abandoned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The compiled module is of another build or damaged and must be compiled again.
    #[error("the compiled module does not fit this build: {0}")]
    Stale(String),
    /// An input cannot be opened.
    #[error("an input of the task cannot be read: {0}")]
    Input(#[source] std::io::Error),
    /// The engine failed in a way that no module should cause.
    #[error("the engine failed: {0}")]
    Engine(String),
    /// The checkpoint does not belong to this task or is damaged.
    #[error("the checkpoint cannot be continued: {0}")]
    Checkpoint(String),
    /// The control abandoned the task.
    #[error("the task was given up")]
    Abandoned,
}

/// Counter of units and running time. Running time is processor time of the job's thread, so a busy machine
/// charges no more.
#[derive(Debug)]
pub(crate) struct Meter {
    units_limit: u64,
    /// Units per slice.
    slice: u64,
    /// Total units of all slices so far.
    granted: u64,
    wall_limit: Duration,
    active: Duration,
    since: ThreadClock,
    /// Unit count with which the module stopped.
    stopped_with: i64,
    segments: Option<Segments>,
    /// Number of marks passed.
    marks: u64,
}

impl Meter {
    pub(crate) fn new(limits: &Limits, segments: Option<Segments>) -> Self {
        let wall_limit = Duration::from_secs(limits.wall_seconds);
        let (active, since) = (Duration::ZERO, ThreadClock::start());
        Self {
            units_limit: limits.units.0,
            slice: SLICE_UNITS,
            granted: 0,
            wall_limit,
            active,
            since,
            stopped_with: 0,
            segments,
            marks: 0,
        }
    }

    /// Number of marks up to this many units.
    fn marks_at(&self, used: u64) -> u64 {
        self.segments.map_or(0, |segments| used / segments.units.max(1))
    }

    /// Units used when `left` units remain of the slice.
    pub(crate) fn used(&self, left: i64) -> u64 {
        self.granted.saturating_add_signed(left.saturating_neg())
    }

    /// Adds and returns the time since the last call.
    fn work(&mut self) -> Duration {
        let worked = std::mem::replace(&mut self.since, ThreadClock::start()).elapsed();
        self.active += worked;
        worked
    }

    /// Whether more units than the limit are used when `left` remain of the slice.
    pub(crate) fn is_past_units(&self, left: i64) -> bool {
        self.used(left) > self.units_limit
    }

    /// Limit that is passed when `left` units remain of the slice. Units come first, because they are the
    /// same everywhere.
    fn passed_limit(&self, left: i64) -> Option<LimitKind> {
        if self.is_past_units(left) {
            return Some(LimitKind::Units);
        }
        (self.active > self.wall_limit).then_some(LimitKind::WallTime)
    }
}

/// A limit ended the program.
#[derive(Debug, thiserror::Error)]
#[error("a limit was reached")]
pub(crate) struct Reached(pub(crate) LimitKind);

/// The control abandoned the task.
#[derive(Debug, thiserror::Error)]
#[error("given up")]
struct GivenUp;

/// Runs a task to its end in a thread of its own, from its beginning or from `snapshot`.
///
/// `before_start` runs when all files of the task are open and none of its code has run: the place to drop
/// privileges.
///
/// # Errors
/// [`RunError`] when the task could not begin or was abandoned; an end caused by the job is a [`Report`].
pub fn run(
    spec: &TaskSpec,
    snapshot: Option<Snapshot>,
    observer: Box<dyn Observer>,
    control: Box<dyn Control>,
    before_start: impl FnOnce() + Send,
) -> Result<(Report, Vec<OutputFile>), RunError> {
    run_sliced(spec, SLICE_UNITS, snapshot, observer, control, before_start)
}

/// Runs a task like [`run`] with slices of another size.
fn run_sliced(
    spec: &TaskSpec,
    slice: u64,
    snapshot: Option<Snapshot>,
    observer: Box<dyn Observer>,
    control: Box<dyn Control>,
    before_start: impl FnOnce() + Send,
) -> Result<(Report, Vec<OutputFile>), RunError> {
    let counted = usize::try_from(spec.limits.stack.0.saturating_add(names::CHAIN_BYTES)).unwrap_or(1 << 20);
    let stack = counted.saturating_mul(MACHINE_STACK);
    std::thread::scope(|scope| {
        // The job runs on the stack of the new thread; the engine's own calls need some more.
        let thread =
            std::thread::Builder::new().name("job".to_owned()).stack_size(stack.saturating_add(2 << 20));
        let job = thread
            .spawn_scoped(scope, || run_here(spec, stack, slice, snapshot, observer, control, before_start));
        let ended = job.map_err(|e| RunError::Engine(format!("no thread for the job: {e}")))?.join();
        ended.unwrap_or_else(|_| Err(RunError::Engine("it panicked".to_owned())))
    })
}

fn run_here(
    spec: &TaskSpec,
    stack: usize,
    slice: u64,
    snapshot: Option<Snapshot>,
    observer: Box<dyn Observer>,
    control: Box<dyn Control>,
    before_start: impl FnOnce(),
) -> Result<(Report, Vec<OutputFile>), RunError> {
    let engine = compile::engine(spec.engine, stack).map_err(|e| RunError::Engine(e.to_string()))?;
    // SAFETY: the file was written by our own compile worker under the hash of its module, in a
    // folder only this user can write; wasmtime checks that it fits this build and configuration.
    #[expect(unsafe_code, reason = "loading compiled code is what the cache is for")]
    let module = unsafe { Module::deserialize_file(&engine, &spec.artifact) }
        .map_err(|e| RunError::Stale(format!("{e:#}")))?;
    let mut context = Context::new(spec, observer, control).map_err(RunError::Input)?;
    context.meter.slice = slice;
    for export in module.exports() {
        // Tables that the rewriting adds do not count against the limit of the job.
        if let (names::BY_NUMBER | names::FUNCTIONS, Some(table)) = (export.name(), export.ty().table()) {
            context.table_limit =
                context.table_limit.saturating_add(usize::try_from(table.minimum()).unwrap_or(0));
        }
    }
    let mut store = Store::new(&engine, context);
    store.limiter(|context| context);
    let engine_error = |e: wasmtime::Error| RunError::Engine(format!("{e:#}"));
    let mut linker = Linker::new(&engine);
    wasi::link(&mut linker).map_err(engine_error)?;
    linker.func_wrap(names::MODULE, names::CHECK, check).map_err(engine_error)?;
    linker.func_wrap(names::MODULE, names::REFERENCE, references::number).map_err(engine_error)?;

    let mut tracker = Tracker::new();
    before_start();
    let outcome = drive(&mut store, &linker, &module, spec.limits.stack, snapshot, &mut tracker)?;
    let left = store.data().left.map_or(0, |left| left.get(&mut store).i64().unwrap_or(0));
    let context = store.into_data();
    let [stdout_dropped, stderr_dropped] = context.dropped();
    let disk = ByteCount(context.vfs.peak());
    let outputs = context.vfs.outputs();
    let limit = context.meter.units_limit;
    // At the limit of units exactly the limit is reported, without units that were charged ahead.
    let units =
        if outcome == Outcome::Limit(LimitKind::Units) { limit } else { context.meter.used(left).min(limit) };
    let report = Report {
        outcome,
        units: WorkUnits(units),
        memory: ByteCount(context.memory_peak as u64),
        disk,
        active_millis: u64::try_from(context.meter.active.as_millis()).unwrap_or(u64::MAX),
        stdout_dropped,
        stderr_dropped,
        left_out: outputs.left_out,
    };
    let files = outputs.files.into_iter().map(|(path, content)| OutputFile { path, content }).collect();
    Ok((report, files))
}

/// Handles a request of the module for another slice.
fn check(mut caller: Caller<'_, Context>, left: i64) -> wasmtime::Result<i64> {
    let context = caller.data_mut();
    let meter = &mut context.meter;
    let worked = meter.work();
    let used = meter.used(left);
    if let Some(limit) = meter.passed_limit(left) {
        return Err(Reached(limit).into());
    }
    let order = context.control.safe_point(worked, used);
    // Time for saving frames counts for the checkpoint or mark that they are saved for.
    context.meter.since = ThreadClock::start();
    if order == Order::Go && context.meter.marks_at(used) > context.meter.marks {
        context.is_stopping = true;
        context.meter.stopped_with = left;
        return Ok(names::STOP);
    }
    match order {
        Order::Go => Ok(grant(&mut context.meter, left)),
        Order::Save { whole } => {
            context.is_stopping = true;
            context.wants_save = Some(whole);
            context.meter.stopped_with = left;
            Ok(names::STOP)
        }
        Order::Abandon => Err(GivenUp.into()),
    }
}

/// Grants slices until the count is not negative; the last slice ends at the limit.
fn grant(meter: &mut Meter, mut left: i64) -> i64 {
    while left < 0 && meter.granted < meter.units_limit {
        let slice = meter.slice.min(meter.units_limit - meter.granted);
        meter.granted += slice;
        left = left.saturating_add_unsigned(slice);
    }
    left
}

/// Runs until the job ends, taking checkpoints on the way.
fn drive(
    store: &mut Store<Context>,
    linker: &Linker<Context>,
    module: &Module,
    stack_limit: ByteCount,
    snapshot: Option<Snapshot>,
    tracker: &mut Tracker,
) -> Result<Outcome, RunError> {
    if let Some(problem) = not_a_command(module) {
        return Ok(Outcome::Refused(problem));
    }
    let instance = match linker.instantiate(&mut *store, module) {
        Ok(instance) => instance,
        Err(error) => return Ok(ended_before_start(&error)),
    };
    let Some(left) = instance.get_global(&mut *store, names::LEFT) else {
        return Err(RunError::Stale("it has no count".to_owned()));
    };
    store.data_mut().left = Some(left);
    let Some(stack) = instance.get_global(&mut *store, names::STACK) else {
        return Err(RunError::Stale("it counts no stack".to_owned()));
    };
    let taken = names::STACK_START.saturating_sub(stack.get(&mut *store).i32().unwrap_or(0));
    let stack_bytes = i32::try_from(stack_limit.0).unwrap_or(names::STACK_START).saturating_sub(taken);
    if stack_bytes <= 0 {
        return Ok(Outcome::Limit(LimitKind::Stack));
    }
    let is_continued = snapshot.is_some();
    if let Some(snapshot) = snapshot {
        state::restore(store, instance, snapshot).map_err(RunError::Checkpoint)?;
        if store.data().meter.segments.is_some_and(|segments| !segments.keep) {
            // The first mark tells a verifier the state from which the run really begins.
            let state = state::identity(store, instance).map_err(RunError::Engine)?;
            let meter = &store.data().meter;
            let mark = Mark { number: meter.marks, units: meter.used(meter.stopped_with), state };
            store.data_mut().control.mark(mark);
        }
        go_on(store, left)?;
    }
    state::reserve_frames(store, instance, stack_limit.0).map_err(RunError::Engine)?;
    store.data_mut().observer.started();
    let mut entry = if is_continued { names::RESUME } else { names::MAIN };
    loop {
        let Ok(main) = instance.get_typed_func::<(), ()>(&mut *store, entry) else {
            return Err(RunError::Checkpoint("this module has nothing to continue".to_owned()));
        };
        // Functions that stopped did not give their stack back, and take it again when continued.
        stack.set(&mut *store, Val::I32(stack_bytes)).map_err(|e| RunError::Engine(format!("{e:#}")))?;
        store.data_mut().meter.since = ThreadClock::start();
        let result = main.call(&mut *store, ());
        let is_stopped = std::mem::take(&mut store.data_mut().is_stopping);
        match result {
            Ok(()) if is_stopped => {}
            Err(error) if error.is::<GivenUp>() => return Err(RunError::Abandoned),
            result => {
                store.data_mut().meter.work();
                // Limits that were passed after the last safe point are checked here.
                let count = left.get(&mut *store).i64().unwrap_or(0);
                if let Some(limit) = store.data().meter.passed_limit(count) {
                    return Ok(Outcome::Limit(limit));
                }
                if result.is_err() && stack.get(&mut *store).i32().is_some_and(|left| left < 0) {
                    return Ok(Outcome::Limit(LimitKind::Stack));
                }
                return Ok(result.map_or_else(|error| ended(&error), |()| Outcome::Exited(0)));
            }
        }
        store.data_mut().control.at_safe_point();
        let used = store.data().meter.used(store.data().meter.stopped_with);
        let mut wants_save = store.data_mut().wants_save.take();
        let passed = store.data().meter.marks_at(used);
        // Marks count as time of the job; checkpoints for the device do not.
        let mut is_the_jobs = passed > store.data().meter.marks;
        if is_the_jobs {
            store.data_mut().meter.marks = passed;
            let state = state::identity(store, instance).map_err(RunError::Engine)?;
            store.data_mut().control.mark(Mark { number: passed, units: used, state });
            if store.data().meter.segments.is_some_and(|segments| segments.keep) {
                wants_save = Some(true);
            }
        }
        loop {
            if let Some(whole) = wants_save.take() {
                // The checkpoint borrows the store, so the control is taken out of it meanwhile.
                let mut control =
                    std::mem::replace(&mut store.data_mut().control, Box::new(SuspendedControl));
                control.save(state::save(store, instance, tracker, whole));
                store.data_mut().control = control;
            }
            let context = store.data_mut();
            let took = if std::mem::take(&mut is_the_jobs) {
                context.meter.work()
            } else {
                context.meter.since.elapsed()
            };
            let order = context.control.safe_point(took, used);
            context.meter.since = ThreadClock::start();
            match order {
                Order::Go => break,
                Order::Save { whole } => wants_save = Some(whole),
                Order::Abandon => return Err(RunError::Abandoned),
            }
        }
        go_on(store, left)?;
        entry = names::RESUME;
    }
}

/// Grants the stopped task the units that it needs to continue.
fn go_on(store: &mut Store<Context>, left: Global) -> Result<(), RunError> {
    let meter = &mut store.data_mut().meter;
    let count = grant(meter, meter.stopped_with);
    left.set(&mut *store, Val::I64(count)).map_err(|e| RunError::Engine(format!("{e:#}")))
}

/// Placeholder while the real control takes a checkpoint; the task is stopped then.
struct SuspendedControl;

impl Control for SuspendedControl {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        Order::Abandon
    }

    fn save(&mut self, _taken: Result<Taken<'_>, String>) {}
}

fn not_a_command(module: &Module) -> Option<String> {
    if module.get_export("_start").is_none() {
        return Some(
            "it has no '_start': not a WASI command (a library, a component, or built for the browser)"
                .to_owned(),
        );
    }
    let is_given = |name: &str| matches!(name, "wasi_snapshot_preview1" | names::MODULE);
    let foreign = module.imports().find(|import| !is_given(import.module()));
    let cut = |text: &str| text.chars().take(60).collect::<String>();
    if let Some(import) = foreign {
        return Some(format!(
            "it imports '{}' from '{}'; only WASI preview 1 is given",
            cut(import.name()),
            cut(import.module())
        ));
    }
    module
        .get_export(names::MAIN)
        .is_none()
        .then(|| "its '_start' is not a function without parameters and results".to_owned())
}

fn ended_before_start(error: &wasmtime::Error) -> Outcome {
    if error.is::<Trap>() || error.is::<Exit>() {
        ended(error)
    } else {
        Outcome::Refused(format!("{error:#}"))
    }
}

fn ended(error: &wasmtime::Error) -> Outcome {
    if let Some(Exit(code)) = error.downcast_ref() {
        return Outcome::Exited(*code);
    }
    if let Some(Reached(limit)) = error.downcast_ref() {
        return Outcome::Limit(*limit);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => Outcome::Limit(LimitKind::Stack),
        Some(trap) => Outcome::Trapped(trap.to_string()),
        None => Outcome::Trapped(format!("{error:#}")),
    }
}
