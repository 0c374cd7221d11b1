//! Check that a data folder can be used, with advice if it cannot.

use std::io;
use std::path::Path;

use crate::{StoreError, make_folder};

/// Creates the folder if it is missing and checks that this user can store files in it.
///
/// # Errors
/// [`StoreError::Unusable`] if this user cannot, or if the owner could not use the folder any more
/// afterwards.
pub(crate) fn prepare(folder: &Path) -> Result<(), StoreError> {
    make_folder(folder).map_err(|error| unusable(folder, folder, &error))?;
    // This probe gives a single error if nothing can be written.
    let probe = tempfile::Builder::new()
        .prefix(".probe")
        .tempfile_in(folder)
        .map_err(|error| unusable(folder, folder, &error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let uid = |about: io::Result<std::fs::Metadata>| about.ok().map(|about| about.uid());
        if let (Some(owner), Some(ours)) = (uid(std::fs::metadata(folder)), uid(probe.as_file().metadata()))
            && locks_out(owner, ours)
        {
            return Err(StoreError::Unusable {
                folder: folder.to_owned(),
                problem: format!(
                    "it belongs to the user with the number {owner}, who could not use it any more once files of root are in it"
                ),
                remedy: "start this as that user".to_owned(),
            });
        }
    }
    drop(probe);
    Ok(())
}

/// Returns whether files that root makes in a folder are closed to its owner; other users write only where
/// allowed.
#[cfg(unix)]
fn locks_out(owner: u32, ours: u32) -> bool {
    ours == 0 && owner != 0
}

/// Converts an I/O error at `path`, which is the folder or a file in it, to [`StoreError::Unusable`].
pub(crate) fn unusable(folder: &Path, path: &Path, error: &io::Error) -> StoreError {
    let what = if path == folder { "it".to_owned() } else { path.display().to_string() };
    let is_file = |path: &Path| path.exists() && !path.is_dir();
    let (problem, remedy) = match error.kind() {
        _ if path == folder && folder.ancestors().any(is_file) => {
            ("it is no folder".to_owned(), "move what is there away")
        }
        io::ErrorKind::PermissionDenied => (
            format!("{what} may not be written to by this user"),
            "give it back to this user (after a start as root, `sudo chown -R` with the user and the folder does)",
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            (format!("{what} is on a disk that is read-only"), "make that writable")
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("its disk is full".to_owned(), "make room there")
        }
        // The path that some errors name is left out, as it is that of the probe.
        _ if path == folder && !folder.exists() => {
            (format!("it is not there and cannot be made ({})", plain(error)), "make it")
        }
        _ => (format!("{what} cannot be written to ({})", plain(error)), "mend that"),
    };
    StoreError::Unusable { folder: folder.to_owned(), problem, remedy: remedy.to_owned() }
}

/// Returns the error message of the system.
fn plain(error: &io::Error) -> String {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().to_string(), |number| io::Error::from_raw_os_error(number).to_string())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::Store;

    fn said(folder: &Path) -> String {
        let Err(error) = Store::open(folder) else { panic!("it opens") };
        assert!(matches!(error, StoreError::Unusable { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_told_with_what_to_do() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, b"kept").unwrap();
        for folder in [Path::new("/dev/null"), &file, &file.join("below")] {
            let said = said(folder);
            assert!(
                said.contains("is no folder") && said.contains("--data-dir") && !said.contains("os error"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
        let denied =
            unusable(parent.path(), &parent.path().join("lock"), &io::ErrorKind::PermissionDenied.into())
                .to_string();
        assert!(
            denied.contains("lock may not be written to by this user") && denied.contains("chown"),
            "{denied}"
        );
        let missing =
            unusable(Path::new("/proc/none/x"), Path::new("/proc/none/x"), &io::Error::from_raw_os_error(2))
                .to_string();
        assert!(missing.contains("cannot be made") && missing.contains("--data-dir"), "{missing}");
    }

    #[test]
    fn root_keeps_out_of_the_folders_of_others() {
        assert!(locks_out(1234, 0));
        assert!(!locks_out(0, 0) && !locks_out(1234, 1234));
        // The owner of the folder shares it with a group.
        assert!(!locks_out(0, 1234) && !locks_out(1000, 1234));
    }
}
