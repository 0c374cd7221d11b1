//! Checks for `fog doctor` and the About page.

use fog_api::{Check, CheckState};
use fog_eligibility::Readings;
use fog_grid::CLOCKS_AGREE_MS;
use fog_probes::SensorFault;
use fog_runtime::SandboxStatus;
use fog_store::DiskUse;
use fog_types::ByteCount;

/// Readings and settings that are checked.
pub(crate) struct Known<'a> {
    /// Newest readings of the sensors.
    pub(crate) readings: &'a Readings,
    pub(crate) data_folder: &'a std::path::Path,
    pub(crate) has_examples: bool,
    /// Number of readings that were rejected as implausible.
    pub(crate) rejected: u64,
    pub(crate) faults: &'a [SensorFault],
    pub(crate) sandbox: Option<SandboxStatus>,
    /// Disk use, and the storage setting.
    pub(crate) disk: Option<(DiskUse, ByteCount)>,
    /// Reason why there are no checkpoints; empty when there are.
    pub(crate) key_problem: &'a str,
    pub(crate) clocks: Clocks,
}

/// Clocks of connected devices relative to this one's.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    /// Milliseconds by which this device's clock is behind most others; 0 if that is unknown.
    pub(crate) correction_ms: i64,
    /// Names of devices, and the milliseconds by which each one's clock is ahead.
    pub(crate) others: Vec<(String, i64)>,
}

/// Most device names in one check.
const MAX_NAMED: usize = 5;

