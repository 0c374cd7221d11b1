use std::time::{Duration, Instant};

use fog_instrument::names;
use fog_types::{ByteCount, Limits, WorkUnits};
use wasmtime::{Caller, Extern, Global, Instance, Linker, Memory, Module, Store, Trap, Val};

use crate::compile;
use crate::outcome::{LimitKind, Outcome, OutputFile, Report};
use crate::protocol::Mark;
use crate::snapshot::{Number, Rest, Snapshot, Taken, Tracker};
use crate::task::{Segments, TaskSpec};
use crate::wasi::{self, Context, Exit};

/// Work units between two looks at the control: some milliseconds on a desktop core. Part of what
/// makes a run repeatable: a trap is reported with the count of the last look before it.
pub const SLICE_UNITS: u64 = 5_000_000;
/// How many times the stack of a job its continued frames may take.
const RESUMED_STACK: usize = 4;

/// Who listens to a running task.
pub trait Observer: Send {
    /// Bytes the job wrote to stdout or stderr, within its log limit.
    fn output(&mut self, stderr: bool, bytes: &[u8]);
    /// The job reported progress, in tenths of a percent.
    fn progress(&mut self, permille: u16);
    /// The first instruction is about to run.
    fn started(&mut self) {}
}

/// What a task does at a safe point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    Go,
    /// Take a checkpoint, hand it to [`Control::save`], and ask again.
    Save {
        /// A whole one; otherwise what changed since the last, if there was one.
        whole: bool,
    },
    /// End with what a checkpoint would hold thrown away: [`RunError::Abandoned`].
    Abandon,
}

/// Who decides how fast a task may run.
pub trait Control: Send {
    /// Called at every safe point with the time worked since the last call and the work units used
    /// so far. May block, to throttle or freeze the task.
    fn safe_point(&mut self, worked: Duration, units: u64) -> Order;

    /// Takes a checkpoint, or the reason why this task cannot have one.
    fn save(&mut self, taken: Result<Taken<'_>, String>);

    /// The task came to a mark; where checkpoints go with marks, [`Control::save`] follows.
    fn mark(&mut self, _mark: Mark) {}
}

/// The task could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The compiled module was made by another build or is damaged; compile again.
    #[error("the compiled module does not fit this build: {0}")]
    Stale(String),
    /// An input cannot be opened.
    #[error("an input of the task cannot be read: {0}")]
    Input(#[source] std::io::Error),
    /// The engine failed in a way no module should cause.
    #[error("the engine failed: {0}")]
    Engine(String),
    /// The checkpoint does not belong to this task or is damaged.
    #[error("the checkpoint cannot be continued: {0}")]
    Checkpoint(String),
    /// The control gave the task up.
    #[error("the task was given up")]
    Abandoned,
}

/// Counts units and running time.
#[derive(Debug)]
pub(crate) struct Meter {
    units_limit: u64,
    /// Units of all slices so far.
    granted: u64,
    wall_limit: Duration,
    active: Duration,
    since: Instant,
    /// The count with which the module stopped.
    stopped_with: i64,
    segments: Option<Segments>,
    /// Marks passed.
    marks: u64,
}

impl Meter {
    pub(crate) fn new(limits: &Limits, segments: Option<Segments>) -> Self {
        let wall_limit = Duration::from_secs(limits.wall_seconds);
        let (active, since) = (Duration::ZERO, Instant::now());
        Self { units_limit: limits.units.0, granted: 0, wall_limit, active, since, stopped_with: 0, segments, marks: 0 }
    }

    /// Marks that lie before this many units.
    fn marks_at(&self, used: u64) -> u64 {
        self.segments.map_or(0, |segments| used / segments.units.max(1))
    }

    /// Units used when `left` are left of the slice.
    pub(crate) fn used(&self, left: i64) -> u64 {
        self.granted.saturating_add_signed(left.saturating_neg())
    }

