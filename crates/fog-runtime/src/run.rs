use std::future::Future;
use std::ops::ControlFlow;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use fog_types::{ByteCount, WorkUnits};
use wasmtime::{Linker, Module, Store, Trap};

use crate::compile;
use crate::outcome::{LimitKind, Outcome, OutputFile, Report};
use crate::task::TaskSpec;
use crate::wasi::{self, Context, Exit};

/// Work units between two looks at the control: about 5 ms on a desktop core.
const SLICE_UNITS: u64 = 5_000_000;

/// Who listens to a running task.
pub trait Observer: Send {
    /// Bytes the job wrote to stdout or stderr, within its log limit.
    fn output(&mut self, stderr: bool, bytes: &[u8]);
    /// The job reported progress, in tenths of a percent.
    fn progress(&mut self, permille: u16);
    /// The first instruction is about to run.
    fn started(&mut self) {}
}

/// Who decides how fast a task may run.
pub trait Control: Send {
    /// Called at every safe point with the time worked since the last call and the work units used
    /// so far, to the last full slice. May block, to throttle or freeze the task. `Break` gives the
    /// task up: [`RunError::Abandoned`].
    fn safe_point(&mut self, worked: Duration, units: u64) -> ControlFlow<()>;
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
    /// The control gave the task up.
    #[error("the task was given up")]
    Abandoned,
}

/// Runs a task to its end in this thread.
///
/// `before_start` runs when everything the task needs is open and nothing of it has run: the place
/// to drop privileges.
///
/// # Errors
/// [`RunError`] when it could not begin; an ending caused by the job is a [`Report`].
pub fn run(
    spec: &TaskSpec,
    observer: Box<dyn Observer>,
    control: &mut dyn Control,
    before_start: impl FnOnce(),
) -> Result<(Report, Vec<OutputFile>), RunError> {
    let engine = compile::engine(usize::try_from(spec.limits.stack.0).unwrap_or(1 << 20)).map_err(|e| RunError::Engine(e.to_string()))?;
    // SAFETY: the file was written by our own compile worker under the hash of its module, in a
    // folder only this user can write; wasmtime checks that it fits this build and configuration.
    #[expect(unsafe_code, reason = "loading compiled code is what the cache is for")]
    let module = unsafe { Module::deserialize_file(&engine, &spec.artifact) }.map_err(|e| RunError::Stale(format!("{e:#}")))?;
    let context = Context::new(spec, observer).map_err(RunError::Input)?;
    let mut store = Store::new(&engine, context);
    store.limiter(|context| context);
    let engine_error = |e: wasmtime::Error| RunError::Engine(format!("{e:#}"));
    store.set_fuel(spec.limits.units.0).map_err(engine_error)?;
    store.fuel_async_yield_interval(Some(SLICE_UNITS)).map_err(engine_error)?;
    let mut linker = Linker::new(&engine);
    wasi::link(&mut linker).map_err(engine_error)?;

    before_start();
    let mut meter = Meter { active: Duration::ZERO, since: Instant::now(), wall_limit: Duration::from_secs(spec.limits.wall_seconds), slices: 0 };
    let outcome = drive(&mut store, &linker, &module, control, &mut meter)?;
    let units = spec.limits.units.0.saturating_sub(store.get_fuel().map_err(engine_error)?);
    let context = store.into_data();
    let [stdout_dropped, stderr_dropped] = context.dropped();
    let report = Report {
        outcome,
        units: WorkUnits(units),
        memory: ByteCount(context.memory_peak as u64),
        disk: ByteCount(context.vfs.peak()),
        active_millis: u64::try_from(meter.active.as_millis()).unwrap_or(u64::MAX),
        stdout_dropped,
        stderr_dropped,
    };
    let files = context.vfs.outputs().into_iter().map(|(path, data)| OutputFile { path, data }).collect();
    Ok((report, files))
}

