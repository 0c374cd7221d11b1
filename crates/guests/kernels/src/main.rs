//! `kernels NAME ROUNDS` computes and prints a check value. The same sources run natively, in a
//! plain engine and as a job; the benchmark compares the three and their check values.
#![allow(unsafe_code, reason = "an exported name is what a plain engine calls")]

use std::hint::black_box;

/// Product of two 400 × 400 matrices of doubles: counted loops over memory.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_matmul(rounds: u32) -> u64 {
    const N: usize = 400;
    let entry = |i: usize| ((i * 7919) % 1000) as f64 / 1000.0;
    let (a, b): (Vec<f64>, Vec<f64>) = ((0..N * N).map(entry).collect(), (0..N * N).map(|i| entry(i + 13)).collect());
    let mut check = 0;
    for _ in 0..rounds {
        let mut c = vec![0.0; N * N];
        for (a_row, c_row) in black_box(&a).chunks_exact(N).zip(c.chunks_exact_mut(N)) {
            for (a, b_row) in a_row.iter().zip(black_box(&b).chunks_exact(N)) {
                for (c, b) in c_row.iter_mut().zip(b_row) {
                    *c += a * b;
                }
            }
        }
        check ^= c[N + 1].to_bits().rotate_left(7) ^ c[N * N - 1].to_bits();
    }
    check
}

/// The compression function of SHA-256 (FIPS 180-4) without its schedule's constants: rotations and
/// additions in registers.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_hash(rounds: u32) -> u64 {
    let mut state: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
    for block in 0..rounds.wrapping_mul(250_000) {
        let mut w = [0u32; 64];
        for (i, word) in w.iter_mut().take(16).enumerate() {
            *word = block.wrapping_mul(0x9e37_79b9).wrapping_add(i as u32);
        }
        for i in 16..64 {
            let (a, b) = (w[i - 15], w[i - 2]);
            let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            w[i] = w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state;
        for word in w {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let t1 = h.wrapping_add(s1).wrapping_add((e & f) ^ (!e & g)).wrapping_add(0x428a_2f98).wrapping_add(word);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (kept, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *kept = kept.wrapping_add(new);
        }
    }
    u64::from(state[0]) << 32 | u64::from(state[7])
}

/// The sieve of Eratosthenes to ten million: strided stores.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_sieve(rounds: u32) -> u64 {
    const LIMIT: usize = 10_000_000;
    let mut found = 0;
    for _ in 0..rounds {
        let mut composite = vec![false; LIMIT + 1];
        for n in 2..=LIMIT {
            if !composite[n] {
                found += 1;
                for multiple in (n * n..=LIMIT).step_by(n) {
                    composite[multiple] = true;
                }
            }
        }
        black_box(&composite);
    }
    found
}

/// Collatz lengths to a million: a short loop whose end nobody knows.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_collatz(rounds: u32) -> u64 {
    let mut steps = 0;
    for _ in 0..rounds {
        for start in 1..black_box(1_000_000_u64) {
            let mut n = start;
            while n != 1 {
                n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
                steps += 1;
            }
        }
    }
    steps
}

/// Sorting two million numbers: calls, branches and moves.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_sort(rounds: u32) -> u64 {
    let mut check = 0;
    for round in 0..rounds {
        let mut state = u64::from(round) + 1;
        let mut numbers: Vec<u64> = (0..2_000_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            })
            .collect();
        numbers.sort_unstable();
        check ^= numbers[0] ^ numbers[1_000_000];
    }
    check
}

/// Fibonacci by plain recursion: nothing but calls.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_fib(rounds: u32) -> u64 {
    fn fib(n: u32) -> u64 {
        if n < 2 { u64::from(n) } else { fib(n - 1) + fib(n - 2) }
    }
    (0..rounds).map(|_| fib(black_box(38))).sum()
}

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let kernel: extern "C" fn(u32) -> u64 = match args.next().as_deref() {
        Some("matmul") => kernel_matmul,
        Some("hash") => kernel_hash,
        Some("sieve") => kernel_sieve,
        Some("collatz") => kernel_collatz,
        Some("sort") => kernel_sort,
        Some("fib") => kernel_fib,
        _ => {
            eprintln!("usage: kernels matmul|hash|sieve|collatz|sort|fib [ROUNDS]");
            return std::process::ExitCode::from(2);
        }
    };
    println!("{}", kernel(args.next().and_then(|n| n.parse().ok()).unwrap_or(1)));
    std::process::ExitCode::SUCCESS
}
