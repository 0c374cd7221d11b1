//! State of a stopped task: taken from an instance, or restored into a new one.

use std::time::Duration;

use fog_instrument::{frame_bytes, names};
use wasmtime::{Extern, Global, Instance, Memory, Ref, Store, Table, Val};

use super::references::References;
use crate::snapshot::{Number, Rest, Snapshot, Taken, Tracker, encoded};
use crate::wasi::Context;

/// Takes a snapshot of a stopped task.
pub(super) fn save<'a>(
    store: &'a mut Store<Context>,
    instance: Instance,
    tracker: &mut Tracker,
    whole: bool,
) -> Result<Taken<'a>, String> {
    let Parts { memories, frames, rest } = parts(store, instance)?;
    let store = &*store;
    let memories: Vec<&[u8]> = memories.iter().map(|memory| memory.data(store)).collect();
    tracker.take(&memories, frames.of(store)?, store.data().shown(), rest, whole)
}

/// BLAKE3 of the state without the running time; the same for every run of the task that comes to this
/// point.
pub(super) fn identity(store: &mut Store<Context>, instance: Instance) -> Result<String, String> {
    let Parts { memories, frames, rest } = parts(store, instance)?;
    let mut hasher = blake3::Hasher::new_derive_key("fog-compute task state v1");
    let mut put = |bytes: &[u8]| _ = hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    memories.iter().for_each(|memory| put(memory.data(&*store)));
    let plain = |e: postcard::Error| e.to_string();
    // Preceded by its length like the other fields, but never in memory as a whole.
    let wasi = store.data().shown();
    let bytes = encoded::length(&wasi).map_err(|e| e.to_string())?;
    hasher.update(&(bytes as u64).to_le_bytes());
    let hashed = encoded::pages(&wasi, 1 << 16, |page| {
        hasher.update(page);
        Ok(())
    });
    hashed.map_err(|e| e.to_string())?;
    let mut put = |bytes: &[u8]| _ = hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    put(&postcard::to_stdvec(&(rest.globals, rest.left, rest.granted)).map_err(plain)?);
    put(frames.of(store)?);
    if !rest.tables.is_empty() {
        put(&postcard::to_stdvec(&rest.tables).map_err(plain)?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// State of a stopped task besides its files.
struct Parts {
    memories: Vec<Memory>,
    frames: Frames,
    rest: Rest,
}

/// Saved frames: the first `bytes` of a memory.
struct Frames {
    memory: Memory,
    bytes: usize,
}

impl Frames {
    fn of<'a>(&self, store: &'a Store<Context>) -> Result<&'a [u8], String> {
        self.memory.data(store).get(..self.bytes).ok_or_else(|| DAMAGED_FRAMES.to_owned())
    }
}

const DAMAGED_FRAMES: &str = "its frames are damaged";

fn parts(store: &mut Store<Context>, instance: Instance) -> Result<Parts, String> {
    let (mut globals, mut memories, mut tables) = (Vec::new(), Vec::new(), Vec::new());
    let references = References::of(store, instance);
    let exports: Vec<(String, Extern)> = instance
        .exports(&mut *store)
        .map(|export| (export.name().to_owned(), export.into_extern()))
        .collect();
    for (name, export) in exports {
        let number = |prefix: &str| name.strip_prefix(prefix).and_then(|number| number.parse::<u32>().ok());
        match export {
            Extern::Global(global) => {
                if let Some(index) = number(names::GLOBAL) {
                    let value = global.get(&mut *store);
                    globals.push((index, number_of(store, &references, value)?));
                }
            }
            Extern::Memory(memory) if number(names::MEMORY).is_some() => memories.push(memory),
            Extern::Table(table) if number(names::TABLE).is_some() => {
                tables.push(entries(store, &references, table)?)
            }
            _ => {}
        }
    }
    let top = top(store, instance)?.get(&mut *store).i32().unwrap_or(0);
    // Taking frames does not remove them: when this task continues, it pops the same frames.
    let frames = Frames {
        memory: memory(store, instance, names::FRAMES)?,
        bytes: usize::try_from(top).map_err(|_| DAMAGED_FRAMES)?,
    };
    let meter = &store.data().meter;
    let active_millis = u64::try_from(meter.active.as_millis()).unwrap_or(u64::MAX);
    let rest = Rest { globals, left: meter.stopped_with, granted: meter.granted, active_millis, tables };
    Ok(Parts { memories, frames, rest })
}

/// Restores an untrusted snapshot into a new instance, which is then stopped where the snapshot was taken,
/// without further units granted.
pub(super) fn restore(
    store: &mut Store<Context>,
    instance: Instance,
    mut snapshot: Snapshot,
) -> Result<(), String> {
    let failed = |e: wasmtime::Error| format!("{e:#}");
    let sizes: Vec<u64> = snapshot.memory_sizes().collect();
    for (index, bytes) in sizes.iter().enumerate() {
        let memory = memory(store, instance, &format!("{}{index}", names::MEMORY))?;
        grow(store, memory, *bytes)?;
        snapshot.fill(index, memory.data_mut(&mut *store)).map_err(|e| e.to_string())?;
        snapshot.forget(index);
    }
    if instance.get_export(&mut *store, &format!("{}{}", names::MEMORY, sizes.len())).is_some() {
        return Err("it has fewer memories than the module".to_owned());
    }
    let references = References::of(store, instance);
    for (index, value) in &snapshot.globals {
        let global = instance
            .get_global(&mut *store, &format!("{}{index}", names::GLOBAL))
            .ok_or("it has a global that the module has not")?;
        let value = value_of(store, &references, *value)?;
        global.set(&mut *store, value).map_err(failed)?;
    }
    for (index, entries) in snapshot.tables.iter().enumerate() {
        let table = instance
            .get_table(&mut *store, &format!("{}{index}", names::TABLE))
            .ok_or("it has more tables than the module")?;
        restore_table(store, &references, table, entries)?;
    }
    if instance.get_export(&mut *store, &format!("{}{}", names::TABLE, snapshot.tables.len())).is_some() {
        return Err("it has fewer tables than the module".to_owned());
    }
    if let Ok(restored) = instance.get_typed_func::<(), ()>(&mut *store, names::RESTORED) {
        restored.call(&mut *store, ()).map_err(failed)?;
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
    let meter = &mut context.meter;
    meter.marks = meter.marks_at(snapshot.units().0);
    (meter.granted, meter.stopped_with) = (snapshot.granted, snapshot.left);
    meter.active = Duration::from_millis(snapshot.active_millis);
    Ok(())
}

/// Makes room for the frames of a stack of `stack_bytes`. Reserving the maximum would count as memory of
/// the worker, used or not.
pub(super) fn reserve_frames(
    store: &mut Store<Context>,
    instance: Instance,
    stack_bytes: u64,
) -> Result<(), String> {
    let Some(frames) = instance.get_memory(&mut *store, names::FRAMES) else { return Ok(()) };
    store.data_mut().is_stopping = true;
    let grown = grow(store, frames, frame_bytes(stack_bytes));
    store.data_mut().is_stopping = false;
    grown
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
        memory
            .grow(&mut *store, missing)
            .map_err(|_| "it needs more memory than the task may use".to_owned())?;
    }
    Ok(())
}

/// Entries of a table as numbers of functions.
fn entries(store: &mut Store<Context>, references: &References, table: Table) -> Result<Vec<u32>, String> {
    let size = table.size(&*store);
    let get = |place| {
        let entry = table.get(&mut *store, place).ok_or("a table is shorter than it says")?;
        references.number(store, &entry)
    };
    (0..size).map(get).collect()
}

fn restore_table(
    store: &mut Store<Context>,
    references: &References,
    table: Table,
    entries: &[u32],
) -> Result<(), String> {
    let failed = |e: wasmtime::Error| format!("{e:#}");
    let missing = (entries.len() as u64)
        .checked_sub(table.size(&*store))
        .ok_or("a table is smaller than the module's")?;
    let is_functions = matches!(table.ty(&*store).element().heap_type(), wasmtime::HeapType::Func);
    let null = if is_functions { Ref::Func(None) } else { Ref::Extern(None) };
    if missing > 0 {
        table
            .grow(&mut *store, missing, null.clone())
            .map_err(|_| "it needs larger tables than the task may use".to_owned())?;
    }
    for (place, number) in (0..).zip(entries) {
        let entry = match *number {
            0 => null.clone(),
            number => Ref::Func(references.function(store, number)?),
        };
        table.set(&mut *store, place, entry).map_err(failed)?;
    }
    Ok(())
}

fn number_of(store: &mut Store<Context>, references: &References, value: Val) -> Result<Number, String> {
    Ok(match value {
        Val::I32(n) => Number::I32(n),
        Val::I64(n) => Number::I64(n),
        Val::F32(bits) => Number::F32(bits),
        Val::F64(bits) => Number::F64(bits),
        Val::V128(bits) => Number::V128(bits.as_u128()),
        Val::ExternRef(None) => Number::Null,
        other => {
            Number::Function(references.number(store, &other.ref_().ok_or("a global is of no known type")?)?)
        }
    })
}

fn value_of(store: &mut Store<Context>, references: &References, number: Number) -> Result<Val, String> {
    Ok(match number {
        Number::I32(n) => Val::I32(n),
        Number::I64(n) => Val::I64(n),
        Number::F32(bits) => Val::F32(bits),
        Number::F64(bits) => Val::F64(bits),
        Number::V128(bits) => Val::V128(bits.into()),
        Number::Function(number) => Val::FuncRef(references.function(store, number)?),
        Number::Null => Val::ExternRef(None),
    })
}