struct Meter {
    active: Duration,
    since: Instant,
    wall_limit: Duration,
    slices: u64,
}

/// Polls the job until it ends, stopping at each safe point for the control.
fn drive(store: &mut Store<Context>, linker: &Linker<Context>, module: &Module, control: &mut dyn Control, meter: &mut Meter) -> Result<Outcome, RunError> {
    if let Some(problem) = not_a_command(module) {
        return Ok(Outcome::Refused(problem));
    }
    store.data_mut().observer.started();
    // A start section runs code, so instantiation is polled as well.
    let instance = match poll(&mut *store, |store| linker.instantiate_async(store, module), control, meter) {
        Ok(instance) => instance,
        Err(end) => return end.outcome(ended_before_start),
    };
    let Ok(start) = instance.get_typed_func::<(), ()>(&mut *store, "_start") else {
        return Ok(Outcome::Refused("its '_start' is not a function without parameters and results".to_owned()));
    };
    match poll(store, |store| start.call_async(store, ()), control, meter) {
        Ok(()) => Ok(Outcome::Exited(0)),
        Err(end) => end.outcome(ended),
    }
}

/// Why a job stopped being polled before it returned.
enum End {
    /// The engine ended it.
    Engine(wasmtime::Error),
    /// Its running time is used up.
    WallTime,
    /// The control gave it up.
    Abandoned,
}

impl End {
    fn outcome(self, of_engine: fn(&wasmtime::Error) -> Outcome) -> Result<Outcome, RunError> {
        match self {
            Self::Engine(error) => Ok(of_engine(&error)),
            Self::WallTime => Ok(Outcome::Limit(LimitKind::WallTime)),
            Self::Abandoned => Err(RunError::Abandoned),
        }
    }
}

fn poll<'s, T, F>(
    store: &'s mut Store<Context>,
    begin: impl FnOnce(&'s mut Store<Context>) -> F,
    control: &mut dyn Control,
    meter: &mut Meter,
) -> Result<T, End>
where
    F: Future<Output = wasmtime::Result<T>>,
{
    meter.since = Instant::now();
    let mut future = pin!(begin(store));
    let mut waker = std::task::Context::from_waker(Waker::noop());
    loop {
        let result = future.as_mut().poll(&mut waker);
        let worked = meter.since.elapsed();
        meter.active += worked;
        match result {
            Poll::Ready(result) => return result.map_err(End::Engine),
            Poll::Pending if meter.active > meter.wall_limit => return Err(End::WallTime),
            Poll::Pending => {
                meter.slices += 1;
                if control.safe_point(worked, meter.slices.saturating_mul(SLICE_UNITS)).is_break() {
                    return Err(End::Abandoned);
                }
                meter.since = Instant::now();
            }
        }
    }
}

fn not_a_command(module: &Module) -> Option<String> {
    if module.get_export("_start").is_none() {
        return Some("it has no '_start': not a WASI command (a library, a component, or built for the browser)".to_owned());
    }
    module.imports().find(|import| import.module() != "wasi_snapshot_preview1").map(|import| {
        let cut = |text: &str| text.chars().take(60).collect::<String>();
        format!("it imports '{}' from '{}'; only WASI preview 1 is given", cut(import.name()), cut(import.module()))
    })
}

fn ended_before_start(error: &wasmtime::Error) -> Outcome {
    if error.is::<Trap>() || error.is::<Exit>() { ended(error) } else { Outcome::Refused(format!("{error:#}")) }
}

fn ended(error: &wasmtime::Error) -> Outcome {
    if let Some(Exit(code)) = error.downcast_ref() {
        return Outcome::Exited(*code);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Outcome::Limit(LimitKind::Units),
        Some(Trap::StackOverflow) => Outcome::Limit(LimitKind::Stack),
        Some(trap) => Outcome::Trapped(trap.to_string()),
        None => Outcome::Trapped(format!("{error:#}")),
    }
}
