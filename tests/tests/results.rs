//! Input and output of bytes through the real `fog`: inputs of every kind, results of every size and name.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use fog_tests::{Bench, Guarded, foreign::must, wait_for};

/// Builds a C program for WASI.
fn c(bench: &Bench, name: &str, source: &str) -> String {
    let (from, to) =
        (bench.scratch().join(format!("{name}.c")), bench.scratch().join(format!("{name}.wasm")));
    std::fs::write(&from, source).unwrap();
    must(
        Command::new("clang")
            .args(["--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-w"])
            .arg(&from)
            .arg("-o")
            .arg(&to),
    )
    .unwrap();
    to.to_str().unwrap().to_owned()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the files below a folder, by relative path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Writes a job file that ends in `more`.
fn job(bench: &Bench, module: &str, more: &str) {
    std::fs::write(bench.scratch().join("job.toml"), format!("version = 1\nmodule = {module:?}\n{more}\n"))
        .unwrap();
}

/// Runs `fog … > /dev/full`.
fn into_full(bench: &Bench, args: &[&str]) -> Output {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    bench
        .command(args)
        .stdin(Stdio::null())
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap()
}

/// Runs `bytes | fog …`.
fn with_input(bench: &Bench, args: &[&str], bytes: Vec<u8>) -> Output {
    let mut child = bench
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&bytes)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// A program that writes one file for each name, and one in a folder.
const NAMES: &str = r#"
#include <stdio.h>
#include <sys/stat.h>
static void leave(const char *name) { FILE *f = fopen(name, "w"); if (f) { fputs(name, f); fclose(f); } else printf("refused: %s\n", name); }
int main(void) {
    mkdir("sub", 0755);
    const char *names[] = {"plain", "back\\slash", "CON", "nul.txt", "C:drive", "end.", "end ", "new\nline", "esc\x1b[31m", "what?", "Case", "case",
        "caf\xc3\xa9", ".hidden", "-rf", "sub/LPT1.log"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) leave(names[i]);
    puts("done");
    return 0;
}"#;

#[test]
fn names_that_not_every_system_can_hold_cost_no_result() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "names", NAMES);
    let watched = bench.fog(&["submit", &module, "--watch"]).unwrap();
    assert!(watched.status.success(), "{}", text(&watched.stderr));
    let shown = bench.json(&["job", "show", "1"]).unwrap();
    assert_eq!(
        shown["tasks"][0]["attempts"].as_array().unwrap().len(),
        1,
        "what would be the same again is not tried again"
    );
    let note = shown["tasks"][0]["problem"].as_str().unwrap();
    assert!(
        note.contains("'back\\slash' is kept as 'back%5Cslash'") && note.contains("'CON' is kept as '_CON'"),
        "{note}"
    );
    let saved = bench.fog(&["job", "result", "1", "-o", "out"]).unwrap();
    assert!(text(&saved.stderr).contains("back%5Cslash"), "{}", text(&saved.stderr));
    let files = tree(&bench.scratch().join("out"));
    let expected = [
        "-rf",
        ".hidden",
        "C%3Adrive",
        "Case",
        "_CON",
        "_nul.txt",
        "back%5Cslash",
        "café",
        "case-2",
        "end%20",
        "end%2E",
        "esc%1B[31m",
        "new%0Aline",
        "plain",
        "stderr.txt",
        "stdout.txt",
        "sub/_LPT1.log",
        "what%3F",
    ];
    assert_eq!(files.keys().map(String::as_str).collect::<Vec<_>>(), expected);
    assert_eq!(
        (text(&files["back%5Cslash"]), text(&files["case-2"])),
        ("back\\slash".to_owned(), "case".to_owned())
    );
    assert!(
        text(&saved.stdout).starts_with(&format!("{} files saved", files.len())),
        "{}",
        text(&saved.stdout)
    );

    let run = bench.json(&["run", &module, "--out", "run"]).unwrap();
    let mut left = tree(&bench.scratch().join("run"));
    assert_eq!(run["result_hash"], shown["tasks"][0]["result_hash"], "here and there it is one result");
    left.insert("stdout.txt".to_owned(), b"done\n".to_vec());
    left.insert("stderr.txt".to_owned(), Vec::new());
    assert_eq!(left, files);
    let said = bench.fog(&["run", &module, "--out", "run"]).unwrap();
    assert!(
        said.status.success() && text(&said.stderr).contains("'CON' is kept as '_CON'"),
        "{}",
        text(&said.stderr)
    );
}

