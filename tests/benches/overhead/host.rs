//! Plain wasmtime with the part of WASI preview 1 that a filter needs: no files, a clock that stands still,
//! no metering.

use std::sync::Arc;

use fog_instrument::names;
use wasmtime::{
    Caller, Config, Engine, Error, Extern, Linker, Module, OptLevel, Result, Store, Val, WasmFeatures,
};

const WASI: &str = "wasi_snapshot_preview1";
const DONE: i32 = 0;
const BAD_FILE: i32 = 8;
const NO_SUCH_CALL: i32 = 52;
const NO_SEEK: i32 = 70;
const REGULAR_FILE: u8 = 4;

/// A module compiled without instrumentation.
pub struct Plain {
    engine: Engine,
    module: Module,
}

struct Host {
    args: Vec<String>,
    stdin: Arc<[u8]>,
    at: usize,
    stdout: Vec<u8>,
    exit: Option<u32>,
}

impl Plain {
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed);
        config.wasm_features(WasmFeatures::MULTI_MEMORY, true).wasm_branch_hinting(true);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, wasm)?;
        Ok(Self { engine, module })
    }

    /// Runs the module; returns its exit code and standard output.
    pub fn run(&self, args: Vec<String>, stdin: Arc<[u8]>) -> Result<(u32, Vec<u8>)> {
        let mut store = Store::new(&self.engine, Host { args, stdin, at: 0, stdout: vec![], exit: None });
        let mut linker = Linker::new(&self.engine);
        link(&mut linker)?;
        for import in self.module.imports() {
            if linker.get_by_import(&mut store, &import).is_none()
                && let Some(kind) = import.ty().func()
            {
                linker.func_new(import.module(), import.name(), kind.clone(), |_, _, results| {
                    results.fill(Val::I32(NO_SUCH_CALL));
                    Ok(())
                })?;
            }
        }
        let instance = linker.instantiate(&mut store, &self.module)?;
        let name = if self.module.get_export(names::MAIN).is_some() { names::MAIN } else { "_start" };
        let ended = instance.get_typed_func::<(), ()>(&mut store, name)?.call(&mut store, ());
        let host = store.into_data();
        match host.exit {
            Some(code) => Ok((code, host.stdout)),
            None => ended.map(|()| (0, host.stdout)),
        }
    }
}

fn view<'a>(caller: &'a mut Caller<'_, Host>) -> (&'a mut [u8], &'a mut Host) {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).unwrap();
    memory.data_and_store_mut(caller)
}

fn put(memory: &mut [u8], at: u32, bytes: &[u8]) {
    memory[at as usize..][..bytes.len()].copy_from_slice(bytes);
}

/// Returns address and length of a buffer of a read or write.
fn piece(memory: &[u8], pieces: u32, n: u32) -> (usize, usize) {
    let word = |at: u32| u32::from_le_bytes(memory[at as usize..][..4].try_into().unwrap()) as usize;
    (word(pieces + 8 * n), word(pieces + 8 * n + 4))
}

fn link(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(WASI, "args_sizes_get", |mut caller: Caller<'_, Host>, count: u32, size: u32| {
        let (memory, host) = view(&mut caller);
        put(memory, count, &(host.args.len() as u32).to_le_bytes());
        put(memory, size, &host.args.iter().map(|arg| arg.len() as u32 + 1).sum::<u32>().to_le_bytes());
        DONE
    })?;
    linker.func_wrap(WASI, "args_get", |mut caller: Caller<'_, Host>, mut list: u32, mut text: u32| {
        let (memory, host) = view(&mut caller);
        for arg in &host.args {
            put(memory, list, &text.to_le_bytes());
            put(memory, text, arg.as_bytes());
            put(memory, text + arg.len() as u32, &[0]);
            (list, text) = (list + 4, text + arg.len() as u32 + 1);
        }
        DONE
    })?;
    linker.func_wrap(WASI, "environ_sizes_get", |mut caller: Caller<'_, Host>, count: u32, size: u32| {
        let (memory, _) = view(&mut caller);
        put(memory, count, &[0; 4]);
        put(memory, size, &[0; 4]);
        DONE
    })?;
    linker.func_wrap(WASI, "environ_get", |_: u32, _: u32| DONE)?;
    linker.func_wrap(
        WASI,
        "fd_read",
        |mut caller: Caller<'_, Host>, file: u32, pieces: u32, count: u32, out: u32| {
            let (memory, host) = view(&mut caller);
            if file != 0 {
                return BAD_FILE;
            }
            let begun = host.at;
            for n in 0..count {
                let (to, length) = piece(memory, pieces, n);
                let rest = &host.stdin[host.at..];
                let length = length.min(rest.len());
                memory[to..][..length].copy_from_slice(&rest[..length]);
                host.at += length;
            }
            put(memory, out, &((host.at - begun) as u32).to_le_bytes());
            DONE
        },
    )?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |mut caller: Caller<'_, Host>, file: u32, pieces: u32, count: u32, out: u32| {
            let (memory, host) = view(&mut caller);
            if !matches!(file, 1 | 2) {
                return BAD_FILE;
            }
            let mut written = 0;
            for n in 0..count {
                let (from, length) = piece(memory, pieces, n);
                if file == 1 {
                    host.stdout.extend_from_slice(&memory[from..][..length]);
                }
                written += length as u32;
            }
            put(memory, out, &written.to_le_bytes());
            DONE
        },
    )?;
    linker.func_wrap(
        WASI,
        "fd_seek",
        |mut caller: Caller<'_, Host>, file: u32, delta: i64, whence: u32, out: u32| {
            let (memory, host) = view(&mut caller);
            if file != 0 {
                return NO_SEEK;
            }
            let from = [0, host.at, host.stdin.len()][whence as usize];
            host.at = from.saturating_add_signed(delta as isize).min(host.stdin.len());
            put(memory, out, &(host.at as u64).to_le_bytes());
            DONE
        },
    )?;
    linker.func_wrap(WASI, "fd_fdstat_get", |mut caller: Caller<'_, Host>, file: u32, out: u32| {
        if file > 2 {
            return BAD_FILE;
        }
        // All rights; output has an unknown file type, as for a job.
        let mut stat = [255; 24];
        stat[..8].fill(0);
        stat[0] = if file == 0 { REGULAR_FILE } else { 0 };
        put(view(&mut caller).0, out, &stat);
        DONE
    })?;
    // Import of an instrumented module: grants slices like the runtime.
    linker.func_wrap(names::MODULE, names::CHECK, |left: i64| left + fog_runtime::SLICE_UNITS as i64)?;
    linker.func_wrap(WASI, "fd_prestat_get", |_: u32, _: u32| BAD_FILE)?;
    linker.func_wrap(WASI, "fd_close", |_: u32| DONE)?;
    linker.func_wrap(WASI, "clock_time_get", |mut caller: Caller<'_, Host>, _: u32, _: u64, out: u32| {
        put(view(&mut caller).0, out, &(1_u64 << 60).to_le_bytes());
        DONE
    })?;
    linker.func_wrap(WASI, "random_get", |mut caller: Caller<'_, Host>, to: u32, length: u32| {
        view(&mut caller).0[to as usize..][..length as usize].fill(7);
        DONE
    })?;
    linker.func_wrap(WASI, "proc_exit", |mut caller: Caller<'_, Host>, code: u32| -> Result<()> {
        caller.data_mut().exit = Some(code);
        Err(Error::msg("it exited"))
    })?;
    Ok(())
}
