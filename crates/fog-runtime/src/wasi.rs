//! WASI preview 1, deterministic: <https://github.com/WebAssembly/WASI/blob/wasi-0.1/preview1/docs.md>
//!
//! The clock is the work done (1 unit = 1 ns) plus the time slept; randomness comes from the seed; there is
//! no network. Every call is charged in work units for what it does, so that host work is metered too.
//! `docs/wasi.md` describes what a program can expect.

mod context;
mod dir_calls;
mod file_calls;
mod memory;
mod path_calls;
mod rights;
mod system_calls;

#[cfg(test)]
mod model_tests;

pub(crate) use context::{Context, Exit, WasiState};
pub(crate) use memory::GuestMemory;

use wasmtime::{Caller, Linker};

use crate::outcome::LimitKind;
use crate::run::Reached;

/// Units charged for every call, and bytes moved per additional unit. A call into the host takes about as
/// long as 200 instructions; copying runs at tens of bytes per instruction.
const CALL_UNITS: u64 = 200;
pub(crate) const BYTES_PER_UNIT: u64 = 32;
/// Units charged for every part of a path, entry of a folder, or piece of a file that a call visits.
pub(crate) const VISIT_UNITS: u64 = 64;

/// Error numbers of preview 1 that this implementation returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Errno {
    BadF = 8,
    Busy = 10,
    Exist = 20,
    Fault = 21,
    FBig = 22,
    IlSeq = 25,
    Inval = 28,
    Io = 29,
    IsDir = 31,
    Loop = 32,
    MFile = 33,
    NameTooLong = 37,
    NoEnt = 44,
    NoSpc = 51,
    NotDir = 54,
    NotEmpty = 55,
    NotSock = 57,
    NotSup = 58,
    Perm = 63,
    RoFs = 69,
    SPipe = 70,
    XDev = 75,
    NotCapable = 76,
}

type Call = Result<(), Errno>;

/// Runs one call: charges it, sets the clock, and returns its error number.
fn call(
    caller: &mut Caller<'_, Context>,
    body: impl FnOnce(&mut Context, &mut GuestMemory<'_>) -> Call,
) -> wasmtime::Result<i32> {
    let Some(left) = caller.data().left else { return Ok(Errno::Fault as i32) };
    let count = left.get(&mut *caller).i64().unwrap_or(0);
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let Some(memory) = caller.get_export("memory").and_then(wasmtime::Extern::into_memory) else {
                return Ok(Errno::Fault as i32);
            };
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    let (bytes, context) = memory.data_and_store_mut(&mut *caller);
    // There may be any number of calls between two safe points.
    if context.meter.is_past_units(count) {
        return Err(Reached(LimitKind::Units).into());
    }
    context.units = context.meter.used(count);
    context.moved = 0;
    let result = body(context, &mut GuestMemory::new(bytes));
    let cost =
        CALL_UNITS.saturating_add(context.moved / BYTES_PER_UNIT).saturating_add(context.vfs.take_work());
    left.set(
        &mut *caller,
        wasmtime::Val::I64(count.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX))),
    )?;
    Ok(result.map_or_else(|errno| errno as i32, |()| 0))
}

macro_rules! link {
    ($linker:ident: $($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $($linker.func_wrap(
            "wasi_snapshot_preview1",
            stringify!($name),
            |mut caller: Caller<'_, Context>, $($arg: $kind),*| -> wasmtime::Result<i32> {
                call(&mut caller, |context, memory| context.$name(memory, $($arg),*))
            },
        )?;)*
    };
}

/// Defines every function of preview 1.
pub(crate) fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    link! { linker:
        args_get(argv: u32, buffer: u32);
        args_sizes_get(count: u32, size: u32);
        environ_get(environ: u32, buffer: u32);
        environ_sizes_get(count: u32, size: u32);
        clock_res_get(id: u32, out: u32);
        clock_time_get(id: u32, precision: u64, out: u32);
        fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
        fd_allocate(fd: u32, offset: u64, len: u64);
        fd_close(fd: u32);
        fd_datasync(fd: u32);
        fd_fdstat_get(fd: u32, out: u32);
        fd_fdstat_set_flags(fd: u32, flags: u32);
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64);
        fd_filestat_get(fd: u32, out: u32);
        fd_filestat_set_size(fd: u32, size: u64);
        fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, flags: u32);
        fd_pread(fd: u32, iovs: u32, count: u32, offset: u64, out: u32);
        fd_prestat_get(fd: u32, out: u32);
        fd_prestat_dir_name(fd: u32, path: u32, len: u32);
        fd_pwrite(fd: u32, iovs: u32, count: u32, offset: u64, out: u32);
        fd_read(fd: u32, iovs: u32, count: u32, out: u32);
        fd_readdir(fd: u32, buffer: u32, len: u32, cookie: u64, out: u32);
        fd_renumber(from: u32, to: u32);
        fd_seek(fd: u32, delta: i64, whence: u32, out: u32);
        fd_sync(fd: u32);
        fd_tell(fd: u32, out: u32);
        fd_write(fd: u32, iovs: u32, count: u32, out: u32);
        path_create_directory(fd: u32, path: u32, len: u32);
        path_filestat_get(fd: u32, flags: u32, path: u32, len: u32, out: u32);
        path_filestat_set_times(fd: u32, flags: u32, path: u32, len: u32, atim: u64, mtim: u64, fst: u32);
        path_link(fd: u32, flags: u32, path: u32, len: u32, to: u32, new: u32, new_len: u32);
        path_open(fd: u32, dirflags: u32, path: u32, len: u32, oflags: u32, base: u64, inheriting: u64, fdflags: u32, out: u32);
        path_readlink(fd: u32, path: u32, len: u32, buffer: u32, buffer_len: u32, out: u32);
        path_remove_directory(fd: u32, path: u32, len: u32);
        path_rename(fd: u32, path: u32, len: u32, to: u32, new: u32, new_len: u32);
        path_symlink(old: u32, old_len: u32, fd: u32, new: u32, new_len: u32);
        path_unlink_file(fd: u32, path: u32, len: u32);
        poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32);
        proc_raise(signal: u32);
        random_get(buffer: u32, len: u32);
        sched_yield();
        sock_accept(fd: u32, flags: u32, out: u32);
        sock_recv(fd: u32, iovs: u32, count: u32, flags: u32, out: u32, out_flags: u32);
        sock_send(fd: u32, iovs: u32, count: u32, flags: u32, out: u32);
        sock_shutdown(fd: u32, how: u32);
    }
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: u32| -> wasmtime::Result<()> {
        Err(wasmtime::Error::new(Exit(code)))
    })?;
    Ok(())
}