#[test]
fn what_a_job_prints_and_the_files_it_leaves_do_not_take_each_others_names() {
    let bench = Bench::working().unwrap();
    let source = r#"
        #include <stdio.h>
        int main(void) {
            puts("printed"); fputs("complained\n", stderr);
            const char *names[] = {"stdout.txt", "STDERR.TXT", "result.txt", "empty"};
            for (int i = 0; i < 4; i++) { FILE *f = fopen(names[i], "w"); if (i < 3) fputs("a file", f); fclose(f); }
            return 0;
        }"#;
    let module = c(&bench, "both", source);
    job(&bench, &module, "[result]\nassemble = \"concat\"");
    assert!(bench.fog(&["submit", "job.toml", "--wait"]).unwrap().status.success());
    let saved = bench.fog(&["job", "result", "1", "-o", "out"]).unwrap();
    let files = tree(&bench.scratch().join("out"));
    let of = |name: &str| text(&files[name]);
    assert_eq!(
        (of("stdout.txt"), of("STDERR.TXT"), of("result.txt")),
        ("a file".to_owned(), "a file".to_owned(), "a file".to_owned())
    );
    assert_eq!(
        (of("stdout-2.txt"), of("stderr-2.txt"), of("result-2.txt")),
        ("printed\n".to_owned(), "complained\n".to_owned(), "printed\n".to_owned())
    );
    assert_eq!(files.len(), 7);
    assert!(text(&saved.stdout).starts_with("7 files saved"), "{}", text(&saved.stdout));
    // Saved again into the same folder, the files are the same.
    assert!(bench.fog(&["job", "result", "1", "-o", "out"]).unwrap().status.success());
    assert_eq!(tree(&bench.scratch().join("out")), files);
}

/// A program that prints as many bytes as its argument says, of all values.
const BYTES: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    static unsigned char block[65536];
    unsigned long left = strtoul(argv[1], 0, 10), s = 1;
    for (unsigned long i = 0; i < sizeof block; i++) { s = s * 1103515245 + 12345; block[i] = s >> 16; }
    while (left) {
        unsigned long n = left < sizeof block ? left : sizeof block;
        fwrite(block, 1, n, stdout); left -= n;
    }
    return 0;
}"#;

fn bytes(count: usize) -> Vec<u8> {
    // The same 32-bit generator as in the program above.
    let mut state: u32 = 1;
    let draw = |_| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        (state >> 16) as u8
    };
    let block: Vec<u8> = (0..65_536).map(draw).collect();
    let mut all = block.repeat(count / block.len() + 1);
    all.truncate(count);
    all
}

#[test]
fn much_binary_output_arrives_byte_for_byte() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "bytes", BYTES);
    const RUN: usize = 66 << 20;
    let run = bench.fog(&["run", &module, "--", &RUN.to_string()]).unwrap();
    assert!(run.status.success() && text(&run.stderr).is_empty(), "{}", text(&run.stderr));
    assert!(run.stdout == bytes(RUN), "{} bytes", run.stdout.len());

    const JOB: usize = 36 << 20;
    job(
        &bench,
        &module,
        &format!(
            "args = [\"{JOB}\"]\n[limits]\nlog = \"64MiB\"\n[map]\nrange = [0, 2]\n[result]\nassemble = \"concat\""
        ),
    );
    assert!(bench.fog(&["submit", "job.toml", "--wait"]).unwrap().status.success());
    let one = bytes(JOB);
    let logs = bench.fog(&["job", "logs", "1", "--task", "1"]).unwrap();
    assert!(logs.stdout == one, "{} bytes", logs.stdout.len());
    let whole = bench.fog(&["job", "result", "1"]).unwrap();
    assert!(whole.stdout == [one.as_slice(), one.as_slice()].concat(), "{} bytes", whole.stdout.len());
    assert!(bench.fog(&["job", "result", "1", "-o", "out"]).unwrap().status.success());
    assert!(std::fs::read(bench.scratch().join("out/result.txt")).unwrap() == whole.stdout);
    let full = into_full(&bench, &["job", "result", "1"]);
    assert_eq!(full.status.code(), Some(74));
    assert!(text(&full.stderr).contains("standard output cannot be written to"), "{}", text(&full.stderr));
}

