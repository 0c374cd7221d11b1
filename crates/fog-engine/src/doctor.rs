//! What `fog doctor` and the About page look at.

use fog_api::{Check, CheckState};
use fog_eligibility::Readings;
use fog_probes::SensorFault;
use fog_runtime::Walls;
use fog_store::DiskUse;
use fog_types::ByteCount;

/// Readings and settings that the checks look at.
pub(crate) struct Known<'a> {
    /// The newest ones.
    pub(crate) readings: &'a Readings,
    pub(crate) data_folder: &'a std::path::Path,
    pub(crate) has_examples: bool,
    /// Readings that were not believed.
    pub(crate) rejected: u64,
    pub(crate) faults: &'a [SensorFault],
    pub(crate) walls: Option<Walls>,
    /// What is stored, and how much may be.
    pub(crate) disk: Option<(DiskUse, ByteCount)>,
    /// Why there are no checkpoints; empty when there are.
    pub(crate) key_problem: &'a str,
}

/// Checks the sensors from the newest readings, the folder and the examples.
pub(crate) fn checks(known: Known<'_>) -> Vec<Check> {
    let Known { readings, data_folder, has_examples, rejected, faults, walls, disk, key_problem } = known;
    let mut list = Vec::new();
    let mut add = |name: &str, state, detail: String| list.push(Check { name: name.to_owned(), state, detail });
    let sensor = |known: bool| if known { CheckState::Good } else { CheckState::Missing };
    let probe = data_folder.join("incoming");
    match std::fs::create_dir_all(&probe).and_then(|()| tempfile::NamedTempFile::new_in(&probe)) {
        Ok(_) => add("data folder", CheckState::Good, data_folder.display().to_string()),
        Err(e) => add("data folder", CheckState::Bad, format!("{} cannot be written: {e}", data_folder.display())),
    }
    if let Some((found, cap)) = disk {
        let of = ByteCount;
        let detail = format!(
            "{} of {cap}: {} in stored files ({} of that needed), {} in states, {} in compiled programs, {} in chat; beside that {} on its way, {} set aside",
            of(found.counted()),
            of(found.blobs),
            of(found.pinned),
            of(found.other.states),
            of(found.other.compiled),
            of(found.chat),
            of(found.other.incoming),
            of(found.other.aside),
        );
        add("storage", if found.needed() < cap.0 { CheckState::Good } else { CheckState::Bad }, detail);
    }
    match key_problem {
        "" => add("checkpoints", CheckState::Good, "sealed with a key of this device".to_owned()),
        problem => {
            let file = data_folder.join("checkpoint.key");
            let detail = format!(
                "none are taken, so tasks begin anew after a stop: {problem}. Put {} back from a copy and start again; or move it elsewhere: \
                 then a new key is made, and what was sealed with the old one (checkpoints, secrets of groups) cannot be read any more",
                file.display()
            );
            add("checkpoints", CheckState::Bad, detail);
        }
    }
    let r = readings;
    let known = |value: Option<String>, missing: &str| value.unwrap_or_else(|| missing.to_owned());
    add(
        "battery",
        sensor(r.battery_present.is_some()),
        match (r.battery_present, r.battery) {
            (Some(false), _) => "this device has none".to_owned(),
            (Some(true), charge) => {
                let charge = charge.map_or_else(|| "it does not say how full it is".to_owned(), |charge| format!("{charge:.0} %"));
                let plugged = match r.charging {
                    Some(true) => "on external power",
                    Some(false) => "running on it",
                    None => "it does not say whether the device is plugged in; 'unknown_battery' decides",
                };
                format!("{charge}, {plugged}")
            }
            (None, _) => "no answer; battery rules follow 'unknown_battery'".to_owned(),
        },
    );
    add(
        "processor temperature",
        sensor(r.cpu_temp.is_some()),
        known(r.cpu_temp.map(|t| format!("{t:.0} °C")), "no sensor; the heat rule follows 'unknown_cpu_temp'"),
    );
    let idle_state = if r.idle.is_some() { CheckState::Good } else { CheckState::Bad };
    add(
        "input idle time",
        idle_state,
        known(r.idle.map(|t| format!("{t:.0} s since the last input")), "cannot be read, so the device counts as in use; 'unknown_idle' = allow changes that"),
    );
    add("other programs' load", sensor(r.other_cpu.is_some()), known(r.other_cpu.map(|t| format!("{t:.0} %")), "not known yet"));
    add(
        "idle inhibitors",
        sensor(r.inhibited.is_some()),
        known(r.inhibited.map(|on| if on { "a program keeps the system awake" } else { "none" }.to_owned()), "the system does not tell"),
    );
    add(
        "full-screen programs",
        sensor(r.fullscreen.is_some()),
        known(r.fullscreen.map(|on| if on { "one covers the screen" } else { "none" }.to_owned()), "the system does not tell"),
    );
    add(
        "network cost",
        sensor(r.metered.is_some()),
        known(r.metered.map(|on| if on { "metered" } else { "not metered" }.to_owned()), "the system does not tell"),
    );
    add("free disk", sensor(r.disk_free.is_some()), known(r.disk_free.map(|n| fog_types::ByteCount(n).to_string()), "unknown"));
    add("available memory", sensor(r.ram_available.is_some()), known(r.ram_available.map(|n| fog_types::ByteCount(n).to_string()), "unknown"));
    match walls {
        Some(Walls { files: true, calls: true, .. }) => {
            add("walls around jobs", CheckState::Good, "no files, no network, no other programs (Landlock, seccomp)".to_owned())
        }
        Some(Walls { calls: true, .. }) => add("walls around jobs", CheckState::Missing, "system calls are limited; this kernel has no Landlock".to_owned()),
        Some(Walls { files: true, programs: true, .. }) => {
            add("walls around jobs", CheckState::Good, "no files, no network, no other programs (sandbox profile)".to_owned())
        }
        Some(Walls { programs: true, changes: true, .. }) => {
            let detail = "no other programs, no changes to your files (job object, lowest integrity); readable files can be read";
            add("walls around jobs", CheckState::Good, detail.to_owned());
        }
        Some(_) => add("walls around jobs", CheckState::Missing, "WebAssembly's own only; this system adds none yet".to_owned()),
        None => add("walls around jobs", CheckState::Bad, "no worker process answers; jobs cannot run".to_owned()),
    }
    add("example jobs", sensor(has_examples), if has_examples { "found" } else { "not installed beside the program" }.to_owned());
    for fault in faults {
        add("sensor left out", CheckState::Missing, format!("{} says {}, which cannot be; the other sensors decide", fault.sensor, fault.says));
    }
    add("impossible readings", CheckState::Good, format!("{rejected} rejected since the start"));
    list
}
