//! WASI file semantics, tested by modules that make the calls one after the other: rights, links, paths,
//! times and listings. `docs/wasi.md` describes them.
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fmt::Write as _;
use std::time::Duration;

use fog_runtime::{
    Control, EngineKind, LeftOutReason, Observer, Order, Outcome, OutputFile, Report, Taken, TaskSpec,
    compile, run,
};
use fog_types::{ByteCount, Limits, Percent};

const BADF: u32 = 8;
const EXIST: u32 = 20;
const INVAL: u32 = 28;
const ISDIR: u32 = 31;
const LOOP: u32 = 32;
const NAMETOOLONG: u32 = 37;
const NOENT: u32 = 44;
const NOTDIR: u32 = 54;
const NOTEMPTY: u32 = 55;
const NOTSOCK: u32 = 57;
const PERM: u32 = 63;
const ROFS: u32 = 69;
const XDEV: u32 = 75;
const NOTCAPABLE: u32 = 76;

const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCLUSIVE: u32 = 4;
const TRUNCATE: u32 = 8;
const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const SEEK: u64 = 1 << 2;
const SET_SIZE_BY_PATH: u64 = 1 << 19;
const FOLLOW: u32 = 1;
const ROOT: &str = "(i32.const 3)";

/// Addresses of answers and of texts.
const OUT: u32 = 64;
const TEXTS: u32 = 4096;

/// Builder of a module that makes calls with expected results, one after the other. It exits with the
/// number of the first step that fails.
#[derive(Default)]
struct Script {
    texts: String,
    used: u32,
    body: String,
    steps: u32,
    fds: u32,
}