#[test]
fn bytes_that_a_limit_dropped_are_told() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "bytes", BYTES);
    job(&bench, &module, "args = [\"3000\"]\n[limits]\nlog = 1000");
    let watched = bench.fog(&["submit", "job.toml", "--watch"]).unwrap();
    assert_eq!(watched.stdout, bytes(1000));
    for args in [&["job", "logs", "1"][..], &["job", "result", "1"], &["job", "result", "1", "-o", "out"]] {
        let output = bench.fog(args).unwrap();
        assert!(
            output.status.success() && text(&output.stderr).contains("2000"),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    let logs = bench.json(&["job", "logs", "1"]).unwrap();
    assert_eq!(logs["stdout_dropped"], 2000);
    assert!(logs["stdout_base64"].is_string() && logs["stdout"].is_string(), "{logs}");
    let kept = bench.json(&["run", &module, "--", "3000"]).unwrap();
    assert_eq!(kept["stdout_dropped"], 0);
    assert!(kept["stdout_base64"].is_string(), "text cannot hold these bytes");
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let bench = Bench::new().unwrap();
    let yes = c(&bench, "yes", "#include <stdio.h>\nint main(void) { for (;;) puts(\"y\"); }");
    let full = into_full(&bench, &["run", &yes]);
    assert_eq!(full.status.code(), Some(74));
    assert!(text(&full.stderr).contains("standard output cannot be written to"), "{}", text(&full.stderr));
    assert_eq!(into_full(&bench, &["completions", "bash"]).status.code(), Some(74));

    let child = bench
        .command(&["run", &yes])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Guarded(child);
    let mut line = [0; 2];
    let mut stdout = child.0.stdout.take().unwrap();
    stdout.read_exact(&mut line).unwrap();
    drop(stdout);
    assert_eq!(&line, b"y\n");
    let ended =
        wait_for("the end of the program", Duration::from_secs(10), || child.0.try_wait().unwrap()).unwrap();
    assert_eq!(ended.code(), Some(141));
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "", "it ends without a word");
}

#[test]
fn a_pipe_that_a_job_does_not_get_and_a_file_that_never_ends_are_told() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "hello", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }");
    let submitted = with_input(&bench, &["submit", &module, "--wait"], b"for nobody".to_vec());
    assert!(
        submitted.status.success() && text(&submitted.stderr).contains("--stdin - passes it on"),
        "{}",
        text(&submitted.stderr)
    );
    let sent = bench.fog(&["chat", "send", "--file", "/dev/zero"]).unwrap();
    assert!(
        !sent.status.success() && text(&sent.stderr).contains("it is a device"),
        "{}",
        text(&sent.stderr)
    );
}

/// A program that writes as many files as its argument says.
const FILES: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    char name[32];
    for (int i = 0; i < atoi(argv[1]); i++) { sprintf(name, "f%05d", i); FILE *f = fopen(name, "w"); if (!f) return 3; fputs(name, f); fclose(f); }
    return 0;
}"#;

#[test]
fn more_files_than_descriptors_are_kept() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "files", FILES);
    let pid = bench.pid().unwrap().to_string();
    must(Command::new("prlimit").args(["--pid", &pid, "--nofile=128:128"])).unwrap();
    let submitted = bench.fog(&["submit", &module, "--wait", "--", "1500"]).unwrap();
    assert!(submitted.status.success(), "{}", text(&submitted.stderr));
    let saved = bench.fog(&["job", "result", "1", "-o", "out"]).unwrap();
    assert!(
        text(&saved.stdout).starts_with("1502 files saved"),
        "{}{}",
        text(&saved.stdout),
        text(&saved.stderr)
    );
    assert_eq!(std::fs::read(bench.scratch().join("out/f01499")).unwrap(), b"f01499");
}

#[test]
fn twelve_thousand_files_are_a_result() {
    let bench = Bench::working().unwrap();
    let module = c(&bench, "files", FILES);
    let submitted = bench.fog(&["submit", &module, "--out", "out", "--", "12000"]).unwrap();
    assert!(submitted.status.success(), "{}", text(&submitted.stderr));
    assert_eq!(std::fs::read_dir(bench.scratch().join("out")).unwrap().count(), 12_000);
}

/// A program that prints the length of its input and copies its standard input.
const READS: &str = r#"
#include <stdio.h>
int main(void) {
    int c; long n = 0;
    FILE *f = fopen("/in/x", "rb");
    if (f) { while (getc(f) != EOF) n++; printf("%ld\n", n); }
    while ((c = getchar()) != EOF) putchar(c);
    return 0;
}"#;

