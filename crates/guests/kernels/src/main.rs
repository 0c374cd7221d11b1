//! `kernels NAME ROUNDS` computes and prints a check value. The same sources run natively, in a
//! plain engine and as a job; the benchmark compares the three and their check values.
#![allow(unsafe_code, reason = "an exported name is what a plain engine calls")]

use std::hint::black_box;

/// Product of two 400 × 400 matrices of doubles: counted loops over memory.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_matmul(rounds: u32) -> u64 {
    const N: usize = 400;
    let entry = |i: usize| ((i * 7919) % 1000) as f64 / 1000.0;
    let (a, b): (Vec<f64>, Vec<f64>) =
        ((0..N * N).map(entry).collect(), (0..N * N).map(|i| entry(i + 13)).collect());
    let mut check = 0_u64;
    for _ in 0..rounds {
        let mut c = vec![0.0; N * N];
        for (a_row, c_row) in black_box(&a).chunks_exact(N).zip(c.chunks_exact_mut(N)) {
            for (a, b_row) in a_row.iter().zip(black_box(&b).chunks_exact(N)) {
                for (c, b) in c_row.iter_mut().zip(b_row) {
                    *c += a * b;
                }
            }
        }
        check = check.rotate_left(9) ^ c[N + 1].to_bits().rotate_left(7) ^ c[N * N - 1].to_bits();
    }
    check
}

/// The compression function of SHA-256 (FIPS 180-4) without its schedule's constants: rotations and
/// additions in registers.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_hash(rounds: u32) -> u64 {
    let mut state: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
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
            let t1 = h
                .wrapping_add(s1)
                .wrapping_add((e & f) ^ (!e & g))
                .wrapping_add(0x428a_2f98)
                .wrapping_add(word);
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
                // The square of a large number does not fit a 32-bit address.
                for multiple in (n.saturating_mul(n)..=LIMIT).step_by(n) {
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

/// `y += a·x` over vectors that stay in the first cache: the shortest vector loop there is.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_saxpy(rounds: u32) -> u64 {
    const N: usize = 4096;
    let x: Vec<f32> = (0..N).map(|i| (i % 97) as f32 / 97.0).collect();
    let mut y = vec![0.0_f32; N];
    for round in 0..rounds.wrapping_mul(60_000) {
        let a = 1.0 / (round % 7 + 1) as f32;
        for (y, x) in y.iter_mut().zip(black_box(&x)) {
            *y = *y * 0.5 + a * x;
        }
    }
    u64::from(y[1].to_bits()) << 32 | u64::from(y[N - 1].to_bits())
}

/// Adler-32 (RFC 1950) over 64 KiB: two dependent additions for each byte.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_adler(rounds: u32) -> u64 {
    let bytes: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (mut a, mut b) = (1_u32, 0_u32);
    for _ in 0..rounds.wrapping_mul(1_200) {
        // 5552 bytes are the most that cannot overflow.
        for part in black_box(&bytes).chunks(5552) {
            for byte in part {
                a += u32::from(*byte);
                b += a;
            }
            (a, b) = (a % 65_521, b % 65_521);
        }
    }
    u64::from(b) << 16 | u64::from(a)
}

/// Five-point stencil on a 512 × 512 grid, as PolyBench's jacobi-2d.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_jacobi(rounds: u32) -> u64 {
    const N: usize = 512;
    let mut from: Vec<f64> = (0..N * N).map(|i| ((i * 31) % 1009) as f64).collect();
    let mut to = from.clone();
    for _ in 0..rounds.wrapping_mul(100) {
        for row in 1..N - 1 {
            let (above, here, below) = (
                &from[(row - 1) * N..row * N],
                &from[row * N..(row + 1) * N],
                &from[(row + 1) * N..(row + 2) * N],
            );
            let out = &mut to[row * N..(row + 1) * N];
            for column in 1..N - 1 {
                out[column] = 0.2
                    * (here[column] + here[column - 1] + here[column + 1] + above[column] + below[column]);
            }
        }
        std::mem::swap(&mut from, &mut to);
    }
    from[N + 1].to_bits() ^ from[N * N / 2 + 7].to_bits().rotate_left(11)
}

/// LU decomposition of a 300 × 300 matrix without pivoting, as PolyBench's lu.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_lu(rounds: u32) -> u64 {
    const N: usize = 300;
    let mut check = 0_u64;
    for round in 0..rounds.wrapping_mul(8) {
        let mut a: Vec<f64> = (0..N * N)
            .map(|i| {
                ((i * 7 + round as usize) % 113) as f64 / 113.0 + if i / N == i % N { N as f64 } else { 0.0 }
            })
            .collect();
        for k in 0..N {
            for i in k + 1..N {
                let (top, rest) = a.split_at_mut(i * N);
                let (pivot, row) = (&top[k * N..(k + 1) * N], &mut rest[..N]);
                row[k] /= pivot[k];
                let factor = row[k];
                for (value, above) in row[k + 1..].iter_mut().zip(&pivot[k + 1..]) {
                    *value -= factor * above;
                }
            }
        }
        check = check.rotate_left(5) ^ a[N * N - 1].to_bits();
    }
    check
}

