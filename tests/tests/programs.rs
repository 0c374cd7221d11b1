//! Programs: our examples against independent implementations, and C programs nobody here wrote
//! against their own native builds.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use fog_tests::{Bench, fog_binary, is_full};

fn examples() -> PathBuf {
    fog_binary().parent().unwrap().join("fog-examples")
}

fn must(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}; `cargo xtask setup` installs it"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// Scores of the search against EMBOSS's `water`: the same matrix, the same gap costs.
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
    let ours: BTreeMap<&str, f64> = ours.lines().map(|line| line.split('\t').collect::<Vec<_>>()).map(|f| (f[1], f[2].parse().unwrap())).collect();
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
        // "HBB_ORNAN MYG_ESCGI 149 (189.0)"
        let fields: Vec<&str> = line.split_whitespace().collect();
        let score: f64 = fields.last().unwrap().trim_matches(['(', ')']).parse().unwrap();
        assert_eq!(ours.get(fields[1]), Some(&score), "{line}");
        compared += 1;
    }
    assert_eq!((compared, ours.len()), (45, 45));
}

/// <https://oeis.org/A000043>, through the real program.
#[test]
fn mersenne_primes_are_the_known_ones() {
    let bench = Bench::new().unwrap();
    let module = examples().join("lucas-lehmer/lucas-lehmer.wasm");
    let size = if is_full() { "2400" } else { "700" };
    let output = bench.fog(&["run", &module.to_string_lossy(), "--", "0", size]).unwrap();
    let found: Vec<u32> =
        String::from_utf8(output.stdout).unwrap().lines().filter_map(|line| line.strip_prefix("2^")?.split(' ').next()?.parse().ok()).collect();
    let known = [2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279, 2203, 2281];
    let limit: u32 = size.parse().unwrap();
    assert_eq!(found, known.into_iter().filter(|p| *p < limit).collect::<Vec<_>>());
}

/// A source package of Debian, unpacked.
fn source(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let lists = folder.join("lists");
    std::fs::create_dir_all(lists.join("partial"))?;
    let release = std::fs::read_to_string("/etc/os-release")?;
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).context("this is not Debian")?;
    // The mirror of this machine, whatever it is.
    let policy = String::from_utf8(must(Command::new("apt-cache").args(["policy"]))?)?;
    let mirror =
        policy.lines().flat_map(str::split_whitespace).find(|word| word.starts_with("http") && !word.contains("security")).context("no mirror")?.to_owned();
    std::fs::write(folder.join("sources.list"), format!("deb-src [trusted=yes] {mirror} {codename} main\n"))?;
    let option = |key: &str, value: &Path| format!("{key}={}", value.display());
    let options = [
        "-o".to_owned(),
        option("Dir::Etc::SourceList", &folder.join("sources.list")),
        "-o".to_owned(),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "-o".to_owned(),
        option("Dir::State::Lists", &lists),
        "-o".to_owned(),
        option("Dir::Cache::srcpkgcache", &folder.join("s.bin")),
        "-o".to_owned(),
        option("Dir::Cache::pkgcache", &folder.join("p.bin")),
    ];
    if std::fs::read_dir(&lists)?.count() < 2 {
        must(Command::new("apt-get").args(&options).args(["update", "-qq"]))?;
    }
    must(Command::new("apt-get").args(&options).args(["source", "-qq", name]).current_dir(folder))?;
    let starts = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{name}-")));
    std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).find(|path| path.is_dir() && starts(path)).context("the source was not unpacked")
}

/// Compiles the same files natively and for WASI.
fn compile(folder: &Path, files: &[&str], flags: &[&str], name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (native, wasm) = (folder.join(format!("{name}.native")), folder.join(format!("{name}.wasm")));
    let common = ["-O2", "-w", "-I."];
    must(Command::new("clang").args(common).args(flags).args(files).arg("-o").arg(&native).arg("-lm").current_dir(folder))?;
    must(
        Command::new("clang")
            .args(["--target=wasm32-wasi", "--sysroot=/usr"])
            .args(common)
            .args(flags)
            .args(files)
            .arg("-o")
            .arg(&wasm)
            .arg("-lm")
            .current_dir(folder),
    )?;
    Ok((native, wasm))
}

struct Program {
    package: &'static str,
    files: &'static [&'static str],
    flags: &'static [&'static str],
    args: &'static [&'static str],
}

/// Filters: standard input in, standard output out.
const PROGRAMS: &[Program] = &[
    Program {
        package: "zlib",
        files: &[
            "test/minigzip.c",
            "adler32.c",
            "compress.c",
            "crc32.c",
            "deflate.c",
            "gzclose.c",
            "gzlib.c",
            "gzread.c",
            "gzwrite.c",
            "infback.c",
            "inffast.c",
            "inflate.c",
            "inftrees.c",
            "trees.c",
            "uncompr.c",
            "zutil.c",
        ],
        flags: &["-DHAVE_UNISTD_H"],
        args: &["-9"],
    },
    Program { package: "par", files: &["buffer.c", "charset.c", "errmsg.c", "par.c", "reformat.c"], flags: &[], args: &["w50j"] },
    Program { package: "ent", files: &["ent.c", "iso8859.c", "randtest.c", "chisq.c"], flags: &[], args: &["-c"] },
];

#[test]
fn programs_nobody_here_wrote_give_what_their_native_builds_give() {
    let bench = Bench::new().unwrap();
    let input = bench.scratch().join("input.txt");
    std::fs::write(&input, include_str!("../../docs/architecture.md").repeat(20)).unwrap();
    for program in PROGRAMS {
        let folder = source(program.package, bench.scratch()).unwrap();
        let (native, wasm) = compile(&folder, program.files, program.flags, program.package).unwrap();
        let run = |command: &mut Command| command.stdin(std::fs::File::open(&input).unwrap()).output().unwrap();
        let theirs = run(Command::new(native).args(program.args));
        let (wasm, input) = (wasm.to_string_lossy().into_owned(), input.to_string_lossy().into_owned());
        let args = [&["run", &wasm, "--stdin", &input, "--"], program.args].concat();
        let ours = bench.fog(&args).unwrap();
        assert_eq!(ours.status.code(), theirs.status.code(), "{}: {}", program.package, String::from_utf8_lossy(&ours.stderr));
        assert!(ours.stdout == theirs.stdout, "{}: {} bytes against {}", program.package, ours.stdout.len(), theirs.stdout.len());
        assert!(!ours.stdout.is_empty(), "{} prints something", program.package);
        println!("{}: {} bytes, the same as native", program.package, ours.stdout.len());
    }
}
