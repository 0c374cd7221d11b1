//! A program that is stopped at every safe point and continued in a new instance gives the same results for
//! the same units.

use fog_instrument::{Abilities, Error, accepted, instrument, names};
use wasmtime::{Linker, Module, Store, Trap};

use crate::machine::{Machine, engine};

/// Runs a program without stops, then with a stop at each single safe point, then with a stop at all of
/// them.
fn stops_everywhere(wat: &str) {
    let wasm = wat::parse_str(wat).unwrap();
    let compiled = Machine::new(&engine(None), &wasm).unwrap();
    let interpreted = Machine::new(&engine(Some("pulley64")), &wasm).unwrap();
    let sharing =
        Machine::with(&engine(None), &wasm, Abilities { share_saving: true, ..Abilities::default() })
            .unwrap();
    // A slice of one unit asks at every safe point.
    let whole = compiled.run(1, &[]);
    assert!(whole.checks > 3, "{whole:?}");
    let large = compiled.run(1_000_000, &[]);
    assert_eq!((&large.out, &large.end), (&whole.out, &whole.end));
    // After a trap the count is the last one stored in its global, which depends on the slices.
    assert!(large.end.is_err() || large.units == whole.units, "{} {}", large.units, whole.units);
    for machine in [&compiled, &interpreted, &sharing] {
        assert_eq!(machine.run(1, &[]), whole);
        for stop in 1..=whole.checks.min(300) {
            assert_eq!(machine.run(1, &[stop]), whole, "stopped at check {stop}");
        }
        let all: Vec<u64> = (1..=whole.checks.min(2000)).collect();
        assert_eq!(machine.run(1, &all), whole, "stopped at every check");
    }
}

#[test]
fn recursion() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64)))
            (func $fib (param i32) (result i64)
                (if (result i64) (i32.lt_u (local.get 0) (i32.const 2))
                    (then (i64.extend_i32_u (local.get 0)))
                    (else (i64.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
            (func (export "_start") (call $out (call $fib (i32.const 9)))))"#,
    );
}

#[test]
fn loops_operands_and_all_types() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64))) (memory (export "memory") 1) (global $g (mut f32) (f32.const 1.5))
            (func $step (param f64 i32) (result f64 i32) (local i32)
                (loop $l (local.set 2 (i32.add (local.get 2) (i32.const 1)))
                    (i32.store8 (local.get 2) (local.get 1))
                    (br_if $l (i32.lt_u (local.get 2) (i32.const 3))))
                (f64.mul (local.get 0) (f64.const 1.25)) (i32.add (local.get 1) (local.get 2)))
            (func (export "_start") (local $v v128) (local $i i64) (local $f f64) (local $n i32)
                (local.set $v (v128.const i32x4 1 2 3 4)) (local.set $f (f64.const 2))
                (loop $outer
                    (i64.const 1000)
                    (block $b (result i32)
                        (call $step (local.get $f) (local.get $n))
                        (local.set $n) (local.set $f)
                        (i32.const 7)
                        (br_if $b (i32.and (local.get $n) (i32.const 1)))
                        (drop) (call $step (f64.const 3) (i32.const 4)) (drop) (drop) (i32.const 9))
                    (i64.extend_i32_s) (i64.add) (call $out)
                    (local.set $v (i32x4.add (local.get $v) (local.get $v)))
                    (global.set $g (f32.add (global.get $g) (f32.const 0.25)))
                    (local.set $i (i64.add (local.get $i) (i64.const 1)))
                    (br_if $outer (i64.lt_u (local.get $i) (i64.const 6))))
                (call $out (i64x2.extract_lane 1 (local.get $v)))
                (call $out (i64.reinterpret_f64 (local.get $f)))
                (call $out (i64.extend_i32_u (local.get $n)))))"#,
    );
}

#[test]
fn branches_tables_and_indirect_calls() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64))) (type $op (func (param i64 i64) (result i64)))
            (table 3 funcref) (elem (i32.const 0) $add $mul $slow)
            (func $add (type $op) (i64.add (local.get 0) (local.get 1)))
            (func $mul (type $op) (i64.mul (local.get 0) (local.get 1)))
            (func $slow (type $op) (local i64)
                (loop $l (local.set 2 (i64.add (local.get 2) (local.get 0)))
                    (br_if $l (i64.lt_s (local.get 2) (local.get 1)))) (local.get 2))
            (func $pick (param i32) (result i32)
                (block $d (block $c (block $b (block $a (br_table $a $b $c $d (local.get 0)))
                    (return (i32.const 2))) (return (i32.const 1))) (return (i32.const 0))) (i32.const 2))
            (func $tail (param i32 i64) (result i64)
                (if (i32.eqz (local.get 0)) (then (return (local.get 1))))
                (return_call $tail (i32.sub (local.get 0) (i32.const 1)) (i64.add (local.get 1) (i64.const 3))))
            (func (export "_start") (local $i i32) (local $x i64)
                (local.set $x (i64.const 5))
                (loop $l
                    (local.set $x (i64.and (i64.const 0xffff) (call_indirect (type $op) (local.get $x) (i64.const 77) (call $pick (i32.rem_u (local.get $i) (i32.const 5))))))
                    (if (i32.and (local.get $i) (i32.const 1))
                        (then (call $out (call $tail (local.get $i) (local.get $x))))
                        (else (call $out (call $mul (local.get $x) (i64.const 2)))))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $l (i32.lt_u (local.get $i) (i32.const 12))))))"#,
    );
}

