use serde::{Deserialize, Serialize};

use crate::{ByteCount, WorkUnits};

/// Memory of a worker without a job: the program, its stacks, and the pieces that are on their way.
const WORKER_BYTES: u64 = 64 << 20;
/// A checkpoint reads memory and files where they lie; beside them it knows a hash of 16 bytes of each page of 4 KiB.
const BYTES_PER_HASHED: u64 = 256;
/// A task gets this many times its stack, as the machine counts it; and as much for the frames of all functions under way:
/// saved, they take at most twice what is counted, and are there twice while a task is continued.
const STACK_COPIES: u64 = 4 + 4;
/// A saved state beside memory and files: frames, tables, and what does not compress.
const STATE_BYTES: u64 = 128 << 20;
/// Copies of a task's logs in memory: who follows it holds both, and once more while a checkpoint of it is written.
const LOG_COPIES: u64 = 2 + 2;
/// A table's element, and its number in a checkpoint.
const TABLE_ELEMENT_BYTES: u64 = 16;

/// What one task may use. Every field is enforced; reaching one ends in the way its line says.
///
/// Defaults for memory, disk and deadline come from BOINC's `DEFAULT_*` job bounds (500 MB, 1 GB,
/// 7 days), rounded and lowered where a phone could not honour them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Linear memory in total. `memory.grow` past it answers -1 inside the job. Default 512 MiB.
    pub memory: ByteCount,
    /// Bytes the task may hold in its writable folders. A write past it gets ENOSPC inside the
    /// job. Kept in the worker's memory until the task ends, and counted as such by the device that
    /// runs it ([`Limits::footprint`]). Default 256 MiB.
    pub disk: ByteCount,
    /// Work units. Reaching it ends the task, at the same instruction every time. Default
    /// 10,000 G units (a few hours of one core).
    pub units: WorkUnits,
    /// Seconds of processor time: pauses, throttling and waiting for a busy processor do not count. Default 24 hours.
    pub wall_seconds: u64,
    /// Wasm stack. Overflow is a trap inside the job. Default 1 MiB.
    pub stack: ByteCount,
    /// Elements in all tables together. `table.grow` past it answers -1. Default 100,000.
    pub table_elements: u64,
    /// Bytes kept of stdout and of stderr, each. Past it the rest is dropped and the drop noted.
    /// Default 1 MiB.
    pub log: ByteCount,
    /// Largest module accepted. Default 64 MiB.
    pub module: ByteCount,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteCount::mib(512),
            disk: ByteCount::mib(256),
            units: WorkUnits(10_000_000_000_000),
            wall_seconds: 24 * 3600,
            stack: ByteCount::mib(1),
            table_elements: 100_000,
            log: ByteCount::mib(1),
            module: ByteCount::mib(64),
        }
    }
}

impl Limits {
    /// Most bytes of memory that a worker and who follows it may hold for a task with these limits: linear memory, the
    /// files it keeps in memory, what a checkpoint needs beside them, tables, stacks, logs and 64 MiB of the worker's own.
    /// Devices lend by this number, and the system enforces it on the worker where it can.
    #[must_use]
    pub fn footprint(&self) -> ByteCount {
        let parts = [
            self.memory.0,
            self.disk.0,
            self.memory.0.saturating_add(self.disk.0) / BYTES_PER_HASHED,
            self.stack.0.saturating_mul(STACK_COPIES),
            self.table_elements.saturating_mul(TABLE_ELEMENT_BYTES),
            self.log.0.saturating_mul(LOG_COPIES),
            WORKER_BYTES,
        ];
        ByteCount(parts.into_iter().fold(0, u64::saturating_add))
    }

    /// Most bytes of a saved state of a task with these limits, on a disk or on its way: memory and files, what was
    /// added to them since, and the logs. A larger one is of no use to anybody.
    #[must_use]
    pub fn state_size(&self) -> ByteCount {
        let parts = [self.memory.0.saturating_mul(2), self.disk.0.saturating_mul(2), self.log.0.saturating_mul(2), STATE_BYTES];
        ByteCount(parts.into_iter().fold(0, u64::saturating_add))
    }

    /// The first field outside what this program supports, in words; `None` when all are fine.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let bytes = |name: &str, value: ByteCount, low: u64, high: u64| {
            (value.0 < low || value.0 > high).then(|| format!("limit '{name}' is {value}; it must lie between {} and {}", ByteCount(low), ByteCount(high)))
        };
        bytes("memory", self.memory, 1 << 16, 4 << 30)
            .or_else(|| bytes("disk", self.disk, 0, 16 << 30))
            .or_else(|| bytes("stack", self.stack, 1 << 14, 64 << 20))
            .or_else(|| bytes("log", self.log, 0, 64 << 20))
            .or_else(|| bytes("module", self.module, 8, 256 << 20))
            .or_else(|| (self.units.0 == 0).then(|| "limit 'units' is 0; it must be at least 1".to_owned()))
            .or_else(|| {
                (self.wall_seconds == 0 || self.wall_seconds > 366 * 86_400)
                    .then(|| format!("limit 'wall' is {} s; it must lie between 1 s and 366 days", self.wall_seconds))
            })
            .or_else(|| (self.table_elements > 10_000_000).then(|| format!("limit 'table_elements' is {}; it must be at most 10000000", self.table_elements)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_the_limit_as_people_write_it() {
        let wrong = [
            ("memory", Limits { memory: ByteCount(1), ..Limits::default() }),
            ("disk", Limits { disk: ByteCount(u64::MAX), ..Limits::default() }),
            ("units", Limits { units: WorkUnits(0), ..Limits::default() }),
            ("wall", Limits { wall_seconds: 0, ..Limits::default() }),
            ("stack", Limits { stack: ByteCount(0), ..Limits::default() }),
            ("table_elements", Limits { table_elements: u64::MAX, ..Limits::default() }),
            ("log", Limits { log: ByteCount(u64::MAX), ..Limits::default() }),
            ("module", Limits { module: ByteCount(0), ..Limits::default() }),
        ];
        for (name, limits) in wrong {
            let said = limits.problem().unwrap();
            assert!(said.contains(&format!("limit '{name}'")), "{said}");
        }
    }

    #[test]
    fn files_in_memory_count_as_memory() {
        let small = Limits { memory: ByteCount::mib(2), disk: ByteCount(0), ..Limits::default() };
        let large = Limits { disk: ByteCount(4 << 30), ..small.clone() };
        let more = large.footprint().0 - small.footprint().0;
        assert_eq!(more, (4 << 30) + (16 << 20), "the files, and the hashes of their pages");
        let talkative = Limits { log: ByteCount::mib(64), ..small.clone() };
        assert_eq!(talkative.footprint().0 - small.footprint().0, 4 * (63 << 20), "both logs, and once more for a checkpoint");
        let endless = Limits { disk: ByteCount(u64::MAX), memory: ByteCount(u64::MAX), ..small };
        assert_eq!(endless.footprint(), ByteCount(u64::MAX));
        assert_eq!(endless.state_size(), ByteCount(u64::MAX));
    }
}
