//! Removal of files that are no longer needed. Checkpoints and histories are named by the number of their
//! job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fog_types::{JobId, UnixMillis};

use crate::exchange::transfers::{self, STATE};
use crate::tasks::checkpoints::{self, ARRIVED};

/// Removes files and folders of jobs that no longer need them from `folder`; each job is checked once.
/// Returns their number.
pub(crate) fn sweep(folder: &Path, needs_it: impl Fn(JobId) -> bool) -> usize {
    let mut of_jobs: BTreeMap<JobId, Vec<PathBuf>> = BTreeMap::new();
    for (path, name) in entries(folder) {
        if let Some(job) = name.split_once('-').and_then(|(job, _)| job.parse().ok()) {
            of_jobs.entry(JobId(job)).or_default().push(path);
        }
    }
    of_jobs
        .into_iter()
        .filter(|(job, _)| !needs_it(*job))
        .flat_map(|(_, paths)| paths)
        .map(|path| remove(&path))
        .count()
}

/// Removes states that were arriving when the process was killed; called at the start, when nothing is
/// arriving.
pub(crate) fn sweep_arrivals(data_folder: &Path) {
    for (folder, begin) in
        [(checkpoints::folder(data_folder), ARRIVED), (transfers::folder(data_folder), STATE)]
    {
        entries(&folder).filter(|(_, name)| name.starts_with(begin)).for_each(|(path, _)| remove(&path));
    }
}

/// Removes files that were not modified for `age`, such as interrupted transfers that nobody continued.
pub(crate) fn sweep_old(folder: &Path, now: UnixMillis, age: Duration) {
    let now = UNIX_EPOCH + Duration::from_millis(now.0.max(0).unsigned_abs());
    sweep_older(folder, |at| now.duration_since(at).is_ok_and(|since| since > age), fog_store::set_modified);
}

/// Removes old files, except those whose time cannot be set: their time did not move with the calendar or
/// with use, so they may be younger.
fn sweep_older(
    folder: &Path,
    is_old: impl Fn(SystemTime) -> bool,
    set_modified: impl Fn(&Path, SystemTime) -> std::io::Result<()>,
) {
    for (path, _) in entries(folder) {
        let said = path.metadata().and_then(|about| about.modified());
        if said.is_ok_and(|at| is_old(at) && set_modified(&path, at).is_ok()) {
            remove(&path);
        }
    }
}

/// Moves the times of files whose age counts with the calendar, so that they stay equally old.
pub(crate) fn shift_times(data_folder: &Path, shift_ms: i64) {
    let by = Duration::from_millis(shift_ms.unsigned_abs());
    for (path, _) in ["partial", "set-aside"].iter().flat_map(|name| entries(&data_folder.join(name))) {
        let moved = path
            .metadata()
            .and_then(|about| about.modified())
            .ok()
            .and_then(|at| if shift_ms > 0 { at.checked_add(by) } else { at.checked_sub(by) });
        let set = moved.map_or(Ok(()), |at| fog_store::set_modified(&path, at));
        if let Err(error) = set {
            tracing::debug!(%error, path = %path.display(), "its age cannot be moved with the calendar");
        }
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = (PathBuf, String)> + use<> {
    // A missing folder has no entries.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)))
}

/// Sets the modification time of a file to now, to note its use; a missing file is ignored.
pub(crate) fn touch(path: &Path) {
    let _ = fog_store::set_modified(path, SystemTime::now());
}

pub(crate) fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    if let Err(error) = removed {
        tracing::warn!(%error, path = %path.display(), "what nobody needs cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

    use super::*;

    #[test]
    fn what_others_need_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [kept, arriving] = ["checkpoints", "partial"].map(|name| folder.path().join(name));
        std::fs::create_dir_all(kept.join("7-3")).unwrap();
        std::fs::create_dir(&arriving).unwrap();
        for name in ["7-0.fog", "7-1.fog.previous", "12-0.fog", "arrived-x1", "arrived-x1.partial", "notes"] {
            std::fs::write(kept.join(name), b"").unwrap();
        }
        for name in ["state-77", "77"] {
            std::fs::write(arriving.join(name), b"").unwrap();
        }
        let left = || entries(&kept).map(|(_, name)| name).collect::<std::collections::BTreeSet<_>>();
        sweep(&kept, |job| job == JobId(12));
        assert_eq!(
            left(),
            ["12-0.fog", "arrived-x1", "arrived-x1.partial", "notes"].map(str::to_owned).into()
        );
        sweep_arrivals(folder.path());
        assert_eq!(left(), ["12-0.fog", "notes"].map(str::to_owned).into());
        assert_eq!(
            entries(&arriving).map(|(_, name)| name).collect::<Vec<_>>(),
            ["77"],
            "a file of a job can be gone on with, a state cannot"
        );
        sweep(&folder.path().join("missing"), |_| false);
    }

    #[test]
    fn a_transfer_that_nobody_takes_up_goes() {
        let folder = tempfile::tempdir().unwrap();
        for (name, days) in [("old", 8), ("young", 6)] {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
        }
        let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = UnixMillis(since.as_millis() as i64);
        sweep_old(folder.path(), now, Duration::from_secs(7 * 86_400));
        assert_eq!(entries(folder.path()).map(|(_, name)| name).collect::<Vec<_>>(), ["young"]);
    }

    #[test]
    fn a_file_whose_age_cannot_be_said_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("old"), b"").unwrap();
        sweep_older(folder.path(), |_| true, |_, _| Err(std::io::ErrorKind::PermissionDenied.into()));
        assert!(folder.path().join("old").exists());
        sweep_older(folder.path(), |_| true, fog_store::set_modified);
        assert!(!folder.path().join("old").exists());
    }
}
