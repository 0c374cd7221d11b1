//! Programs that nobody here wrote, from Debian's source packages, built natively and for WASI.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Runs a program that must succeed; its output.
///
/// # Errors
/// When it fails or is missing.
pub fn must(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}; `cargo xtask setup` installs it"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// A source package of Debian, unpacked below `folder`.
///
/// # Errors
/// Where there is no Debian to get it from.
pub fn source(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
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

/// Compiles the same files natively and for WASI; the two programs.
///
/// # Errors
/// What the compiler says.
pub fn compile(folder: &Path, files: &[&str], flags: &[&str], name: &str) -> anyhow::Result<(PathBuf, PathBuf)> {
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

/// A filter: standard input in, standard output out.
pub struct Program {
    /// Debian's name of the source package.
    pub package: &'static str,
    /// Its C files.
    pub files: &'static [&'static str],
    /// Flags of the compiler.
    pub flags: &'static [&'static str],
    /// Arguments of the program.
    pub args: &'static [&'static str],
}

/// Three that read standard input and write standard output.
pub const PROGRAMS: &[Program] = &[
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
