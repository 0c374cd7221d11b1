//! Programs: the examples compared with independent implementations, and third-party C programs compared
//! with their native builds.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use fog_tests::foreign::{PROGRAMS, compile, must, source};
use fog_tests::{Bench, fog_binary, is_full};

fn examples() -> PathBuf {
    fog_binary().parent().unwrap().join("fog-examples")
}

/// Compares the scores of the search with EMBOSS's `water`: the same matrix and gap costs.
#[test]
fn protein_scores_agree_with_an_independent_implementation() {
    let bench = Bench::new().unwrap();
    let place = examples().join("protein-search");
    let file = |name: &str| place.join(name).to_string_lossy().into_owned();
    let (query, database) = (file("query.fasta"), file("database.fasta"));
    let args = [
        "run",
        &file("protein-search.wasm"),
        "--input",
        &format!("q={query}"),
        "--input",
        &format!("db={database}"),
        "--",
        "--query",
        "/in/q",
        "--db",
        "/in/db",
        "--top",
        "45",
    ];
    let ours = bench.fog(&args).unwrap();
    let ours = String::from_utf8(ours.stdout).unwrap();
    let ours: BTreeMap<&str, f64> = ours
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|f| (f[1], f[2].parse().unwrap()))
        .collect();
    let out = bench.scratch().join("water.txt");
    let mut water = Command::new("water");
    water
        .args([
            "-asequence",
            &query,
            "-bsequence",
            &database,
            "-gapopen",
            "11",
            "-gapextend",
            "1",
            "-datafile",
            "EBLOSUM62",
            "-aformat",
            "score",
            "-auto",
            "-outfile",
        ])
        .arg(&out);
    must(&mut water).unwrap();
    let theirs = std::fs::read_to_string(out).unwrap();
    let mut compared = 0;
    for line in theirs.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        // Example line: "HBB_ORNAN MYG_ESCGI 149 (189.0)".
        let fields: Vec<&str> = line.split_whitespace().collect();
        let score: f64 = fields.last().unwrap().trim_matches(['(', ')']).parse().unwrap();
        assert_eq!(ours.get(fields[1]), Some(&score), "{line}");
        compared += 1;
    }
    assert_eq!((compared, ours.len()), (45, 45));
}

/// Compares the real program with <https://oeis.org/A000043>.
#[test]
fn mersenne_primes_are_the_known_ones() {
    let bench = Bench::new().unwrap();
    let module = examples().join("lucas-lehmer/lucas-lehmer.wasm");
    let size = if is_full() { "2400" } else { "700" };
    let output = bench.fog(&["run", &module.to_string_lossy(), "--", "0", size]).unwrap();
    let found: Vec<u32> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("2^")?.split(' ').next()?.parse().ok())
        .collect();
    let known = [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203, 2281];
    let limit: u32 = size.parse().unwrap();
    assert_eq!(found, known.into_iter().filter(|p| *p < limit).collect::<Vec<_>>());
}

#[test]
fn programs_nobody_here_wrote_give_what_their_native_builds_give() {
    let bench = Bench::new().unwrap();
    let input = bench.scratch().join("input.txt");
    std::fs::write(&input, include_str!("../../docs/architecture.md").repeat(20)).unwrap();
    for program in PROGRAMS {
        let folder = source(program.package, bench.scratch()).unwrap();
        let (native, wasm) = compile(&folder, program).unwrap();
        let run =
            |command: &mut Command| command.stdin(std::fs::File::open(&input).unwrap()).output().unwrap();
        let theirs = run(Command::new(native).args(program.args));
        let (wasm, input) = (wasm.to_string_lossy().into_owned(), input.to_string_lossy().into_owned());
        let args = [&["run", &wasm, "--stdin", &input, "--"], program.args].concat();
        let ours = bench.fog(&args).unwrap();
        assert_eq!(
            ours.status.code(),
            theirs.status.code(),
            "{}: {}",
            program.package,
            String::from_utf8_lossy(&ours.stderr)
        );
        assert!(
            ours.stdout == theirs.stdout,
            "{}: {} bytes against {}",
            program.package,
            ours.stdout.len(),
            theirs.stdout.len()
        );
        assert!(!ours.stdout.is_empty(), "{} prints something", program.package);
        println!("{}: {} bytes, the same as native", program.package, ours.stdout.len());
    }
}
