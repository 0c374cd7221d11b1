//! The workloads: each a second or more of processor time in plain wasmtime.

use std::path::{Path, PathBuf};

use fog_tests::foreign::{BZIP2, LUA, PROGRAMS, Program, SQLITE, compile, source};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const TEXT_BYTES: usize = 12 << 20;
/// Name and rounds of each kernel. `coremark` is a third-party port of CoreMark to Rust.
pub const KERNELS: [(&str, u32); 6] =
    [("matmul", 24), ("hash", 12), ("sieve", 24), ("collatz", 4), ("sort", 8), ("coremark", 6)];

/// A program with its input.
pub struct Work {
    /// Name of the program, also its `argv[0]`.
    pub name: String,
    pub native: PathBuf,
    pub wasm: PathBuf,
    pub args: Vec<String>,
    pub stdin: Vec<u8>,
}

/// Returns programs of Debian with a name and their input.
pub fn programs() -> [(&'static str, &'static Program, Vec<u8>); 4] {
    let text = words(TEXT_BYTES);
    let zlib = PROGRAMS.iter().find(|program| program.package == "zlib").unwrap();
    [
        ("bzip2", &BZIP2, text.clone()),
        ("minigzip", zlib, text),
        ("lua", &LUA, include_bytes!("mixed.lua").to_vec()),
        ("sqlite", &SQLITE, include_bytes!("items.sql").to_vec()),
    ]
}

/// Builds a program of Debian below `folder`.
pub fn build(name: &str, program: &Program, stdin: Vec<u8>, folder: &Path) -> anyhow::Result<Work> {
    let (native, wasm) = compile(&source(program.package, folder)?, program)?;
    Ok(Work {
        name: name.to_owned(),
        native,
        wasm,
        args: program.args.iter().map(|arg| (*arg).to_owned()).collect(),
        stdin,
    })
}

/// Returns one of the kernels, which `cargo xtask bench` builds; fails without that.
pub fn kernel(name: &str, rounds: u32) -> anyhow::Result<Work> {
    let path = |variable| std::env::var_os(variable).map(PathBuf::from);
    let (Some(native), Some(wasm)) = (path("FOG_KERNELS_NATIVE"), path("FOG_KERNELS_WASM")) else {
        anyhow::bail!("run through `cargo xtask bench`, which builds it");
    };
    Ok(Work {
        name: "kernels".to_owned(),
        native,
        wasm,
        args: vec![name.to_owned(), rounds.to_string()],
        stdin: vec![],
    })
}

/// Returns lines of made-up words with uneven frequencies, and numbers between them.
fn words(bytes: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(1);
    let known: Vec<Vec<u8>> = (0..6000)
        .map(|_| (0..random.random_range(2..11)).map(|_| random.random_range(b'a'..=b'z')).collect())
        .collect();
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        match random.random_range(0..40) {
            0 => text.extend_from_slice(random.random_range(0..100_000).to_string().as_bytes()),
            _ => {
                let rarest = random.random_range(1..=known.len());
                text.extend_from_slice(&known[random.random_range(0..rarest)]);
            }
        }
        text.push(if random.random_range(0..12) == 0 { b'\n' } else { b' ' });
    }
    text
}