const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_remove_directory" (func $path_remove_directory (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_unlink_file" (func $path_unlink_file (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_link" (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_readlink" (func $path_readlink (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_rename" (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_filestat_get" (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_filestat_set_times" (func $path_filestat_set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_tell" (func $fd_tell (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_allocate" (func $fd_allocate (param i32 i64 i64) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_fdstat_set_rights" (func $fd_fdstat_set_rights (param i32 i64 i64) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $fd_filestat_set_size (param i32 i64) (result i32)))
    (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $fd_filestat_set_times (param i32 i64 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
    (memory (export "memory") 2)
"#;

impl Script {
    /// Puts a text into memory; returns its address and length as two arguments.
    fn text(&mut self, text: &str) -> String {
        let at = TEXTS + self.used;
        self.used += text.len() as u32;
        let escaped = text.bytes().fold(String::new(), |mut all, byte| {
            write!(all, "\\{byte:02x}").unwrap();
            all
        });
        writeln!(self.texts, "(data (i32.const {at}) \"{escaped}\")").unwrap();
        format!("(i32.const {at}) (i32.const {})", text.len())
    }

    fn check(&mut self, expression: &str) -> &mut Self {
        self.steps += 1;
        writeln!(self.body, "(if (i32.eqz {expression}) (then (call $exit (i32.const {}))))", self.steps)
            .unwrap();
        self
    }

    fn call(&mut self, call: &str, errno: u32) -> &mut Self {
        self.check(&format!("(i32.eq (call ${call}) (i32.const {errno}))"))
    }

    /// Adds a call of the form `name fd, path`.
    fn path(&mut self, name: &str, fd: &str, path: &str, errno: u32) -> &mut Self {
        let text = self.text(path);
        self.call(&format!("{name} {fd} {text}"), errno)
    }

    fn mkdir(&mut self, path: &str) -> &mut Self {
        self.path("path_create_directory", ROOT, path, 0)
    }

    fn unlink(&mut self, path: &str, errno: u32) -> &mut Self {
        self.path("path_unlink_file", ROOT, path, errno)
    }

    fn symlink(&mut self, says: &str, path: &str, errno: u32) -> &mut Self {
        let (says, path) = (self.text(says), self.text(path));
        self.call(&format!("path_symlink {says} {ROOT} {path}"), errno)
    }

    fn link(&mut self, flags: u32, from: &str, to: &str, errno: u32) -> &mut Self {
        let (from, to) = (self.text(from), self.text(to));
        self.call(&format!("path_link {ROOT} (i32.const {flags}) {from} {ROOT} {to}"), errno)
    }

    fn rename(&mut self, from: &str, to: &str, errno: u32) -> &mut Self {
        let (from, to) = (self.text(from), self.text(to));
        self.call(&format!("path_rename {ROOT} {from} {ROOT} {to}"), errno)
    }

    /// Opens a path; the descriptor is kept, and returned as an expression.
    fn open_in(
        &mut self,
        base: &str,
        flags: u32,
        path: &str,
        oflags: u32,
        rights: u64,
        errno: u32,
    ) -> String {
        let (text, at) = (self.text(path), 1024 + 4 * self.fds);
        self.fds += 1;
        self.call(
            &format!("path_open {base} (i32.const {flags}) {text} (i32.const {oflags}) (i64.const {rights}) (i64.const -1) (i32.const 0) (i32.const {at})"),
            errno,
        );
        format!("(i32.load (i32.const {at}))")
    }

    fn open(&mut self, flags: u32, path: &str, oflags: u32, rights: u64, errno: u32) -> String {
        self.open_in(ROOT, flags, path, oflags, rights, errno)
    }

    fn create(&mut self, path: &str) -> &mut Self {
        let fd = self.open(0, path, CREATE, 0, 0);
        self.call(&format!("fd_close {fd}"), 0)
    }

    /// Checks the type of a file.
    fn kind(&mut self, flags: u32, path: &str, kind: u32) -> &mut Self {
        let text = self.text(path);
        self.call(&format!("path_filestat_get {ROOT} (i32.const {flags}) {text} (i32.const {OUT})"), 0);
        self.check(&format!("(i32.eq (i32.load8_u (i32.const {})) (i32.const {kind}))", OUT + 16))
    }

    fn set_times(&mut self, flags: u32, path: &str, fst: u32, errno: u32) -> &mut Self {
        let text = self.text(path);
        self.call(&format!("path_filestat_set_times {ROOT} (i32.const {flags}) {text} (i64.const 11) (i64.const 22) (i32.const {fst})"), errno)
    }

    /// Checks a 64-bit number in the answer.
    fn word(&mut self, at: u32, value: u64) -> &mut Self {
        self.check(&format!("(i64.eq (i64.load (i32.const {})) (i64.const {value}))", OUT + at))
    }

    /// Checks some bits of a descriptor's rights.
    fn rights(&mut self, fd: &str, mask: u64, value: u64) -> &mut Self {
        self.call(&format!("fd_fdstat_get {fd} (i32.const {OUT})"), 0);
        self.check(&format!(
            "(i64.eq (i64.and (i64.load (i32.const {})) (i64.const {mask})) (i64.const {value}))",
            OUT + 8
        ))
    }

    fn module(&self) -> String {
        format!("(module {IMPORTS} {} (func (export \"_start\") {}))", self.texts, self.body)
    }

    /// Runs the module; every step must have the expected result.
    fn run(&self) -> Ran {
        let ran = execute(&self.module(), Limits::default());
        assert_eq!(
            ran.report.outcome,
            Outcome::Exited(0),
            "the number of the step: {:?}",
            self.body.lines().nth(failed(&ran.report))
        );
        ran
    }
}

fn failed(report: &Report) -> usize {
    if let Outcome::Exited(step) = report.outcome { (step as usize).saturating_sub(1) } else { usize::MAX }
}

struct Nobody;

impl Observer for Nobody {
    fn output(&mut self, _stderr: bool, _bytes: &[u8]) {}
    fn progress(&mut self, _permille: u16) {}
}

impl Control for Nobody {
    fn safe_point(&mut self, _worked: Duration, _units: u64) -> Order {
        Order::Go
    }
    fn save(&mut self, _taken: Result<Taken<'_>, String>) {}
}

struct Ran {
    report: Report,
    files: Vec<OutputFile>,
}

fn execute(wat: &str, limits: Limits) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let artifact = folder.path().join("module.cwasm");
    std::fs::write(&artifact, compile(&wat::parse_str(wat).unwrap(), EngineKind::Compiled).unwrap()).unwrap();
    let spec = TaskSpec {
        artifact,
        engine: EngineKind::Compiled,
        program: "test".to_owned(),
        args: Vec::new(),
        env: Vec::new(),
        stdin: None,
        inputs: Vec::new(),
        limits,
        seed: 0,
        duty: Percent::FULL,
        segments: None,
    };
    let (report, files) = run(&spec, None, Box::new(Nobody), Box::new(Nobody), || {}).unwrap();
    Ran { report, files }
}

#[test]
fn symbolic_links_lead_to_files_and_folders() {
    let mut s = Script::default();
    s.create("file").mkdir("dir").symlink("file", "to-file", 0).symlink("dir", "to-dir", 0);
    s.kind(0, "to-file", 7)
        .kind(FOLLOW, "to-file", 4)
        .kind(0, "to-dir", 7)
        .kind(FOLLOW, "to-dir", 3)
        .kind(0, "to-dir/", 3);
    s.open(FOLLOW, "to-file", 0, READ, 0);
    s.open(FOLLOW, "to-dir", DIRECTORY, 0, 0);
    s.open(FOLLOW, "to-file", DIRECTORY, 0, NOTDIR);
    s.open(0, "to-dir/new", CREATE, WRITE, 0);
    s.kind(0, "dir/new", 4);
    s.symlink("/", "absolute", PERM)
        .symlink("", "empty", NOENT)
        .symlink("x", "file", EXIST)
        .symlink("x", "dir/", EXIST);
    s.symlink("x", "none/", NOENT).symlink("x", "file/", NOTDIR);
    s.symlink("nowhere", "dangling", 0);
    s.open(FOLLOW, "dangling", 0, READ, NOENT);
    s.open(FOLLOW, "dangling", CREATE | EXCLUSIVE, WRITE, EXIST);
    s.open(FOLLOW, "dangling", CREATE, WRITE, 0);
    s.kind(0, "nowhere", 4);
    s.unlink("to-file", 0).unlink("to-dir", 0).kind(0, "file", 4).kind(0, "dir", 3);
    let ran = s.run();
    assert_eq!(
        ran.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        ["dir/new", "file", "nowhere"]
    );
    assert_eq!(
        ran.report.left_out.files.iter().map(|file| (file.path.as_str(), file.reason)).collect::<Vec<_>>(),
        [("dangling", LeftOutReason::Link)]
    );
}

#[test]
fn links_that_are_not_to_be_followed_are_not() {
    let mut s = Script::default();
    s.mkdir("target").symlink("target", "link", 0);
    s.open(0, "link", DIRECTORY, 0, LOOP);
    s.open(0, "link", 0, 0, LOOP);
    s.symlink("self", "self", 0).symlink("there", "here", 0).symlink("here", "there", 0);
    s.open(0, "self", 0, 0, LOOP);
    s.open(FOLLOW, "self", 0, 0, LOOP);
    s.open(FOLLOW, "here/x", 0, 0, LOOP);
    s.path("path_remove_directory", ROOT, "link", NOTDIR)
        .path("path_remove_directory", ROOT, "link/", NOTDIR)
        .unlink("link/", NOTDIR);
    s.run();
}

#[test]
fn a_link_is_read_as_far_as_there_is_room() {
    let mut s = Script::default();
    s.symlink("a/target", "link", 0).create("file");
    let link = s.text("link");
    s.call(&format!("path_readlink {ROOT} {link} (i32.const 512) (i32.const 100) (i32.const {OUT})"), 0)
        .word(0, 8);
    s.check(&format!("(i64.eq (i64.load (i32.const 512)) (i64.const {}))", u64::from_le_bytes(*b"a/target")));
    s.check("(i64.eqz (i64.load (i32.const 520)))");
    s.call(&format!("path_readlink {ROOT} {link} (i32.const 600) (i32.const 4) (i32.const {OUT})"), 0)
        .word(0, 4);
    s.check(&format!("(i64.eq (i64.load (i32.const 600)) (i64.const {}))", u32::from_le_bytes(*b"a/ta")));
    let file = s.text("file");
    s.call(&format!("path_readlink {ROOT} {file} (i32.const 600) (i32.const 4) (i32.const {OUT})"), INVAL);
    s.run();
}

#[test]
fn two_names_are_one_file() {
    let mut s = Script::default();
    s.mkdir("dir").create("file").link(0, "file", "dir/second", 0);
    let (one, two) = (s.open(0, "file", 0, READ, 0), s.open(0, "dir/second", 0, READ, 0));
    for fd in [&one, &two] {
        s.call(&format!("fd_filestat_get {fd} (i32.const {OUT})"), 0).word(24, 2);
        s.check(&format!("(i64.ne (i64.load (i32.const {})) (i64.const 0))", OUT + 8));
        writeln!(
            s.body,
            "(i64.store (i32.const {}) (i64.load (i32.const {})))",
            512 + s.steps % 2 * 8,
            OUT + 8
        )
        .unwrap();
    }
    s.check("(i64.eq (i64.load (i32.const 512)) (i64.load (i32.const 520)))");
    s.link(0, "file", "file", EXIST)
        .link(0, "file", "dir", EXIST)
        .link(0, "dir", "again", PERM)
        .link(0, "file", "none/", NOENT);
    s.link(0, "nothing", "x", NOENT).link(0, "dev/null", "null", XDEV).link(0, "file", "in/x", ROFS);
    s.symlink("nowhere", "dangling", 0).link(0, "dangling", "dangling-too", 0).kind(0, "dangling-too", 7);
    s.link(FOLLOW, "dangling", "x", NOENT).link(0, "file", "dangling", EXIST);
    s.unlink("file", 0).kind(0, "dir/second", 4).word(24, 1);
    s.run();
}

#[test]
fn rights_that_were_given_up_are_gone() {
    let mut s = Script::default();
    let fd = s.open(0, "file", CREATE, READ | WRITE | SEEK, 0);
    let (write, read) = (
        format!("fd_write {fd} (i32.const 32) (i32.const 1) (i32.const {OUT})"),
        format!("fd_read {fd} (i32.const 32) (i32.const 1) (i32.const {OUT})"),
    );
    s.body.push_str("(i32.store (i32.const 36) (i32.const 4))");
    s.call(&write, 0).rights(&fd, READ | WRITE | SEEK, READ | WRITE | SEEK);
    s.call(&format!("fd_fdstat_set_rights {fd} (i64.const {SEEK}) (i64.const 0)"), 0).rights(
        &fd,
        u64::MAX,
        SEEK,
    );
    s.call(&read, BADF).call(&write, BADF);
    s.call(&format!("fd_fdstat_set_rights {fd} (i64.const {}) (i64.const 0)", SEEK | READ), NOTCAPABLE);
    s.call(&format!("fd_filestat_get {fd} (i32.const {OUT})"), NOTCAPABLE);
    // The rights of a folder limit those of everything opened through it.
    s.mkdir("dir").create("dir/file");
    let dir = s.open(0, "dir", DIRECTORY, 0, 0);
    s.call(
        &format!(
            "fd_fdstat_set_rights {dir} (i64.const {}) (i64.const {})",
            (1 << 13) | (1 << 18),
            READ | SEEK
        ),
        0,
    );
    s.open_in(&dir, 0, "file", 0, READ, 0);
    s.open_in(&dir, 0, "file", 0, WRITE, NOTCAPABLE);
    s.open_in(&dir, 0, "new", CREATE, READ, NOTCAPABLE);
    s.path("path_unlink_file", &dir, "file", NOTCAPABLE).path("path_create_directory", &dir, "x", NOTCAPABLE);
    s.run();
}

#[test]
fn truncating_takes_the_folders_right_to_set_sizes() {
    let mut s = Script::default();
    s.mkdir("dir").create("dir/file");
    let dir = s.open(0, "dir", DIRECTORY, 0, 0);
    s.rights(&dir, SET_SIZE_BY_PATH | 1 << 22, SET_SIZE_BY_PATH);
    let fd = s.open_in(&dir, 0, "file", 0, READ | WRITE, 0);
    s.call(&format!("fd_filestat_set_size {fd} (i64.const 100)"), 0);
    s.open_in(&dir, 0, "file", TRUNCATE, 0, 0);
    s.call(&format!("fd_filestat_get {fd} (i32.const {OUT})"), 0).word(32, 0);
    s.call(&format!("fd_fdstat_set_rights {dir} (i64.const {}) (i64.const {READ})", 1 << 13), 0);
    s.open_in(&dir, 0, "file", TRUNCATE, 0, NOTCAPABLE);
    s.run();
}

#[test]
fn a_folder_is_no_file() {
    let mut s = Script::default();
    s.mkdir("dir");
    s.open(0, "dir", 0, READ | WRITE, ISDIR);
    s.open(0, "dir", DIRECTORY, WRITE, ISDIR);
    s.open(0, "dir", TRUNCATE, 0, ISDIR);
    s.open(0, "dir", CREATE, 0, ISDIR);
    s.open(0, ".", 0, READ | WRITE, ISDIR);
    let dir = s.open(0, "dir", DIRECTORY, READ | SEEK, 0);
    s.rights(&dir, READ | WRITE | SEEK, 0);
    for whence in 0..3 {
        s.call(&format!("fd_seek {dir} (i64.const 0) (i32.const {whence}) (i32.const {OUT})"), BADF);
    }
    s.call(&format!("fd_tell {dir} (i32.const {OUT})"), BADF);
    s.call(&format!("fd_read {dir} (i32.const 32) (i32.const 1) (i32.const {OUT})"), ISDIR);
    s.call(&format!("fd_write {dir} (i32.const 32) (i32.const 1) (i32.const {OUT})"), ISDIR);
    s.call(&format!("fd_allocate {dir} (i64.const 0) (i64.const 1)"), ISDIR);
    s.call(&format!("fd_filestat_set_size {dir} (i64.const 0)"), ISDIR);
    s.call(&format!("fd_prestat_dir_name {ROOT} (i32.const {OUT}) (i32.const 0)"), NAMETOOLONG);
    s.call(&format!("fd_prestat_dir_name {ROOT} (i32.const {OUT}) (i32.const 2)"), 0);
    s.run();
}

#[test]
fn the_root_has_the_rights_that_libraries_look_for_and_can_be_opened_with_them() {
    let mut s = Script::default();
    let set = |bits: &[u32]| bits.iter().fold(0_u64, |all, bit| all | 1 << bit);
    let (all, inheriting) = (
        set(&[9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 23, 24, 25, 26]),
        set(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 21, 22, 23, 27]),
    );
    s.rights(ROOT, all, all).rights(ROOT, READ | WRITE | SEEK | 1 << 22, 0);
    s.check(&format!(
        "(i64.eq (i64.and (i64.load (i32.const {})) (i64.const {inheriting})) (i64.const {inheriting}))",
        OUT + 16
    ));
    let text = s.text(".");
    s.call(
        &format!(
            "path_open {ROOT} (i32.const 0) {text} (i32.const 0) (i64.load (i32.const {})) (i64.load (i32.const {})) (i32.const 0) (i32.const 1000)",
            OUT + 8,
            OUT + 16
        ),
        0,
    );
    s.open(0, ".", DIRECTORY, READ, 0);
    s.open(0, ".", 0, 0, 0);
    s.run();
}

#[test]
fn times_are_set_as_asked_or_refused() {
    let mut s = Script::default();
    s.create("file").symlink("file", "link", 0);
    s.set_times(0, "file", 0b1100, INVAL)
        .set_times(0, "file", 0b11, INVAL)
        .set_times(0, "file", 0b1_0000, INVAL);
    s.set_times(0, "file", 0b100, 0).kind(0, "file", 4).word(48, 22);
    s.check(&format!("(i64.gt_u (i64.load (i32.const {})) (i64.const 1577836800000000000))", OUT + 40));
    s.set_times(0, "file", 0b1, 0).kind(0, "file", 4).word(40, 11).word(48, 22);
    s.set_times(0, "link", 0b101, 0).kind(0, "link", 7).word(40, 11).word(48, 22);
    s.set_times(0, "file", 0b1010, 0).kind(FOLLOW, "link", 4);
    s.check(&format!("(i64.gt_u (i64.load (i32.const {})) (i64.const 1577836800000000000))", OUT + 48));
    s.set_times(FOLLOW, "link", 0b100, 0).kind(0, "file", 4).word(48, 22);
    let fd = s.open(0, "file", 0, READ | WRITE, 0);
    for flags in 0..17 {
        let is_fine = flags & 0b11 != 0b11 && flags & 0b1100 != 0b1100 && flags < 16;
        s.call(
            &format!(
                "fd_filestat_set_times {fd} (i64.const 1) (i64.const 1000000000000000000) (i32.const {flags})"
            ),
            if is_fine { 0 } else { INVAL },
        );
    }
    s.call(&format!("fd_filestat_set_size {fd} (i64.const 100)"), 0);
    s.call(
        &format!("fd_filestat_set_times {fd} (i64.const 0) (i64.const 1000000000000000000) (i32.const 4)"),
        0,
    );
    s.call(&format!("fd_filestat_get {fd} (i32.const {OUT})"), 0)
        .word(32, 100)
        .word(48, 1_000_000_000_000_000_000);
    s.set_times(0, "dev/null", 0b100, ROFS);
    s.run();
}

#[test]
fn paths_stay_where_they_were_opened() {
    let mut s = Script::default();
    s.mkdir("dir").mkdir("dir/nested").create("dir/nested/file");
    s.open(0, "dir/.//nested/../../dir/nested/../nested///./file", 0, 0, 0);
    s.open(0, "/dir/nested/file", 0, 0, PERM);
    s.open(0, "dir/nested/file\0", 0, 0, INVAL);
    s.open(0, "dir/nested/file/", 0, 0, NOTDIR);
    s.open(0, "dir/nested/file///", 0, 0, NOTDIR);
    s.open(0, "dir/nested/file/.", 0, 0, NOTDIR);
    s.open(0, "dir/nested///", 0, 0, 0);
    s.open(0, "", 0, 0, NOENT);
    s.open(0, "../../dir", 0, 0, 0);
    let dir = s.open(0, "dir", DIRECTORY, 0, 0);
    s.open_in(&dir, 0, "nested/../nested/file", 0, 0, 0);
    s.open_in(&dir, 0, "nested/../../dir/nested/file", 0, 0, PERM);
    s.symlink("../../dev", "dir/out", 0);
    s.open(FOLLOW, "dir/out/null", 0, 0, 0);
    s.open_in(&dir, FOLLOW, "out/null", 0, 0, PERM);
    s.rename("dir/nested/file", "file/", NOTDIR)
        .rename("dir/nested/file", "none/", NOTDIR)
        .rename("dir", "moved/", 0);
    s.rename("moved", "moved/nested/x", INVAL).rename("moved", "in", ROFS).rename("tmp", "x", 10);
    s.path("path_remove_directory", ROOT, "moved", NOTEMPTY);
    s.run();
}

#[test]
fn there_are_no_sockets() {
    let mut s = Script::default();
    s.create("file");
    let fd = s.open(0, "file", 0, READ, 0);
    s.call(&format!("sock_shutdown {fd} (i32.const 1)"), NOTSOCK)
        .call("sock_shutdown (i32.const 900) (i32.const 1)", BADF);
    s.run();
}

#[test]
fn standard_streams_are_no_terminals() {
    let mut s = Script::default();
    for fd in 0..3 {
        s.call(&format!("fd_fdstat_get (i32.const {fd}) (i32.const {OUT})"), 0);
        // A C library takes a character device that cannot seek for a terminal.
        let (is_character, can_seek) = (
            format!("(i32.eq (i32.load8_u (i32.const {OUT})) (i32.const 2))"),
            format!("(i32.and (i32.load (i32.const {})) (i32.const 36))", OUT + 8),
        );
        s.check(&format!("(i32.eqz (i32.and {is_character} (i32.eqz {can_seek})))"));
    }
    s.run();
}

#[test]
fn there_is_a_folder_for_what_is_not_kept() {
    let mut s = Script::default();
    s.kind(0, "tmp", 3)
        .create("tmp/scratch")
        .create("kept")
        .rename("tmp/scratch", "moved", 0)
        .create("tmp/scratch");
    s.path("path_remove_directory", ROOT, "tmp", NOTEMPTY).unlink("tmp/scratch", 0).path(
        "path_remove_directory",
        ROOT,
        "tmp",
        10,
    );
    s.create("tmp/again");
    assert_eq!(s.run().files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["kept", "moved"]);
}

#[test]
fn a_name_that_some_systems_cannot_hold_reaches_who_keeps_the_result() {
    let mut s = Script::default();
    s.create("a\\b").create("good");
    let ran = s.run();
    assert_eq!(ran.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a\\b", "good"]);
    assert_eq!(ran.report.left_out.count, 0);
}

/// An expensive call costs many units; otherwise a job could repeat it for ever between two checks of its
/// limits.
#[test]
fn calls_are_paid_for_by_their_work() {
    let units = |before: &dyn Fn(&mut Script), work: &dyn Fn(&mut Script)| {
        let measure = |with: bool| {
            let mut s = Script::default();
            before(&mut s);
            if with {
                work(&mut s);
            }
            s.run().report.units.0
        };
        measure(true) - measure(false)
    };
    let open = |s: &mut Script| _ = s.open(0, "file", CREATE, READ | WRITE, 0);
    let fd = "(i32.load (i32.const 1024))";
    let size = |bytes: u64| {
        units(&open, &|s| _ = s.call(&format!("fd_filestat_set_size {fd} (i64.const {bytes})"), 0))
    };
    assert!(size(200 << 20) > size(0) + 100_000, "{} and {}", size(200 << 20), size(0));
    let allocate = units(&open, &|s| {
        _ = s.call(&format!("fd_allocate {fd} (i64.const 0) (i64.const {})", 200 << 20), 0)
    });
    assert!(allocate > 100_000, "{allocate}");
    let path = |parts: usize| units(&|_| {}, &|s| _ = s.open(0, &"./in/../".repeat(parts), 0, 0, 0));
    assert!(path(400) > path(1) + 40_000, "{} and {}", path(400), path(1));
    let wide = |s: &mut Script| (0..200).for_each(|number| _ = s.create(&format!("{number}")));
    let list = |cookie: u64| {
        units(&wide, &|s| {
            s.body.push_str(&format!("(drop (call $fd_readdir {ROOT} (i32.const 70000) (i32.const 50000) (i64.const {cookie}) (i32.const {OUT})))"));
        })
    };
    assert!(list(0) > list(200) + 9_000, "{} and {}", list(0), list(200));
}

/// The same work costs the same units everywhere, because they are part of a result's identity.
#[test]
fn units_of_calls_are_the_same_every_time() {
    let mut s = Script::default();
    s.create("file")
        .mkdir("dir")
        .symlink("dir/../file", "link", 0)
        .kind(FOLLOW, "link", 4)
        .rename("dir", "other", 0)
        .unlink("file", 0);
    assert_eq!(s.run().report.units, s.run().report.units);
}

/// Twelve times the disk quota, a short time each.
#[test]
fn a_disk_that_is_emptied_again_takes_no_more_than_its_quota() {
    let mut s = Script::default();
    for number in 0..12 {
        let fd = s.open(0, &format!("f{number}"), CREATE, WRITE, 0);
        s.call(&format!("fd_filestat_set_size {fd} (i64.const {})", 250 << 20), 0)
            .call(&format!("fd_filestat_set_size {fd} (i64.const 0)"), 0);
    }
    let ran = execute(&s.module(), Limits { disk: ByteCount::mib(256), ..Limits::default() });
    assert_eq!(ran.report.outcome, Outcome::Exited(0));
    assert_eq!(ran.files.len(), 12);
}
