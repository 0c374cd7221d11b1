//! Files that a program gets from outside: read to their end within a limit, whatever their kind.

use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use fog_runtime::kind_of;
use fog_types::{ByteCount, ErrorKind};

use crate::output::{Failure, complain};

/// Greatest number of bytes read from a source of unknown length: a pipe, a file below `/proc`.
const MAX_COPY: ByteCount = ByteCount(1 << 30);
/// Greatest number of bytes read from a device: a terminal, or one that never ends.
const MAX_FROM_DEVICE: ByteCount = ByteCount(16 << 20);
/// Greatest length that files of virtual file systems claim; such files have no blocks.
const MAX_VIRTUAL: u64 = 1 << 20;

/// Returns a file that can be opened again with the same content: `path` itself, or a copy of its content
/// at `copy`.
pub fn settle(path: &Path, copy: PathBuf) -> Result<PathBuf, Failure> {
    let failed = |e: std::io::Error| Failure::file(path, &e);
    let about = std::fs::metadata(path).map_err(failed)?;
    // Some systems refuse to open a folder without saying that it is one.
    if about.is_dir() {
        return Err(Failure::input(format!("{} is a folder; a file is needed", path.display())));
    }
    let mut file = File::open(path).map_err(failed)?;
    if about.is_file() && !is_virtual(&about) && path.to_str().is_some() {
        return std::path::absolute(path).map_err(|e| Failure::storage(path, &e));
    }
    let most = if kind_of(&about) == "a device" { MAX_FROM_DEVICE } else { MAX_COPY };
    copy_within(&mut file, &path.display().to_string(), &copy, most)?;
    Ok(copy)
}

/// Copies this command's own standard input to a file.
pub fn settle_stdin(copy: PathBuf) -> Result<PathBuf, Failure> {
    copy_within(&mut std::io::stdin().lock(), "standard input", &copy, MAX_COPY)?;
    Ok(copy)
}

/// Whether the claimed length may be wrong: it is 0, or small without a block on a disk.
fn is_virtual(about: &Metadata) -> bool {
    #[cfg(unix)]
    let has_blocks = std::os::unix::fs::MetadataExt::blocks(about) > 0;
    #[cfg(not(unix))]
    let has_blocks = true;
    about.len() == 0 || (!has_blocks && about.len() <= MAX_VIRTUAL)
}

fn copy_within(from: &mut impl Read, name: &str, to: &Path, most: ByteCount) -> Result<(), Failure> {
    let mut file = File::create(to).map_err(|e| Failure::storage(to, &e))?;
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return file.flush().map_err(|e| Failure::storage(to, &e)),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Failure::input(format!("{name}: {e}"))),
        };
        size += read as u64;
        if size > most.0 {
            let message = format!(
                "{name} holds more than {most}, the most that is taken from what is not a file on a disk; save it to a file first"
            );
            return Err(Failure::new(ErrorKind::LimitReached, message));
        }
        file.write_all(&buffer[..read]).map_err(|e| Failure::storage(to, &e))?;
    }
}

/// Prints a hint when something is piped into a command that does not pass it on.
pub fn hint_at_stdin() {
    if is_stdin_waiting() {
        complain(
            "fog: there is something on standard input, which the program did not get; --stdin - passes it on",
        );
    }
}

/// Whether bytes wait in a pipe or file behind standard input. An open stream alone proves nothing: it may
/// belong to a script.
#[cfg(unix)]
fn is_stdin_waiting() -> bool {
    let stdin = std::io::stdin();
    let Ok(about) =
        std::os::fd::AsFd::as_fd(&stdin).try_clone_to_owned().and_then(|own| File::from(own).metadata())
    else {
        return false;
    };
    match kind_of(&about) {
        "a pipe" => rustix::io::ioctl_fionread(&stdin).is_ok_and(|waiting| waiting > 0),
        "a file" => rustix::fs::tell(&stdin).is_ok_and(|at| at < about.len()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_stdin_waiting() -> bool {
    false
}
