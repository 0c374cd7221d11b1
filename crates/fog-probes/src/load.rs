use std::sync::OnceLock;

use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

/// Memory of this machine, bytes; `None` when unknown. Read once, as it does not change while a program
/// runs.
#[must_use]
pub fn ram_total() -> Option<u64> {
    static TOTAL: OnceLock<Option<u64>> = OnceLock::new();
    *TOTAL.get_or_init(|| {
        let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        Some(System::new_with_specifics(kind).total_memory()).filter(|bytes| *bytes > 0)
    })
}

/// Part of a program's name that the system keeps: the first 15 bytes on Linux.
fn kept_name(name: &str) -> &str {
    let kept = if cfg!(target_os = "linux") { name.floor_char_boundary(15) } else { name.len() };
    &name[..kept]
}

/// Processor use, memory and process names, through `sysinfo`.
pub(crate) struct Load {
    system: System,
    has_baseline: bool,
    /// Processes of this program at the last call.
    own: Vec<Pid>,
}

impl Load {
    pub(crate) fn new() -> Self {
        let kind = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_cpu_usage());
        Self { system: System::new_with_specifics(kind), has_baseline: false, own: Vec::new() }
    }

    /// Processor use of all other programs since the last call, percent of the machine.
    pub(crate) fn others_percent(&mut self, own: &[u32]) -> Option<f32> {
        let mut pids: Vec<Pid> = own.iter().map(|pid| Pid::from_u32(*pid)).collect();
        pids.push(Pid::from_u32(std::process::id()));
        // Those that have ended since the last call are named as well: sysinfo keeps a file open for each
        // until then.
        let mut named = std::mem::replace(&mut self.own, pids.clone());
        named.extend(&pids);
        self.system.refresh_cpu_usage();
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&named),
            true,
            ProcessRefreshKind::nothing().with_cpu(),
        );
        let cores = self.system.cpus().len().max(1) as f32;
        let ours: f32 =
            pids.iter().filter_map(|pid| self.system.process(*pid)).map(sysinfo::Process::cpu_usage).sum();
        let all = self.system.global_cpu_usage();
        // The first call has no earlier sample to compare with.
        let known = std::mem::replace(&mut self.has_baseline, true);
        known.then(|| (all - ours / cores).clamp(0.0, 100.0))
    }

    pub(crate) fn ram_available(&mut self) -> Option<u64> {
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        Some(self.system.available_memory()).filter(|bytes| *bytes > 0)
    }

    /// Returns those of `names` that run now, ignoring case and `.exe`.
    pub(crate) fn running(&mut self, names: &[String]) -> Vec<String> {
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing());
        let plain = |name: &str| name.to_lowercase().trim_end_matches(".exe").to_owned();
        let running: std::collections::BTreeSet<String> =
            self.system.processes().values().map(|p| plain(&p.name().to_string_lossy())).collect();
        names.iter().filter(|name| running.contains(kept_name(&plain(name)))).cloned().collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// A worker for each task, for months.
    #[test]
    fn a_process_that_has_ended_is_forgotten() {
        let mut load = Load::new();
        let mut workers = Vec::new();
        for _ in 0..3 {
            let mut worker = std::process::Command::new("/bin/sleep").arg("20").spawn().unwrap();
            load.others_percent(&[worker.id()]);
            workers.push(Pid::from_u32(worker.id()));
            assert!(load.system.process(Pid::from_u32(worker.id())).is_some());
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        load.others_percent(&[]);
        let kept = workers.iter().filter(|pid| load.system.process(**pid).is_some()).count();
        assert_eq!(kept, 0, "dead processes are kept, each with an open file");
    }

    #[test]
    fn programs_with_long_names_are_found() {
        let folder = std::env::temp_dir().join(format!("fog-load-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("a-game-with-a-long-name");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut game = std::process::Command::new(&program).arg("20").spawn().unwrap();
        let found =
            Load::new().running(&["A-Game-With-A-Long-Name.exe".to_owned(), "no-such-program".to_owned()]);
        game.kill().unwrap();
        game.wait().unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, ["A-Game-With-A-Long-Name.exe"]);
    }
}