    /// Adds the time since the last call.
    fn work(&mut self) -> Duration {
        let worked = self.since.elapsed();
        self.active += worked;
        worked
    }
}

/// A limit of ours ended the program.
#[derive(Debug, thiserror::Error)]
#[error("a limit was reached")]
struct Reached(LimitKind);

/// The control gave the task up.
#[derive(Debug, thiserror::Error)]
#[error("given up")]
struct GivenUp;

/// Runs a task to its end in this thread, from its beginning or from `snapshot`.
///
/// `before_start` runs when everything the task needs is open and nothing of it has run: the place
/// to drop privileges.
///
/// # Errors
/// [`RunError`] when it could not begin; an ending caused by the job is a [`Report`].
pub fn run(
    spec: &TaskSpec,
    snapshot: Option<Snapshot>,
    observer: Box<dyn Observer>,
    control: Box<dyn Control>,
    before_start: impl FnOnce() + Send,
) -> Result<(Report, Vec<OutputFile>), RunError> {
    let stack = usize::try_from(spec.limits.stack.0).unwrap_or(1 << 20);
    std::thread::scope(|scope| {
        // The job's stack is this thread's; the engine's own calls need some below it.
        let thread = std::thread::Builder::new().name("job".to_owned()).stack_size(stack.saturating_mul(RESUMED_STACK) + (2 << 20));
        let job = thread.spawn_scoped(scope, || run_here(spec, stack, snapshot, observer, control, before_start));
        let ended = job.map_err(|e| RunError::Engine(format!("no thread for the job: {e}")))?.join();
        ended.unwrap_or_else(|_| Err(RunError::Engine("it panicked".to_owned())))
    })
}

fn run_here(
    spec: &TaskSpec,
    stack: usize,
    snapshot: Option<Snapshot>,
    observer: Box<dyn Observer>,
    control: Box<dyn Control>,
    before_start: impl FnOnce(),
) -> Result<(Report, Vec<OutputFile>), RunError> {
    // A continued frame takes more of the machine's stack than it took before it was saved.
    let stack = if snapshot.is_some() { stack.saturating_mul(RESUMED_STACK) } else { stack };
    let engine = compile::engine(spec.engine, stack).map_err(|e| RunError::Engine(e.to_string()))?;
    // SAFETY: the file was written by our own compile worker under the hash of its module, in a
    // folder only this user can write; wasmtime checks that it fits this build and configuration.
    #[expect(unsafe_code, reason = "loading compiled code is what the cache is for")]
    let module = unsafe { Module::deserialize_file(&engine, &spec.artifact) }.map_err(|e| RunError::Stale(format!("{e:#}")))?;
    let mut context = Context::new(spec, observer, control).map_err(RunError::Input)?;
    for export in module.exports() {
        if let Some(obstacle) = export.name().strip_prefix(names::OBSTACLE) {
            context.obstacle = Some(obstacle.to_owned());
        }
        // The table that the rewriting adds does not count against the job's.
        if let (names::BY_NUMBER, Some(table)) = (export.name(), export.ty().table()) {
            context.table_limit = context.table_limit.saturating_add(usize::try_from(table.minimum()).unwrap_or(0));
        }
    }
    let mut store = Store::new(&engine, context);
    store.limiter(|context| context);
    let engine_error = |e: wasmtime::Error| RunError::Engine(format!("{e:#}"));
    let mut linker = Linker::new(&engine);
    wasi::link(&mut linker).map_err(engine_error)?;
    linker.func_wrap(names::MODULE, names::CHECK, check).map_err(engine_error)?;

    let mut tracker = Tracker::new();
    before_start();
    let outcome = drive(&mut store, &linker, &module, snapshot, &mut tracker)?;
    let left = store.data().left.map_or(0, |left| left.get(&mut store).i64().unwrap_or(0));
    let context = store.into_data();
    let [stdout_dropped, stderr_dropped] = context.dropped();
    let report = Report {
        outcome,
        units: WorkUnits(context.meter.used(left).min(context.meter.units_limit)),
        memory: ByteCount(context.memory_peak as u64),
        disk: ByteCount(context.vfs.peak()),
        active_millis: u64::try_from(context.meter.active.as_millis()).unwrap_or(u64::MAX),
        stdout_dropped,
        stderr_dropped,
    };
    let files = context.vfs.outputs().into_iter().map(|(path, data)| OutputFile { path, data }).collect();
    Ok((report, files))
}

/// The module asks for another slice.
fn check(mut caller: Caller<'_, Context>, left: i64) -> wasmtime::Result<i64> {
    let context = caller.data_mut();
    let meter = &mut context.meter;
    let worked = meter.work();
    let used = meter.used(left);
    if used > meter.units_limit {
        return Err(Reached(LimitKind::Units).into());
    }
    if meter.active > meter.wall_limit {
        return Err(Reached(LimitKind::WallTime).into());
    }
    let mut order = context.control.safe_point(worked, used);
    if order == Order::Go && context.meter.marks_at(used) > context.meter.marks && context.obstacle.is_none() {
        context.is_stopping = true;
        context.meter.stopped_with = left;
        return Ok(names::STOP);
    }
    while let (Order::Save { .. }, Some(obstacle)) = (order, &context.obstacle) {
        context.control.save(Err(obstacle.clone()));
        order = context.control.safe_point(Duration::ZERO, used);
    }
    match order {
        Order::Go => {
            context.meter.since = Instant::now();
            Ok(grant(&mut context.meter, left))
        }
        Order::Save { whole } => {
            context.is_stopping = true;
            context.wants_save = Some(whole);
            context.meter.stopped_with = left;
            Ok(names::STOP)
        }
        Order::Abandon => Err(GivenUp.into()),
    }
}

/// Grants slices until the count is not below zero; the last one ends at the limit.
fn grant(meter: &mut Meter, mut left: i64) -> i64 {
    while left < 0 && meter.granted < meter.units_limit {
        let slice = SLICE_UNITS.min(meter.units_limit - meter.granted);
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
    let Some(left) = instance.get_global(&mut *store, names::LEFT) else { return Err(RunError::Stale("it has no count".to_owned())) };
    store.data_mut().left = Some(left);
    let is_continued = snapshot.is_some();
    if let Some(snapshot) = snapshot {
        state::restore(store, instance, snapshot).map_err(RunError::Checkpoint)?;
    }
    store.data_mut().observer.started();
    let mut entry = if is_continued { names::RESUME } else { names::MAIN };
    loop {
        let Ok(main) = instance.get_typed_func::<(), ()>(&mut *store, entry) else {
            return Err(RunError::Checkpoint("this module has nothing to continue".to_owned()));
        };
        store.data_mut().meter.since = Instant::now();
        let result = main.call(&mut *store, ());
        let is_stopped = std::mem::take(&mut store.data_mut().is_stopping);
        match result {
            Ok(()) if is_stopped => {}
            Err(error) if error.is::<GivenUp>() => return Err(RunError::Abandoned),
            result => {
                store.data_mut().meter.work();
                return Ok(result.map_or_else(|error| ended(&error), |()| Outcome::Exited(0)));
            }
        }
        let used = store.data().meter.used(store.data().meter.stopped_with);
        let mut wants_save = store.data_mut().wants_save.take();
        let passed = store.data().meter.marks_at(used);
        if passed > store.data().meter.marks {
            store.data_mut().meter.marks = passed;
            let state = state::identity(store, instance).map_err(RunError::Engine)?;
            store.data_mut().control.mark(Mark { number: passed, units: used, state });
            if store.data().meter.segments.is_some_and(|segments| segments.keep) {
                wants_save = Some(true);
            }
        }
        loop {
            if let Some(whole) = wants_save.take() {
                // The checkpoint shows the task's memory, which lies beside who takes it.
                let mut control = std::mem::replace(&mut store.data_mut().control, Box::new(Away));
                control.save(state::save(store, instance, tracker, whole));
                store.data_mut().control = control;
            }
            match store.data_mut().control.safe_point(Duration::ZERO, used) {
                Order::Go => break,
                Order::Save { whole } => wants_save = Some(whole),
                Order::Abandon => return Err(RunError::Abandoned),
            }
        }
        let meter = &mut store.data_mut().meter;
        let count = grant(meter, meter.stopped_with);
        left.set(&mut *store, Val::I64(count)).map_err(|e| RunError::Engine(format!("{e:#}")))?;
        entry = names::RESUME;
    }
}

/// Stands in while the real one is busy; the task stands still then.
struct Away;

impl Control for Away {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        Order::Abandon
    }

    fn save(&mut self, _taken: Result<Taken<'_>, String>) {}
}

/// A machine's state in and out.
mod state {
    use super::*;

    /// Everything the stopped machine holds.
    pub(super) fn save<'a>(store: &'a mut Store<Context>, instance: Instance, tracker: &mut Tracker, whole: bool) -> Result<Taken<'a>, String> {
        let (memories, rest) = parts(store, instance)?;
        let store = &*store;
        let memories: Vec<&[u8]> = memories.iter().map(|memory| memory.data(store)).collect();
        tracker.take(&memories, &store.data().state(), rest, whole)
    }