/// All shortest paths of a graph with 300 nodes (Floyd, Warshall), as PolyBench's floyd-warshall.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_floyd(rounds: u32) -> u64 {
    const N: usize = 300;
    let mut check = 0_u64;
    for round in 0..rounds.wrapping_mul(8) {
        let mut paths: Vec<u32> = (0..N * N)
            .map(|i| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(round) >> 12) % 1000 + 1)
            .collect();
        for k in 0..N {
            let through = paths[k * N..(k + 1) * N].to_vec();
            for i in 0..N {
                let row = &mut paths[i * N..(i + 1) * N];
                let first = row[k];
                for (path, second) in row.iter_mut().zip(&through) {
                    *path = (*path).min(first + second);
                }
            }
        }
        check = check.wrapping_mul(31).wrapping_add(paths.iter().map(|path| u64::from(*path)).sum::<u64>());
    }
    check
}

/// Five bodies under gravity: roots, divisions and a call for each step.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_bodies(rounds: u32) -> u64 {
    fn step(bodies: &mut [[f64; 7]; 5]) {
        const DT: f64 = 0.01;
        for i in 0..5 {
            for j in i + 1..5 {
                let d = [0, 1, 2].map(|axis| bodies[i][axis] - bodies[j][axis]);
                let square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
                let pull = DT / (square * square.sqrt());
                let (mine, other) = (bodies[i][6] * pull, bodies[j][6] * pull);
                for axis in 0..3 {
                    bodies[i][axis + 3] -= d[axis] * other;
                    bodies[j][axis + 3] += d[axis] * mine;
                }
            }
        }
        for body in bodies {
            for axis in 0..3 {
                body[axis] += DT * body[axis + 3];
            }
        }
    }
    let mut bodies = [0, 1, 2, 3, 4].map(|n| {
        let n = f64::from(n);
        [
            n * 3.1,
            1.0 + n * 1.7,
            n * 0.3 - 0.5,
            0.1 * n,
            0.3 - 0.05 * n,
            0.02,
            if n == 0.0 { 39.0 } else { 0.01 * n },
        ]
    });
    for _ in 0..rounds.wrapping_mul(400_000) {
        step(black_box(&mut bodies));
    }
    bodies.iter().flatten().fold(0, |check, value| check.rotate_left(7) ^ value.to_bits())
}

/// The length of a text that ends with a zero byte, byte by byte: a loop of one load.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_scan(rounds: u32) -> u64 {
    let mut text = vec![b'x'; 100_000];
    text.push(0);
    let mut total = 0;
    for _ in 0..rounds.wrapping_mul(3_000) {
        let mut length = 0_u64;
        for byte in black_box(&text) {
            if *byte == 0 {
                break;
            }
            length += 1;
        }
        total += length;
    }
    total
}

/// CoreMark of EEMBC in its port to Rust by others: lists, matrices and a state machine. The check is the sums it
/// reports; those of its three parts are known to be e714, 1fd7 and 8e3a.
#[unsafe(no_mangle)]
pub extern "C" fn kernel_coremark(rounds: u32) -> u64 {
    // None would mean as many as fit in ten seconds.
    let iterations = rounds.max(1).wrapping_mul(4_000);
    let done = coremark::run(&coremark::Config { iterations, ..coremark::Config::default() });
    [done.crclist, done.crcmatrix, done.crcstate, done.crcfinal]
        .into_iter()
        .fold(0, |check, sum| check << 16 | u64::from(sum))
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
        Some("saxpy") => kernel_saxpy,
        Some("adler") => kernel_adler,
        Some("jacobi") => kernel_jacobi,
        Some("lu") => kernel_lu,
        Some("floyd") => kernel_floyd,
        Some("bodies") => kernel_bodies,
        Some("scan") => kernel_scan,
        Some("coremark") => kernel_coremark,
        _ => {
            eprintln!(
                "usage: kernels matmul|hash|sieve|collatz|sort|fib|saxpy|adler|jacobi|lu|floyd|bodies|scan|coremark [ROUNDS]"
            );
            return std::process::ExitCode::from(2);
        }
    };
    println!("{}", kernel(args.next().and_then(|n| n.parse().ok()).unwrap_or(1)));
    std::process::ExitCode::SUCCESS
}
