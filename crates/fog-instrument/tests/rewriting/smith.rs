//! Random modules: rewritten ones behave as the originals do, compiled and interpreted; small ones also
//! when stopped at every safe point.

use arbitrary::Unstructured;
use fog_instrument::Abilities;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use wasm_smith::{Config, Module};

use crate::machine::{DEEP_STACK_REWRITTEN, Machine, Plain, deep_engine, deep_plain_engine};

/// Exports that every random module has: the state that is compared.
const SHAPE: &str = r#"(module (func (export "_start")) (memory (export "m") 1 4)
    (global (export "a") (mut i32) (i32.const 0)) (global (export "b") (mut i64) (i64.const 0))
    (global (export "c") (mut f64) (f64.const 0)) (global (export "d") (mut v128) (v128.const i32x4 0 0 0 0)))"#;

/// Every other module is like compiler output: no moving of references and no traps.
fn config(seed: u64) -> Config {
    let is_usual = seed.is_multiple_of(2);
    Config {
        reference_types_enabled: !is_usual,
        bulk_memory_enabled: !is_usual,
        disallow_traps: is_usual,
        max_imports: if is_usual { 0 } else { 4 },
        exports: Some(wat::parse_str(SHAPE).unwrap()),
        exceptions_enabled: false,
        gc_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        max_funcs: 12,
        max_instructions: 400,
        max_memories: 0,
        max_tables: 2,
        max_table_elements: 100,
        table_max_size_required: true,
        memory_max_size_required: true,
        max_memory32_bytes: 4 << 16,
        min_funcs: 3,
        ..Config::default()
    }
}

/// Runs `count` modules from `seed` on; returns how many were run and how many of those were stopped.
fn modules(seed: u64, count: u64) -> (u64, u64) {
    let (plain, compiled, interpreted) =
        (deep_plain_engine(), deep_engine(None), deep_engine(Some("pulley64")));
    let (mut ran, mut stopped) = (0, 0);
    for seed in seed..seed + count {
        let mut bytes = vec![0; 1 << 13];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let Ok(mut module) = Module::new(config(seed), &mut Unstructured::new(&bytes)) else { continue };
        // A trap ends the module after some thousand loop turns and calls.
        if module.ensure_termination(2000).is_err() {
            continue;
        }
        let wasm = module.to_bytes();
        let Some(as_it_is) = Plain::run(&plain, &wasm) else { continue };
        let machine = Machine::new(&compiled, &wasm).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let whole = machine.run(1, &[]);
        assert_eq!(as_it_is.end, whole.end, "seed {seed}");
        assert_eq!(as_it_is.exports, whole.exports, "seed {seed}");
        ran += 1;
        if whole.checks == 0 {
            continue;
        }
        stopped += 1;
        for stop in 1..=whole.checks.min(40) {
            assert_eq!(machine.run(1, &[stop]), whole, "seed {seed}, stopped at {stop} of {}", whole.checks);
        }
        let all: Vec<u64> = (1..=whole.checks.min(300)).collect();
        assert_eq!(machine.run(1, &all), whole, "seed {seed}, stopped at every check");
        if seed.is_multiple_of(3) {
            let sharing = Abilities { share_saving: true, ..Abilities::default() };
            assert_eq!(
                Machine::with(&compiled, &wasm, sharing).unwrap().run(1, &all),
                whole,
                "seed {seed}, saved in one place"
            );
        }
        if seed.is_multiple_of(8) {
            assert_eq!(
                Machine::new(&interpreted, &wasm).unwrap().run(1, &all),
                whole,
                "seed {seed}, interpreted"
            );
        }
    }
    (ran, stopped)
}

#[test]
fn random_modules_do_the_same_rewritten_and_stopped() {
    let count = if std::env::var_os("FOG_TEST_FULL").is_some() { 20_000 } else { 600 };
    // Block of seeds at which to start, to continue an earlier run.
    let from =
        std::env::var("FOG_SMITH_FROM").ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / 100;
    // Thread `n` takes each block whose number is `n` modulo the number of threads.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let share = |n: u64| {
        (from..count / 100)
            .filter(|block| block % threads == n)
            .map(|block| modules(1 + block * 100, 100))
            .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let (ran, stopped) = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|n| {
                std::thread::Builder::new()
                    .stack_size(DEEP_STACK_REWRITTEN + (4 << 20))
                    .spawn_scoped(scope, move || share(n))
                    .unwrap()
            })
            .collect();
        shares.into_iter().map(|share| share.join().unwrap()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    });
    println!("{ran} modules, {stopped} of them stopped and continued");
    let asked = count - from * 100;
    assert!(ran > asked / 2 && stopped > asked / 10, "{ran} ran, {stopped} stopped");
}