fn span(ms: i64) -> String {
    match ms.unsigned_abs() / 60_000 {
        minutes @ 0..120 => format!("{minutes} min"),
        minutes @ 120..2880 => format!("{} h", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    }
}

fn clock_check(clocks: &Clocks) -> (CheckState, String) {
    let (off, others) = (clocks.correction_ms, clocks.others.len());
    if off != 0 {
        let how = if off > 0 { "slow" } else { "fast" };
        let (bad, set) = (CheckState::Bad, "set it, or let the system do so");
        return (
            bad,
            format!("this device's is {} {how}, as most of {others} devices here show; {set}", span(off)),
        );
    }
    let apart = clocks.others.iter().filter(|(_, off)| off.unsigned_abs() > CLOCKS_AGREE_MS.unsigned_abs());
    let apart: Vec<String> = apart
        .take(MAX_NAMED)
        .map(|(name, off)| {
            format!("that of {name} is {} {}", span(*off), if *off > 0 { "ahead" } else { "behind" })
        })
        .collect();
    match (apart.is_empty(), others) {
        (true, 0) => (CheckState::Good, "no other device is here to compare with".to_owned()),
        (true, _) => (CheckState::Good, format!("agrees with the devices here ({others})")),
        (false, 1) => (CheckState::Bad, format!("{}; one of the two is wrong", apart.join(", "))),
        // The other clocks are wrong, not this one.
        (false, _) => (CheckState::Missing, apart.join(", ")),
    }
}

/// Runs all checks: sensors by their newest readings, data folder, storage and examples.
pub(crate) fn checks(known: Known<'_>) -> Vec<Check> {
    let Known { readings, data_folder, has_examples, rejected, faults, sandbox, disk, key_problem, clocks } =
        known;
    let mut list = Vec::new();
    let mut add =
        |name: &str, state, detail: String| list.push(Check { name: name.to_owned(), state, detail });
    let sensor = |known: bool| if known { CheckState::Good } else { CheckState::Missing };
    let probe = data_folder.join("incoming");
    match fog_store::make_private_folder(&probe).and_then(|()| tempfile::NamedTempFile::new_in(&probe)) {
        Ok(_) => add("data folder", CheckState::Good, data_folder.display().to_string()),
        Err(e) => {
            add("data folder", CheckState::Bad, format!("{} cannot be written: {e}", data_folder.display()))
        }
    }
    if let Some((found, cap)) = disk {
        let of = ByteCount;
        let detail = format!(
            "{} of {cap}: {} in stored files ({} of that needed), {} in states, {} in compiled programs, {} in chat, {} on its way, {} set aside",
            of(found.counted()),
            of(found.blobs),
            of(found.pinned),
            of(found.other.states),
            of(found.other.compiled),
            of(found.chat),
            of(found.incoming.saturating_add(found.other.partial)),
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
                let charge = charge.map_or_else(
                    || "it does not say how full it is".to_owned(),
                    |charge| format!("{charge:.0} %"),
                );
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
        known(
            r.cpu_temp.map(|t| format!("{t:.0} °C")),
            "no sensor; the heat rule follows 'unknown_cpu_temp'",
        ),
    );
    let idle_state = if r.idle.is_some() { CheckState::Good } else { CheckState::Bad };
    add(
        "input idle time",
        idle_state,
        known(
            r.idle.map(|t| format!("{t:.0} s since the last input")),
            "cannot be read, so the device counts as in use; 'unknown_idle' = allow changes that",
        ),
    );
    add(
        "other programs' load",
        sensor(r.other_cpu.is_some()),
        known(r.other_cpu.map(|t| format!("{t:.0} %")), "not known yet"),
    );
    add(
        "idle inhibitors",
        sensor(r.inhibited.is_some()),
        known(
            r.inhibited.map(|on| if on { "a program keeps the system awake" } else { "none" }.to_owned()),
            "the system does not tell",
        ),
    );
    add(
        "full-screen programs",
        sensor(r.fullscreen.is_some()),
        known(
            r.fullscreen.map(|on| if on { "one covers the screen" } else { "none" }.to_owned()),
            "the system does not tell",
        ),
    );
    add(
        "network cost",
        sensor(r.metered.is_some()),
        known(
            r.metered.map(|on| if on { "metered" } else { "not metered" }.to_owned()),
            "the system does not tell",
        ),
    );
    let free = fog_probes::disk_free(data_folder);
    add(
        "free disk",
        sensor(free.is_some()),
        known(free.map(|n| fog_types::ByteCount(n).to_string()), "unknown"),
    );
    add(
        "available memory",
        sensor(r.ram_available.is_some()),
        known(r.ram_available.map(|n| fog_types::ByteCount(n).to_string()), "unknown"),
    );
    let (state, detail) = clock_check(&clocks);
    add("clock", state, detail);
    match sandbox {
        Some(SandboxStatus { files: true, calls: true, .. }) => add(
            "sandbox around jobs",
            CheckState::Good,
            "no files, no network, no other programs (Landlock, seccomp)".to_owned(),
        ),
        Some(SandboxStatus { calls: true, .. }) => add(
            "sandbox around jobs",
            CheckState::Missing,
            "system calls are limited; this kernel has no Landlock".to_owned(),
        ),
        Some(SandboxStatus { files: true, programs: true, .. }) => add(
            "sandbox around jobs",
            CheckState::Good,
            "no files, no network, no other programs (sandbox profile)".to_owned(),
        ),
        Some(SandboxStatus { programs: true, changes: true, .. }) => {
            let detail = "no other programs, no changes to your files (job object, lowest integrity); readable files can be read";
            add("sandbox around jobs", CheckState::Good, detail.to_owned());
        }
        Some(_) => add(
            "sandbox around jobs",
            CheckState::Missing,
            "WebAssembly's own only; this system adds none yet".to_owned(),
        ),
        None => add(
            "sandbox around jobs",
            CheckState::Bad,
            "no worker process answers; jobs cannot run".to_owned(),
        ),
    }
    add(
        "example jobs",
        sensor(has_examples),
        if has_examples { "found" } else { "not installed beside the program" }.to_owned(),
    );
    for fault in faults {
        add(
            "sensor left out",
            CheckState::Missing,
            format!("{} says {}, which cannot be; the other sensors decide", fault.sensor, fault.says),
        );
    }
    add("impossible readings", CheckState::Good, format!("{rejected} rejected since the start"));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_whose_ever_it_is() {
        let say = |correction_ms, others: &[(&str, i64)]| {
            let others = others.iter().map(|(name, off)| ((*name).to_owned(), *off)).collect();
            clock_check(&Clocks { correction_ms, others })
        };
        let hour = 3_600_000;
        assert_eq!(say(0, &[]).0, CheckState::Good);
        assert_eq!(say(0, &[("ben", 3_000)]).0, CheckState::Good);
        let (state, detail) = say(0, &[("ben", 5 * hour)]);
        assert_eq!(
            (state, detail.as_str()),
            (CheckState::Bad, "that of ben is 5 h ahead; one of the two is wrong")
        );
        let (state, detail) = say(0, &[("ben", -72 * hour), ("cleo", 0)]);
        assert_eq!((state, detail.as_str()), (CheckState::Missing, "that of ben is 3 days behind"));
        let (state, detail) = say(5 * hour, &[("ben", 5 * hour), ("cleo", 5 * hour)]);
        assert_eq!(state, CheckState::Bad);
        assert!(detail.starts_with("this device's is 5 h slow"), "{detail}");
    }
}