/// A call through a table may have a type that no function has; it traps.
#[test]
fn calls_of_types_that_nothing_has() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64))) (type $none (func (param f32) (result v128 f32)))
            (table 1 funcref) (elem (i32.const 0) $spin)
            (func $spin (local i64) (loop $l (local.set 0 (i64.add (local.get 0) (i64.const 1))) (br_if $l (i64.lt_u (local.get 0) (i64.const 50)))))
            (func (export "_start")
                (call $spin) (call $out (i64.const 1))
                (call_indirect (type $none) (f32.const 1) (i32.const 0)) (drop) (drop)))"#,
    );
}

/// After a tail call, the frame on the stack is not of the function that was called.
#[test]
fn tail_calls_to_others() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64))) (type $one (func (param i64) (result i64)))
            (table 2 funcref) (elem (i32.const 0) $spin $count)
            (func $spin (type $one) (local i64)
                (loop $l (local.set 1 (i64.add (local.get 1) (i64.const 3))) (br_if $l (i64.lt_u (local.get 1) (local.get 0)))) (local.get 1))
            (func $count (type $one) (return_call $two (local.get 0) (i32.const 4)))
            (func $two (param i64 i32) (result i64)
                (if (i32.eqz (local.get 1)) (then (return_call_indirect (type $one) (local.get 0) (i32.const 0))))
                (return_call $two (i64.add (local.get 0) (i64.const 5)) (i32.sub (local.get 1) (i32.const 1))))
            (func (export "_start")
                (call $out (i64.add (i64.const 1) (call $count (i64.const 9))))
                (call $out (call_indirect (type $one) (i64.const 20) (i32.const 1)))))"#,
    );
}

#[test]
fn block_parameters_start_function_and_traps() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64))) (memory 1 4) (global $n (mut i32) (i32.const 0))
            (func $begin (loop $l (global.set $n (i32.add (global.get $n) (i32.const 1))) (br_if $l (i32.lt_u (global.get $n) (i32.const 4)))))
            (start $begin)
            (func $pair (param i32) (result i32 i64) (local.get 0)
                (loop $l (param i32) (result i32 i64) (i32.const 1) (i32.sub)
                    (if (param) (result i64) (global.get $n) (then (loop $z (br_if $z (i32.const 0))) (i64.const 4)) (else (i64.const 5)))))
            (func (export "_start") (local i32)
                (call $out (i64.extend_i32_u (memory.grow (i32.const 1))))
                (memory.fill (i32.const 0) (i32.const 7) (i32.const 1000))
                (call $pair (i32.const 40)) (call $out) (call $out (i64.extend_i32_s))
                (loop $l (local.set 0 (i32.add (local.get 0) (i32.const 65530)))
                    (call $out (i64.load8_u (local.get 0)))
                    (br $l))))"#,
    );
}

/// Makes a function with `locals` locals, all read at its end, and `loops` loops with a safe point each.
fn wide(locals: usize, loops: usize, turn: impl Fn(usize) -> String) -> Vec<u8> {
    let turns: String = (0..loops).map(turn).collect();
    let sum: String = (0..locals).map(|local| format!("(i64.add (local.get {local}))")).collect();
    let locals = "i64 ".repeat(locals);
    let wat = format!(
        "(module (import \"test\" \"out\" (func $out (param i64))) (func (export \"_start\") (local {locals}) {turns} (i64.const 0) {sum} (call $out)))"
    );
    wat::parse_str(wat).unwrap()
}

/// The code that saves live locals is bounded, although locals times sites may be large.
#[test]
fn what_a_function_saves_is_bounded_by_its_size() {
    // An unusual but harmless function of 14 KB.
    let module = wide(2_000, 2_000, |_| "(loop)".to_owned());
    let rewritten = instrument(&module, accepted(), Abilities::default()).unwrap();
    assert!(rewritten.len() < 100 * module.len(), "{} bytes became {}", module.len(), rewritten.len());
    let set = |n| format!("(loop (local.set {} (i64.const {n})))", n % 600);
    let module = wide(600, 600, set);
    let machine = Machine::new(&engine(None), &module).unwrap();
    let whole = machine.run(1, &[]);
    assert_eq!((&whole.out, whole.checks > 100), (&vec![(0..600).sum::<i64>()], true));
    let stops: Vec<u64> = (1..=whole.checks).collect();
    assert_eq!(machine.run(1, &stops), whole);
    // A module of 224 KB whose saving code would take gigabytes.
    for turn in [|_| "(loop)".to_owned(), set] as [fn(usize) -> String; 2] {
        let refused = instrument(&wide(30_000, 30_000, turn), accepted(), Abilities::default()).unwrap_err();
        assert!(
            matches!(refused, Error::TooLarge { .. }) && refused.to_string().contains("smaller functions"),
            "{refused}"
        );
    }
}

