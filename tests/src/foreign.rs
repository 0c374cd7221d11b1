//! Third-party programs from Debian's source packages, built natively and for WASI.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Runs a program that must succeed; returns its output.
///
/// # Errors
/// When the program fails or is missing.
pub fn must(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}; `cargo xtask setup` installs it"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// Fetches a source package of Debian and unpacks it below `folder`.
///
/// # Errors
/// When the system is not Debian, or the package cannot be fetched.
pub fn source(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let lists = folder.join("lists");
    std::fs::create_dir_all(lists.join("partial"))?;
    let release = std::fs::read_to_string("/etc/os-release")?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("this is not Debian")?;
    // The mirror that this machine is configured with.
    let policy = String::from_utf8(must(Command::new("apt-cache").args(["policy"]))?)?;
    let mirror = policy
        .lines()
        .flat_map(str::split_whitespace)
        .find(|word| word.starts_with("http") && !word.contains("security"))
        .context("no mirror")?
        .to_owned();
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
    let starts = |path: &PathBuf| {
        path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{name}-")))
    };
    std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir() && starts(path))
        .context("the source was not unpacked")
}

/// Flags without which Debian's WASI library refuses signals, process clocks and process ids; and a stack
/// of the usual size at the bottom of memory, so that an overflow traps instead of overwriting data.
const FOR_WASI: [&str; 7] = [
    "-D_WASI_EMULATED_SIGNAL",
    "-D_WASI_EMULATED_PROCESS_CLOCKS",
    "-D_WASI_EMULATED_GETPID",
    "-lwasi-emulated-signal",
    "-lwasi-emulated-process-clocks",
    "-lwasi-emulated-getpid",
    "-Wl,-z,stack-size=1048576,--stack-first",
];

/// Compiles the same files natively and for WASI; returns the two programs.
///
/// # Errors
/// When the compiler fails.
pub fn compile(folder: &Path, program: &Program) -> anyhow::Result<(PathBuf, PathBuf)> {
    for command in program.before {
        must(Command::new(command[0]).args(&command[1..]).current_dir(folder))?;
    }
    // Headers that only WASI lacks, in a folder that only its compiler searches.
    let headers = folder.join("for-wasi");
    std::fs::create_dir_all(&headers)?;
    std::fs::write(headers.join("missing.h"), include_str!("foreign/missing.h"))?;
    for empty in ["setjmp.h", "pwd.h"] {
        std::fs::write(headers.join(empty), "")?;
    }
    for empty in program.empty {
        std::fs::write(folder.join(empty), "")?;
    }
    let built = |kind: &str| folder.join(format!("{}.{kind}", program.package));
    let (native, wasm) = (built("native"), built("wasm"));
    let clang = |first: &[&str], to: &Path, last: &[&str]| {
        let mut clang = Command::new("clang");
        clang
            .args(first)
            .args(["-O2", "-w", "-I."])
            .args(program.flags)
            .args(program.files)
            .arg("-o")
            .arg(to)
            .arg("-lm")
            .args(last);
        must(clang.current_dir(folder))
    };
    clang(&[], &native, &[])?;
    clang(
        &["--target=wasm32-wasi", "--sysroot=/usr", "-Ifor-wasi", "-include", "for-wasi/missing.h"],
        &wasm,
        &FOR_WASI,
    )?;
    Ok((native, wasm))
}

/// A filter: standard input in, standard output out.
pub struct Program {
    /// Name of Debian's source package.
    pub package: &'static str,
    /// Commands that generate the source files.
    pub before: &'static [&'static [&'static str]],
    /// Headers that the packaging would generate; empty ones suffice.
    pub empty: &'static [&'static str],
    /// C files of the program.
    pub files: &'static [&'static str],
    /// Compiler flags.
    pub flags: &'static [&'static str],
    /// Arguments of the program.
    pub args: &'static [&'static str],
}

/// Filters from standard input to standard output.
pub const PROGRAMS: &[Program] = &[
    Program {
        package: "zlib",
        before: &[],
        empty: &[],
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
    Program {
        package: "par",
        before: &[],
        empty: &[],
        files: &["buffer.c", "charset.c", "errmsg.c", "par.c", "reformat.c"],
        flags: &[],
        args: &["w50j"],
    },
    Program {
        package: "ent",
        before: &[],
        empty: &[],
        files: &["ent.c", "iso8859.c", "randtest.c", "chisq.c"],
        flags: &[],
        args: &["-c"],
    },
];

/// Compression by block sorting.
pub const BZIP2: Program = Program {
    package: "bzip2",
    before: &[],
    empty: &[],
    files: &[
        "blocksort.c",
        "bzip2.c",
        "bzlib.c",
        "compress.c",
        "crctable.c",
        "decompress.c",
        "huffman.c",
        "randtable.c",
    ],
    flags: &[],
    args: &["-9", "-c"],
};

/// An interpreter for scripts. Errors in a script end it, since WASI has no long jumps.
pub const LUA: Program = Program {
    package: "lua5.4",
    before: &[],
    empty: &["lua5.4-deb-multiarch.h"],
    files: &[
        "src/lapi.c",
        "src/lauxlib.c",
        "src/lbaselib.c",
        "src/lcode.c",
        "src/lcorolib.c",
        "src/lctype.c",
        "src/ldblib.c",
        "src/ldebug.c",
        "src/ldo.c",
        "src/ldump.c",
        "src/lfunc.c",
        "src/lgc.c",
        "src/linit.c",
        "src/liolib.c",
        "src/llex.c",
        "src/lmathlib.c",
        "src/lmem.c",
        "src/loadlib.c",
        "src/lobject.c",
        "src/lopcodes.c",
        "src/loslib.c",
        "src/lparser.c",
        "src/lstate.c",
        "src/lstring.c",
        "src/lstrlib.c",
        "src/ltable.c",
        "src/ltablib.c",
        "src/ltm.c",
        "src/lua.c",
        "src/lundump.c",
        "src/lutf8lib.c",
        "src/lvm.c",
        "src/lzio.c",
    ],
    flags: &[
        "-DDEB_HOST_MULTIARCH=\"none\"",
        "-DLUAI_THROW(L,c)=abort()",
        "-DLUAI_TRY(L,c,a)={a}",
        "-Dluai_jmpbuf=int",
    ],
    args: &["-"],
};

/// SQL on a database in memory.
pub const SQLITE: Program = Program {
    package: "sqlite3",
    before: &[
        &["./configure", "--quiet", "--disable-tcl", "--disable-readline", "--disable-shared"],
        &["make", "sqlite3.c", "shell.c"],
    ],
    empty: &[],
    files: &["sqlite3.c", "shell.c"],
    flags: &[
        "-DSQLITE_OMIT_LOAD_EXTENSION",
        "-DSQLITE_OMIT_WAL",
        "-DSQLITE_OMIT_POPEN",
        "-DSQLITE_NOHAVE_SYSTEM",
        "-DSQLITE_THREADSAFE=0",
        // Temporary data beyond the cache stay in memory, too.
        "-DSQLITE_TEMP_STORE=3",
    ],
    args: &["-batch", ":memory:"],
};
