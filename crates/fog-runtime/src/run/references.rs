//! Function references as numbers that mean the same in every instance of a module.

use std::collections::HashMap;

use fog_instrument::names;
use wasmtime::{AsContextMut, Caller, Func, Instance, Ref, Store, Table};

use crate::wasi::Context;

/// Positions in the table of functions by the engine's address of each function, which is unique within an
/// instance.
pub(crate) type Numbers = HashMap<usize, u32>;

/// Returns the number of a reference that the rewritten module saves.
pub(super) fn number(mut caller: Caller<'_, Context>, function: Option<Func>) -> wasmtime::Result<u32> {
    if caller.data().references.is_none() {
        let table = caller.get_export(names::FUNCTIONS).and_then(wasmtime::Extern::into_table);
        let table = table.ok_or_else(|| wasmtime::Error::msg("the module has no table of functions"))?;
        let numbers = numbers(&mut caller, table);
        caller.data_mut().references = Some(numbers);
    }
    let address = function.map(|function| address(&mut caller, function));
    let known = caller.data().references.as_ref();
    find(known, address).ok_or_else(|| wasmtime::Error::msg("a reference leads to no function of the module"))
}

fn find(known: Option<&Numbers>, address: Option<usize>) -> Option<u32> {
    address.map_or(Some(0), |address| known?.get(&address).copied())
}

fn address(store: impl AsContextMut, function: Func) -> usize {
    function.to_raw(store).addr()
}

fn numbers(mut store: impl AsContextMut, table: Table) -> Numbers {
    let mut numbers = Numbers::new();
    for (place, number) in (0..table.size(&store)).zip(0..) {
        if let Some(Ref::Func(Some(function))) = table.get(&mut store, place) {
            numbers.insert(address(&mut store, function), number);
        }
    }
    numbers
}

/// All functions of a module that moves references, with their numbers.
pub(super) struct References {
    table: Option<Table>,
    known: Numbers,
}

impl References {
    pub(super) fn of(store: &mut Store<Context>, instance: Instance) -> Self {
        let table = instance.get_table(&mut *store, names::FUNCTIONS);
        Self { table, known: table.map(|table| numbers(&mut *store, table)).unwrap_or_default() }
    }

    /// Number of a reference; a job has no references but to functions of its module.
    pub(super) fn number(&self, store: &mut Store<Context>, reference: &Ref) -> Result<u32, String> {
        let address = match reference {
            Ref::Func(function) => function.map(|function| address(store, function)),
            _ if reference.is_null() => None,
            _ => return Err("it holds a reference to something outside".to_owned()),
        };
        find(Some(&self.known), address)
            .ok_or_else(|| "a reference leads to no function of the module".to_owned())
    }

    /// Function for an untrusted number.
    pub(super) fn function(&self, store: &mut Store<Context>, number: u32) -> Result<Option<Func>, String> {
        let found = self.table.and_then(|table| table.get(store, number.into()));
        match found {
            Some(Ref::Func(function)) => Ok(function),
            _ => Err("it has a reference that the module has not".to_owned()),
        }
    }
}
