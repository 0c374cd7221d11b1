//! Host for rewritten modules: runs a module, stops it where the test says, and continues it in a new
//! instance to which only plain bytes are carried over.

use fog_instrument::{Abilities, accepted, instrument, names};
use wasmtime::{
    AsContextMut, Config, Engine, Extern, Func, Instance, Linker, Module, Ref, Store, Table, Val,
    WasmFeatures,
};

/// Bytes of stack for unmodified modules, whose recursion the stack itself bounds. Frames of second copies
/// are larger, so rewritten modules get a multiple of it, as jobs do.
pub const DEEP_STACK: usize = 2 << 20;
pub const DEEP_STACK_REWRITTEN: usize = 4 * DEEP_STACK;

pub fn engine(target: Option<&str>) -> Engine {
    engine_with(target, false, None)
}

/// Creates an engine with [`DEEP_STACK_REWRITTEN`], for a thread that has more stack.
pub fn deep_engine(target: Option<&str>) -> Engine {
    engine_with(target, false, Some(DEEP_STACK_REWRITTEN))
}

/// Creates an engine for unmodified modules, which makes NaNs canonical by itself.
pub fn plain_engine() -> Engine {
    engine_with(None, true, None)
}

/// Creates an engine for unmodified modules with [`DEEP_STACK`].
pub fn deep_plain_engine() -> Engine {
    engine_with(None, true, Some(DEEP_STACK))
}

fn engine_with(target: Option<&str>, canonical: bool, stack: Option<usize>) -> Engine {
    let mut config = Config::new();
    if let Some(stack) = stack {
        config.async_stack_size(stack + (1 << 20)).max_wasm_stack(stack);
    }
    config
        .wasm_features(WasmFeatures::MULTI_MEMORY | WasmFeatures::TAIL_CALL, true)
        .cranelift_nan_canonicalization(canonical);
    config.wasm_branch_hinting(true);
    if let Some(target) = target {
        config.target(target).unwrap();
    }
    Engine::new(&config).unwrap()
}

#[derive(Default)]
struct Host {
    out: Vec<i64>,
    slice: i64,
    granted: i64,
    checks: u64,
    stop_at: Option<u64>,
    is_stopping: bool,
    left: i64,
}

/// Result of a run: reported values, units, end and final state.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    pub out: Vec<i64>,
    pub units: i64,
    pub end: Result<(), String>,
    /// Number of safe points at which it asked for more units.
    pub checks: u64,
    pub globals: Vec<String>,
    pub tables: Vec<(String, Vec<u32>)>,
    pub memory: Vec<u8>,
    /// Exports of the original module.
    pub exports: Exports,
}

/// Globals and memory that a module exports, by name.
pub type Exports = Vec<(String, Vec<u8>)>;

/// Saved state of a task between two instances.
struct Saved {
    memories: Vec<Vec<u8>>,
    globals: Vec<(String, Held)>,
    tables: Vec<(String, Vec<u32>)>,
    frames: Vec<u8>,
    left: i64,
    host: Host,
}

pub struct Machine {
    engine: Engine,
    module: Module,
}

impl Machine {
    pub fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, String> {
        Self::with(engine, wasm, Abilities::default())
    }

    pub fn with(engine: &Engine, wasm: &[u8], abilities: Abilities) -> Result<Self, String> {
        let rewritten = instrument(wasm, accepted(), abilities).map_err(|error| error.to_string())?;
        let module = Module::new(engine, &rewritten).map_err(|error| format!("{error:?}"))?;
        Ok(Self { engine: engine.clone(), module })
    }

