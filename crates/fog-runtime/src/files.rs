//! Files that a user named: checks before reading or replacing them.

mod partial;
mod writing;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fog_types::ByteCount;

pub use self::writing::{NewFile, OutputFolder, replace_file, write_file};

/// Largest number of links that are followed, as on most systems.
const MAX_LINKS: u32 = 40;

/// Returns the path of the file that a write to `path` replaces. Links are followed, also to a file that
/// does not exist yet; only a regular file may be replaced.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for anything else, such as a folder, device or pipe.
pub fn replaceable(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let about = match std::fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
        };
        if about.is_symlink() {
            let to = std::fs::read_link(&path)?;
            path = path.parent().unwrap_or(Path::new("")).join(to);
        } else if about.is_file() {
            return Ok(path);
        } else {
            return Err(not_a_file(&about, "only a file can be replaced"));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many links lead from it"))
}

/// Opens a regular file for reading. Files that may block for ever, such as pipes, are not opened.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when it is not a regular file, and the errors of opening it.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let check = |about: std::fs::Metadata| {
        if about.is_file() { Ok(()) } else { Err(not_a_file(&about, "a file is needed")) }
    };
    check(std::fs::metadata(path)?)?;
    let mut options = File::options();
    options.read(true);
    // If a pipe takes the place in between, opening it does not wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let file = options.open(path)?;
    check(file.metadata()?)?;
    Ok(file)
}

/// Reads a regular file of at most `most` bytes, whatever length its metadata give.
///
/// # Errors
/// [`io::ErrorKind::FileTooLarge`], and the errors of [`open_regular`].
pub fn read_regular(path: &Path, most: ByteCount) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(most.0.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most.0 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most}")));
    }
    Ok(bytes)
}

/// Returns an error that names the kind of what is there instead of a file.
fn not_a_file(about: &std::fs::Metadata, wanted: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}; {wanted}", kind_of(about)))
}

/// Returns the kind of a file in words, such as "a pipe".
#[must_use]
pub fn kind_of(about: &std::fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = about.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    match (about.is_dir(), about.is_file()) {
        (true, _) => "a folder",
        (_, true) => "a file",
        _ => "not a file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_what_is_no_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("real"), "x").unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::os::unix::fs::symlink("not-yet", at("dangling")).unwrap();
        std::os::unix::fs::symlink("circle", at("circle")).unwrap();
        assert_eq!(replaceable(&at("link")).unwrap(), at("real"));
        assert_eq!(replaceable(&at("dangling")).unwrap(), at("not-yet"));
        assert_eq!(replaceable(&at("new")).unwrap(), at("new"));
        assert!(replaceable(&at("circle")).is_err());
        assert!(replaceable(folder.path()).unwrap_err().to_string().contains("a folder"));
        assert!(replaceable(Path::new("/dev/null")).unwrap_err().to_string().contains("a device"));
        assert!(open_regular(Path::new("/dev/zero")).is_err());
        assert!(open_regular(&at("link")).is_ok());
        let pipe = at("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(open_regular(&pipe).unwrap_err().to_string().contains("a pipe"), "and it does not wait");
        assert!(replaceable(&pipe).is_err());
    }
}