fn fifo(path: &Path) {
    must(Command::new("mkfifo").arg(path)).unwrap();
}

#[test]
fn inputs_are_read_to_their_end_whatever_they_are() {
    let bench = Bench::new().unwrap();
    let module = c(&bench, "reads", READS);
    let run = |args: &[&str]| bench.fog(&[&["run", module.as_str()], args].concat()).unwrap();
    let status = run(&["--input", "x=/proc/self/status"]);
    assert!(text(&status.stdout).trim().parse::<u64>().unwrap() > 100, "a length of 0 is not believed");
    let piped = bench.scratch().join("piped");
    fifo(&piped);
    let to = piped.clone();
    let writer = std::thread::spawn(move || std::fs::write(to, vec![7; 300_000]).unwrap());
    assert_eq!(text(&run(&["--input", "x=piped"]).stdout), "300000\n");
    writer.join().unwrap();
    let raw =
        bench.scratch().join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"raw-\xff"));
    std::fs::write(&raw, "raw").unwrap();
    let mut command = bench.command(&["run", &module, "--stdin"]);
    assert_eq!(text(&command.arg(&raw).output().unwrap().stdout), "raw");
    for (given, word) in [("/dev/zero", "more than 16"), (".", "is a folder")] {
        for args in [["--input".to_owned(), format!("x={given}")], ["--stdin".to_owned(), given.to_owned()]] {
            let refused = run(&[&args[0], &args[1]]);
            assert!(
                !refused.status.success() && text(&refused.stderr).contains(word),
                "{args:?}: {}",
                text(&refused.stderr)
            );
        }
    }
    assert!(!bench.fog(&["run", "/dev/zero"]).unwrap().status.success());
    assert!(!bench.fog(&["run", "--from", "/dev/zero"]).unwrap().status.success());
    for name in ["NUL", "C:x", "a\\b", "end."] {
        let refused = run(&["--input", &format!("{name}=/dev/null")]);
        assert_eq!(refused.status.code(), Some(65), "{name}");
    }

    let given = with_input(&bench, &["run", &module, "--stdin", "-"], bytes(3 << 20));
    assert!(given.status.success() && given.stdout == bytes(3 << 20), "{} bytes", given.stdout.len());
    let ignored = with_input(&bench, &["run", &module], b"hello".to_vec());
    assert_eq!(text(&ignored.stdout), "");
    assert!(text(&ignored.stderr).contains("--stdin -"), "{}", text(&ignored.stderr));
    assert_eq!(text(&run(&[]).stderr), "", "nothing waits there");
}

#[test]
fn a_pipe_in_a_job_file_is_refused_at_once() {
    let mut bench = Bench::new().unwrap();
    bench.start().unwrap();
    let module = c(&bench, "reads", READS);
    let piped = bench.scratch().join("piped");
    fifo(&piped);
    for more in [
        "stdin = \"piped\"",
        "[inputs]\nx = \"piped\"",
        "[map]\ninputs = [\"piped\"]",
        "[inputs]\nx = \"/dev/zero\"",
        "[inputs]\nx = \".\"",
    ] {
        job(&bench, &module, more);
        let refused = bench.fog(&["submit", "job.toml"]).unwrap();
        assert!(
            !refused.status.success() && text(&refused.stderr).contains("a file is needed"),
            "{more}: {}",
            text(&refused.stderr)
        );
    }
    job(&bench, piped.to_str().unwrap(), "");
    assert!(!bench.fog(&["submit", "job.toml"]).unwrap().status.success());
    assert!(text(&bench.fog(&["submit", "piped"]).unwrap().stderr).contains("a pipe"));
    // A pipe that is named on the command line is read.
    let to = piped.clone();
    let writer = std::thread::spawn(move || std::fs::write(to, vec![7; 70_000]).unwrap());
    let taken = bench.fog(&["submit", &module, "--input", "x=piped"]).unwrap();
    assert!(taken.status.success(), "{}", text(&taken.stderr));
    writer.join().unwrap();
    let spec = bench.json(&["job", "show", "1"]).unwrap();
    assert!(spec["spec"]["inputs"]["x"].is_string());
}