    fn instance(&self, host: Host) -> (Store<Host>, Result<Instance, wasmtime::Error>) {
        let mut store = Store::new(&self.engine, host);
        let mut linker = Linker::new(&self.engine);
        linker
            .func_wrap("test", "out", |mut caller: wasmtime::Caller<'_, Host>, value: i64| {
                caller.data_mut().out.push(value)
            })
            .unwrap();
        linker
            .func_wrap(
                names::MODULE,
                names::CHECK,
                |mut caller: wasmtime::Caller<'_, Host>, left: i64| -> i64 {
                    let host = caller.data_mut();
                    host.checks += 1;
                    assert!(left < 0, "asked with {left} units left");
                    if host.stop_at == Some(host.checks) {
                        host.is_stopping = true;
                        host.left = left;
                        return names::STOP;
                    }
                    host.granted += host.slice;
                    left + host.slice
                },
            )
            .unwrap();
        linker
            .func_wrap(
                names::MODULE,
                names::REFERENCE,
                |mut caller: wasmtime::Caller<'_, Host>, function: Option<Func>| -> u32 {
                    let table = caller.get_export(names::FUNCTIONS).and_then(Extern::into_table);
                    number(&mut caller, table, function)
                },
            )
            .unwrap();
        linker.define_unknown_imports_as_default_values(&mut store, &self.module).unwrap();
        let instance = linker.instantiate(&mut store, &self.module);
        (store, instance)
    }

    /// Runs to the end, stopping at the checks with the given numbers.
    pub fn run(&self, slice: i64, stops: &[u64]) -> Ran {
        let host = Host { slice, stop_at: stops.first().copied(), ..Host::default() };
        let mut stops = stops.iter().skip(1).copied();
        let (mut store, instance) = self.instance(host);
        let mut instance = match instance {
            Ok(instance) => instance,
            Err(error) => {
                return Ran {
                    out: vec![],
                    units: 0,
                    end: Err(cause(&error)),
                    checks: 0,
                    globals: vec![],
                    tables: vec![],
                    memory: vec![],
                    exports: vec![],
                };
            }
        };
        let mut entry = names::MAIN;
        loop {
            let main = instance.get_typed_func::<(), ()>(&mut store, entry).unwrap();
            let result = main.call(&mut store, ());
            if store.data().is_stopping {
                result.unwrap();
                let saved = save(&mut store, instance, stops.next());
                (store, instance) = self.restore(saved);
                entry = names::RESUME;
                continue;
            }
            let (memories, globals, tables) = state(&mut store, instance);
            let left = get(&mut store, instance, names::LEFT).unwrap_i64();
            assert!(
                get(&mut store, instance, names::TOP).unwrap_i32() == 0 || result.is_err(),
                "frames are left over"
            );
            let exports = exports(&mut store, instance);
            let host = store.into_data();
            return Ran {
                exports,
                out: host.out,
                units: host.granted - left,
                end: result.map_err(|error| cause(&error)),
                checks: host.checks,
                globals: globals.into_iter().map(|(name, value)| format!("{name} {value:?}")).collect(),
                tables,
                memory: memories.concat(),
            };
        }
    }

    fn restore(&self, saved: Saved) -> (Store<Host>, Instance) {
        let (mut store, instance) = self.instance(saved.host);
        let instance = instance.unwrap();
        for (index, bytes) in saved.memories.iter().enumerate() {
            fill(&mut store, instance, &format!("{}{index}", names::MEMORY), bytes);
        }
        for (name, value) in saved.globals {
            let value = match value {
                Held::Number(value) => value,
                Held::Function(number) => Val::FuncRef(function(&mut store, instance, number)),
            };
            set(&mut store, instance, &name, value);
        }
        for (name, entries) in saved.tables {
            let table = instance.get_table(&mut store, &name).unwrap();
            let null = if matches!(table.ty(&store).element().heap_type(), wasmtime::HeapType::Func) {
                Ref::Func(None)
            } else {
                Ref::Extern(None)
            };
            let missing = entries.len() as u64 - table.size(&store);
            table.grow(&mut store, missing, null.clone()).unwrap();
            for (place, number) in (0..).zip(entries) {
                let entry = if number == 0 {
                    null.clone()
                } else {
                    Ref::Func(function(&mut store, instance, number))
                };
                table.set(&mut store, place, entry).unwrap();
            }
        }
        if let Ok(restored) = instance.get_typed_func::<(), ()>(&mut store, names::RESTORED) {
            restored.call(&mut store, ()).unwrap();
        }
        fill(&mut store, instance, names::FRAMES, &saved.frames);
        // The module makes room for all frames only where the host has made none.
        let frames = instance.get_memory(&mut store, names::FRAMES).unwrap();
        let missing = names::FRAME_PAGES - frames.size(&store);
        frames.grow(&mut store, missing).unwrap();
        set(&mut store, instance, names::TOP, Val::I32(saved.frames.len() as i32));
        set(&mut store, instance, names::LEFT, Val::I64(saved.left));
        (store, instance)
    }
}

/// Result of an unmodified module.
pub struct Plain {
    pub end: Result<(), String>,
    pub exports: Exports,
}

impl Plain {
    /// Runs it; `None` when it cannot be instantiated with default imports.
    pub fn run(engine: &Engine, wasm: &[u8]) -> Option<Self> {
        let module = Module::new(engine, wasm).ok()?;
        let mut store = Store::new(engine, Host::default());
        let mut linker = Linker::new(engine);
        linker.define_unknown_imports_as_default_values(&mut store, &module).ok()?;
        let instance = linker.instantiate(&mut store, &module).ok()?;
        let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
        let end = start.call(&mut store, ()).map_err(|error| cause(&error));
        Some(Self { end, exports: exports(&mut store, instance) })
    }
}

