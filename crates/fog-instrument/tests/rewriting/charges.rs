//! Charging: small stretches are charged with those before them, and each turn of a loop for itself.

use crate::machine::{Machine, engine};

/// Units of a program with this body, whose local `$n` begins with `first`.
fn units(first: u32, body: &str) -> i64 {
    let wat = format!(
        "(module (func (export \"_start\") (local $n i32) (local $x i32) (local.set $n (i32.const {first})) {body}))"
    );
    let ran = Machine::new(&engine(None), &wat::parse_str(wat).unwrap()).unwrap().run(1_000_000, &[]);
    ran.end.unwrap();
    ran.units
}

/// Instructions that cost two units.
const ADD: &str = "(local.set $x (i32.add (local.get $x) (i32.const 1)))";

#[test]
fn a_small_arm_costs_the_same_taken_or_not() {
    let arms = |small: usize, other: usize| {
        format!("(if (local.get $n) (then {}) (else {}))", ADD.repeat(small), ADD.repeat(other))
    };
    for (taken, other) in [(3, 0), (0, 3), (2, 5), (6, 6)] {
        let body = arms(taken, other);
        assert_eq!(units(1, &body), units(0, &body));
        // The more expensive of the two arms counts.
        assert_eq!(units(1, &body), units(1, &arms(taken.max(other), 0)));
    }
    // A stretch behind a branch that skips it, with another inside.
    let body =
        format!("(block (br_if 0 (local.get $n)) {} (if (local.get $x) (then {ADD}))) {ADD}", ADD.repeat(2));
    assert_eq!(units(1, &body), units(0, &body));
}

#[test]
fn a_large_arm_costs_whom_takes_it() {
    let body = format!("(if (local.get $n) (then {}))", ADD.repeat(7));
    assert_eq!(units(1, &body) - units(0, &body), 14);
    // With many small stretches, no stretch is charged for all of them.
    let many = |arm: &str| format!("(if (local.get $x) (then {arm}))").repeat(20);
    let own = units(0, &many(""));
    let with = units(0, &many(&ADD.repeat(5)));
    assert!(with > own && with <= 2 * own, "{own} {with}");
}

#[test]
fn every_turn_of_a_loop_is_charged() {
    let inner = format!(
        "(local.set $x (i32.const 0)) (loop $i {ADD} (br_if $i (i32.lt_u (local.get $x) (i32.const 10))))"
    );
    for inside in [String::new(), format!("(if (local.get $x) (then {ADD}))"), inner] {
        let body =
            format!("(loop $l {inside} (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))");
        let of = |turns| units(turns, &body);
        let one = of(2) - of(1);
        assert!(one >= 2, "{one}");
        assert_eq!(of(1001) - of(1), 1000 * one);
    }
}