    /// BLAKE3 of all of it but the running time: the same wherever the task comes here.
    pub(super) fn identity(store: &mut Store<Context>, instance: Instance) -> Result<String, String> {
        let (memories, rest) = parts(store, instance)?;
        let mut hasher = blake3::Hasher::new_derive_key("fog-compute task state v1");
        let mut put = |bytes: &[u8]| _ = hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        memories.iter().for_each(|memory| put(memory.data(&*store)));
        let plain = |e: postcard::Error| e.to_string();
        put(&postcard::to_stdvec(&store.data().state()).map_err(plain)?);
        put(&postcard::to_stdvec(&(rest.globals, rest.left, rest.granted)).map_err(plain)?);
        put(&rest.frames);
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn parts(store: &mut Store<Context>, instance: Instance) -> Result<(Vec<Memory>, Rest), String> {
        let mut globals = Vec::new();
        let mut memories = Vec::new();
        let exports: Vec<(String, Extern)> = instance.exports(&mut *store).map(|export| (export.name().to_owned(), export.into_extern())).collect();
        for (name, export) in exports {
            let number = |prefix: &str| name.strip_prefix(prefix).and_then(|number| number.parse::<u32>().ok());
            match export {
                Extern::Global(global) => {
                    if let Some(index) = number(names::GLOBAL) {
                        globals.push((index, number_of(&global.get(&mut *store)).ok_or("a global holds a reference")?));
                    }
                }
                Extern::Memory(memory) if number(names::MEMORY).is_some() => memories.push(memory),
                _ => {}
            }
        }
        let top = top(store, instance)?.get(&mut *store).i32().unwrap_or(0);
        let frames = memory(store, instance, names::FRAMES)?;
        // What was saved is in the snapshot; continuing here pops the same frames.
        let frames = usize::try_from(top).ok().and_then(|top| frames.data(&*store).get(..top)).ok_or("its frames are damaged")?.to_vec();
        let meter = &store.data().meter;
        let active_millis = u64::try_from(meter.active.as_millis()).unwrap_or(u64::MAX);
        let rest = Rest { globals, frames, left: meter.stopped_with, granted: meter.granted, active_millis };
        Ok((memories, rest))
    }

    /// Puts a fresh instance where the snapshot was taken. The snapshot may come from anywhere.
    pub(super) fn restore(store: &mut Store<Context>, instance: Instance, snapshot: Snapshot) -> Result<(), String> {
        let failed = |e: wasmtime::Error| format!("{e:#}");
        let sizes: Vec<u64> = snapshot.memory_sizes().collect();
        for (index, bytes) in sizes.iter().enumerate() {
            let memory = memory(store, instance, &format!("{}{index}", names::MEMORY))?;
            grow(store, memory, *bytes)?;
            snapshot.fill(index, memory.data_mut(&mut *store)).map_err(|e| e.to_string())?;
        }
        if instance.get_export(&mut *store, &format!("{}{}", names::MEMORY, sizes.len())).is_some() {
            return Err("it has fewer memories than the module".to_owned());
        }
        for (index, value) in &snapshot.globals {
            let global = instance.get_global(&mut *store, &format!("{}{index}", names::GLOBAL)).ok_or("it has a global that the module has not")?;
            global.set(&mut *store, value_of(*value)).map_err(failed)?;
        }
        let frames = memory(store, instance, names::FRAMES)?;
        store.data_mut().is_stopping = true;
        let grown = grow(store, frames, snapshot.frames.len() as u64);
        store.data_mut().is_stopping = false;
        grown?;
        frames.data_mut(&mut *store)[..snapshot.frames.len()].copy_from_slice(&snapshot.frames);
        let size = i32::try_from(snapshot.frames.len()).map_err(|_| "its frames are too large")?;
        top(store, instance)?.set(&mut *store, Val::I32(size)).map_err(failed)?;
        let wasi = snapshot.wasi(store.data().vfs.state_limit()).map_err(|e| e.to_string())?;
        let context = store.data_mut();
        context.restore(wasi)?;
        context.meter.marks = context.meter.marks_at(snapshot.units().0);
        context.meter.granted = snapshot.granted;
        context.meter.active = Duration::from_millis(snapshot.active_millis);
        let count = grant(&mut context.meter, snapshot.left);
        let left = context.left.ok_or("the module has no count")?;
        left.set(&mut *store, Val::I64(count)).map_err(failed)
    }

    fn memory(store: &mut Store<Context>, instance: Instance, name: &str) -> Result<Memory, String> {
        instance.get_memory(&mut *store, name).ok_or_else(|| "it has more memories than the module".to_owned())
    }

    fn top(store: &mut Store<Context>, instance: Instance) -> Result<Global, String> {
        instance.get_global(&mut *store, names::TOP).ok_or_else(|| "the module has no frames".to_owned())
    }

    fn grow(store: &mut Store<Context>, memory: Memory, bytes: u64) -> Result<(), String> {
        let missing = bytes.saturating_sub(memory.data_size(&*store) as u64).div_ceil(65536);
        if missing > 0 {
            memory.grow(&mut *store, missing).map_err(|_| "it needs more memory than the task may use".to_owned())?;
        }
        Ok(())
    }

    fn number_of(value: &Val) -> Option<Number> {
        Some(match value {
            Val::I32(n) => Number::I32(*n),
            Val::I64(n) => Number::I64(*n),
            Val::F32(bits) => Number::F32(*bits),
            Val::F64(bits) => Number::F64(*bits),
            Val::V128(bits) => Number::V128(bits.as_u128()),
            _ => return None,
        })
    }

    fn value_of(number: Number) -> Val {
        match number {
            Number::I32(n) => Val::I32(n),
            Number::I64(n) => Val::I64(n),
            Number::F32(bits) => Val::F32(bits),
            Number::F64(bits) => Val::F64(bits),
            Number::V128(bits) => Val::V128(bits.into()),
        }
    }
}

fn not_a_command(module: &Module) -> Option<String> {
    if module.get_export("_start").is_none() {
        return Some("it has no '_start': not a WASI command (a library, a component, or built for the browser)".to_owned());
    }
    let is_given = |name: &str| matches!(name, "wasi_snapshot_preview1" | names::MODULE);
    let foreign = module.imports().find(|import| !is_given(import.module()));
    let cut = |text: &str| text.chars().take(60).collect::<String>();
    if let Some(import) = foreign {
        return Some(format!("it imports '{}' from '{}'; only WASI preview 1 is given", cut(import.name()), cut(import.module())));
    }
    module.get_export(names::MAIN).is_none().then(|| "its '_start' is not a function without parameters and results".to_owned())
}

fn ended_before_start(error: &wasmtime::Error) -> Outcome {
    if error.is::<Trap>() || error.is::<Exit>() { ended(error) } else { Outcome::Refused(format!("{error:#}")) }
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