fn exports(store: &mut Store<Host>, instance: Instance) -> Exports {
    let all: Vec<(String, Extern)> = instance
        .exports(&mut *store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    let mut seen = Exports::new();
    for (name, export) in all.into_iter().filter(|(name, _)| !name.starts_with(names::PREFIX)) {
        match export {
            Extern::Memory(memory) => seen.push((name, memory.data(&*store).to_vec())),
            Extern::Global(global) => {
                seen.push((name, format!("{:?}", global.get(&mut *store)).into_bytes()))
            }
            _ => {}
        }
    }
    seen
}

fn cause(error: &wasmtime::Error) -> String {
    error.downcast_ref::<wasmtime::Trap>().map_or_else(|| format!("{error:?}"), ToString::to_string)
}

fn get(store: &mut Store<Host>, instance: Instance, name: &str) -> Val {
    instance.get_global(&mut *store, name).unwrap().get(store)
}

fn set(store: &mut Store<Host>, instance: Instance, name: &str, value: Val) {
    instance.get_global(&mut *store, name).unwrap().set(store, value).unwrap();
}

fn fill(store: &mut Store<Host>, instance: Instance, name: &str, bytes: &[u8]) {
    let memory = instance.get_memory(&mut *store, name).unwrap();
    let missing = bytes.len().saturating_sub(memory.data_size(&*store)).div_ceil(65536);
    memory.grow(&mut *store, missing as u64).unwrap();
    memory.data_mut(&mut *store)[..bytes.len()].copy_from_slice(bytes);
}

/// Value of a global in a form that another instance can take.
#[derive(Debug, Clone)]
enum Held {
    Number(Val),
    Function(u32),
}

/// Place of a function in the table of reference targets.
fn number(mut store: impl AsContextMut, table: Option<Table>, wanted: Option<Func>) -> u32 {
    let Some(wanted) = wanted.map(|function| function.to_raw(&mut store)) else { return 0 };
    let table = table.unwrap();
    let found = (1..table.size(&store)).find(|place| match table.get(&mut store, *place) {
        Some(Ref::Func(Some(function))) => function.to_raw(&mut store) == wanted,
        _ => false,
    });
    found.unwrap() as u32
}

fn function(store: &mut Store<Host>, instance: Instance, number: u32) -> Option<Func> {
    let table = instance.get_table(&mut *store, names::FUNCTIONS).unwrap();
    table.get(store, number.into()).unwrap().unwrap_func().copied()
}

type State = (Vec<Vec<u8>>, Vec<(String, Held)>, Vec<(String, Vec<u32>)>);

fn state(store: &mut Store<Host>, instance: Instance) -> State {
    let exports: Vec<(String, Extern)> = instance
        .exports(&mut *store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    let functions = instance.get_table(&mut *store, names::FUNCTIONS);
    let (mut memories, mut globals, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    for (name, export) in exports {
        match export {
            Extern::Memory(memory) if name.starts_with(names::MEMORY) => {
                memories.push(memory.data(&*store).to_vec())
            }
            Extern::Global(global) if name.starts_with(names::GLOBAL) => {
                let held = match global.get(&mut *store) {
                    Val::FuncRef(function) => Held::Function(number(&mut *store, functions, function)),
                    other => Held::Number(other),
                };
                globals.push((name, held));
            }
            Extern::Table(table) if name.starts_with(names::TABLE) => {
                let size = table.size(&*store);
                let entry = |place| match table.get(&mut *store, place).unwrap() {
                    Ref::Func(function) => number(&mut *store, functions, function),
                    other => {
                        assert!(other.is_null(), "somebody made an externref");
                        0
                    }
                };
                tables.push((name, (0..size).map(entry).collect()));
            }
            _ => {}
        }
    }
    (memories, globals, tables)
}

fn save(store: &mut Store<Host>, instance: Instance, next_stop: Option<u64>) -> Saved {
    let (memories, globals, tables) = state(store, instance);
    let top = get(store, instance, names::TOP).unwrap_i32();
    let frames =
        instance.get_memory(&mut *store, names::FRAMES).unwrap().data(&*store)[..top as usize].to_vec();
    let host = std::mem::take(store.data_mut());
    // A stop does not change the slices: the next one ends where it would have ended.
    let host = Host { granted: host.granted + host.slice, stop_at: next_stop, is_stopping: false, ..host };
    Saved { memories, globals, tables, frames, left: host.left + host.slice, host }
}