#[test]
fn only_files_are_replaced() {
    let bench = Bench::new().unwrap();
    let module = c(&bench, "yes", "int main(void) { for (volatile long long i = 0;; i++); }");
    let run = |to: &str| {
        bench.fog(&["run", &module, "--checkpoint", to, "--every", "0.2", "--wall", "2s"]).unwrap()
    };
    let scratch = |name: &str| bench.scratch().join(name);
    fifo(&scratch("piped"));
    std::os::unix::fs::symlink("/dev/full", scratch("to-device")).unwrap();
    for target in ["/dev/full", "piped", "to-device", "."] {
        let refused = run(target);
        assert_eq!(refused.status.code(), Some(65), "{target}: {}", text(&refused.stderr));
    }
    assert!(std::fs::symlink_metadata(scratch("to-device")).unwrap().is_symlink());
    assert!(!std::fs::symlink_metadata("/dev/full").unwrap().is_file());
    std::fs::create_dir(scratch("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere/real.fog", scratch("link.fog")).unwrap();
    assert_eq!(run("link.fog").status.code(), Some(124));
    assert!(std::fs::symlink_metadata(scratch("link.fog")).unwrap().is_symlink(), "the link stays");
    assert!(std::fs::metadata(scratch("elsewhere/real.fog")).unwrap().is_file());
    // Applies to files of a result, too.
    let files = c(&bench, "files", FILES);
    std::fs::create_dir(scratch("out")).unwrap();
    fifo(&scratch("out/f00000"));
    let refused = bench.fog(&["run", &files, "--out", "out", "--", "1"]).unwrap();
    assert_eq!(refused.status.code(), Some(74));
    assert!(text(&refused.stderr).contains("a pipe"), "{}", text(&refused.stderr));
}

#[test]
fn a_submitted_program_is_the_one_that_is_run() {
    let bench = Bench::working().unwrap();
    let source = r#"
        #include <stdio.h>
        #include <stdlib.h>
        int main(int argc, char **argv) {
            for (int i = 0; i < argc; i++) puts(argv[i]);
            puts(getenv("MODE"));
            int c; FILE *in = fopen("/in/data.csv", "r"), *out = fopen("out.txt", "w");
            while ((c = getc(in)) != EOF) putc(c, out);
            while ((c = getchar()) != EOF) putchar(c);
            fclose(out);
            return 0;
        }"#;
    let module = c(&bench, "tool", source);
    std::fs::write(bench.scratch().join("data.csv"), "1,2\n").unwrap();
    let options = |out: &'static str| {
        let words = [
            "--input",
            "data.csv=data.csv",
            "--env",
            "MODE=fast",
            "--env",
            "A=b",
            "--stdin",
            "-",
            "--seed",
            "3",
            "--memory",
            "16",
            "--units",
            "5000000000",
        ];
        let more =
            ["--wall", "1min", "--disk", "1MiB", "--arg", "-x", "--out", out, "--", "--fast", "a \"b\" 'c'"];
        [&words[..], &more].concat()
    };
    let run =
        with_input(&bench, &[&["run", module.as_str()], &options("run")[..]].concat(), b"typed\n".to_vec());
    assert_eq!(text(&run.stdout), "tool\n-x\n--fast\na \"b\" 'c'\nfast\ntyped\n", "{}", text(&run.stderr));
    let submitted = with_input(
        &bench,
        &[&["submit", module.as_str(), "--watch"], &options("job")[..]].concat(),
        b"typed\n".to_vec(),
    );
    assert_eq!(text(&submitted.stdout), text(&run.stdout), "{}", text(&submitted.stderr));
    assert_eq!(tree(&bench.scratch().join("job")), tree(&bench.scratch().join("run")));
    let told = with_input(
        &bench,
        &[&["--json", "run", module.as_str()], &options("run")[..]].concat(),
        b"typed\n".to_vec(),
    );
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let shown = bench.json(&["job", "show", "1"]).unwrap();
    assert_eq!(
        (&shown["tasks"][0]["units"], &shown["tasks"][0]["result_hash"]),
        (&told["units"], &told["result_hash"])
    );
    // Options that a job file contains itself are refused beside it.
    job(&bench, &module, "");
    let twice = bench.fog(&["submit", "job.toml", "--", "x"]).unwrap();
    assert!(
        !twice.status.success() && text(&twice.stderr).contains("Nothing was submitted"),
        "{}",
        text(&twice.stderr)
    );
    let path: PathBuf = bench.scratch().join("a:b");
    assert_eq!(
        bench.fog(&["submit", &module, "--input", &format!("a:b={}", path.display())]).unwrap().status.code(),
        Some(65)
    );
}