/// Operands, which are saved like locals, are bounded as well.
#[test]
fn operands_at_many_sites_are_bounded_too() {
    let (pushed, calls) = ("(i32.const 0)".repeat(8_000), "(call $waits)".repeat(8_000));
    let wat = format!(
        "(module (func $waits (loop)) (func (export \"_start\") {pushed} {calls} {}))",
        "(drop)".repeat(8_000)
    );
    let refused = instrument(&wat::parse_str(wat).unwrap(), accepted(), Abilities::default()).unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    // Each function is within its bound, but all together are out of proportion.
    let (pushed, calls) = ("(i32.const 0)".repeat(500), "(call $waits)".repeat(500));
    let function = format!("(func {pushed} {calls} {})", "(drop)".repeat(500));
    let wat = format!("(module (func $waits (loop)) (func (export \"_start\")) {})", function.repeat(30));
    let refused = instrument(&wat::parse_str(wat).unwrap(), accepted(), Abilities::default()).unwrap_err();
    assert!(matches!(refused, Error::Swells { .. }), "{refused}");
}

/// A module that can only count traps when it is told to stop.
#[test]
fn a_module_that_cannot_stop_traps() {
    let wat = r#"(module (global (export "seen") (mut i32) (i32.const 0))
        (func $answer (result i32) (local i32) (loop $l (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 99)))) (i32.const 7))
        (func (export "_start") (global.set 0 (call $answer))))"#;
    let abilities = Abilities { stop: false, ..Abilities::default() };
    let rewritten = instrument(&wat::parse_str(wat).unwrap(), accepted(), abilities).unwrap();
    let engine = engine(None);
    let module = Module::new(&engine, &rewritten).unwrap();
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    linker.func_wrap(names::MODULE, names::CHECK, |_: i64| names::STOP).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let error =
        instance.get_typed_func::<(), ()>(&mut store, names::MAIN).unwrap().call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
    let seen = instance.get_global(&mut store, "seen").unwrap();
    assert_eq!(seen.get(&mut store).unwrap_i32(), 0, "nothing came of it");
}

/// Covers references in locals, operands, globals and tables, and dropped segments.
#[test]
fn references_and_segments() {
    stops_everywhere(
        r#"(module (import "test" "out" (func $out (param i64))) (type $op (func (param i64) (result i64))) (memory 1)
            (table $t 2 20 funcref) (table $x 3 9 externref) (global $g (mut funcref) (ref.func $three)) (global $e (mut externref) (ref.null extern))
            (elem (table $t) (i32.const 0) func $one $two) (elem $later func $three $one $two $three) (data $words "abcdefgh")
            (func $one (type $op) (i64.add (local.get 0) (i64.const 1)))
            (func $two (type $op) (local i64)
                (loop $l (local.set 1 (i64.add (local.get 1) (i64.const 2))) (br_if $l (i64.lt_u (local.get 1) (i64.const 7)))) (i64.add (local.get 0) (local.get 1)))
            (func $three (type $op) (i64.mul (local.get 0) (i64.const 3)))
            (func $same (param funcref) (result funcref) (loop $l (br_if $l (i32.const 0))) (local.get 0))
            (func $use (param i32) (call $out (call_indirect $t (type $op) (i64.const 10) (local.get 0))))
            (func (export "_start") (local $f funcref) (local $x externref) (local $i i32)
                (local.set $f (table.get $t (i32.const 1)))
                (call $use (i32.const 0)) (call $use (i32.const 1))
                (loop $l
                    (table.set $t (i32.const 0) (local.get $f))
                    (ref.func $three) (call $same (ref.null func)) (drop) (global.set $g)
                    (local.set $f (call $same (global.get $g)))
                    (call $use (i32.const 0))
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $l (i32.lt_u (local.get $i) (i32.const 3))))
                (call $out (i64.extend_i32_s (table.grow $t (ref.func $two) (i32.const 4))))
                (call $out (i64.extend_i32_s (table.grow $x (ref.null extern) (i32.const 2))))
                (table.init $t $later (i32.const 2) (i32.const 0) (i32.const 4))
                (elem.drop $later)
                (memory.init $words (i32.const 8) (i32.const 0) (i32.const 8))
                (data.drop $words)
                (local.set $i (i32.const 0))
                (loop $all (call $use (local.get $i)) (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $all (i32.lt_u (local.get $i) (i32.const 6))))
                (table.copy $t $t (i32.const 0) (i32.const 3) (i32.const 2))
                (table.fill $t (i32.const 5) (ref.null func) (i32.const 1))
                (call $use (i32.const 0))
                (call $out (i64.extend_i32_u (i32.add (i32.mul (i32.const 2) (ref.is_null (table.get $t (i32.const 5)))) (ref.is_null (local.get $x)))))
                (loop $l (br_if $l (i32.const 0)))
                (memory.init $words (i32.const 0) (i32.const 0) (i32.const 0))
                (table.init $t $later (i32.const 0) (i32.const 0) (i32.const 1))))"#,
    );
}
