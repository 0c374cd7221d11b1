use serde::{Deserialize, Serialize};

use crate::{ByteCount, WorkUnits};

/// Bytes of memory of a worker without a job: program, stacks and messages in transit.
const WORKER_BYTES: u64 = 64 << 20;
/// Bytes of memory or files for each byte of hashes: a checkpoint keeps 16 bytes for each page of 4 KiB.
const BYTES_PER_HASHED: u64 = 256;
/// Memory for a task in units of its stack limit: four for the machine stack, and four for saved frames,
/// which take at most twice the counted stack and exist twice while a task continues.
const STACK_COPIES: u64 = 4 + 4;
/// Bytes of a saved state beside memory and files: frames, tables and incompressible data.
const STATE_BYTES: u64 = 128 << 20;
/// Copies of a log limit in memory: both logs, and both again while a checkpoint is written.
const LOG_COPIES: u64 = 2 + 2;
/// Bytes for a table element and its number in a checkpoint.
const TABLE_ELEMENT_BYTES: u64 = 16;

/// Limits of one task, all enforced; each field says how a task that reaches it ends.
///
/// Defaults for memory, disk and deadline follow BOINC's `DEFAULT_*` job bounds (500 MB, 1 GB, 7 days),
/// rounded and lowered to what a phone can provide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of linear memory; beyond it, `memory.grow` returns -1 inside the job. Default 512 MiB.
    pub memory: ByteCount,
    /// Bytes in the task's writable folders; beyond it, writes fail with ENOSPC inside the job. Default
    /// 256 MiB. The files stay in the worker's memory until the task ends and count as memory
    /// ([`Limits::footprint`]).
    pub disk: ByteCount,
    /// Work units; the task ends at the same instruction every time it reaches them. Default 10,000 G units
    /// (a few hours of one core).
    pub units: WorkUnits,
    /// Seconds of processor time; pauses, throttling and waiting do not count. Default 24 hours.
    pub wall_seconds: u64,
    /// Bytes of the Wasm stack; an overflow is a trap inside the job. Default 1 MiB.
    pub stack: ByteCount,
    /// Elements of all tables together; beyond it, `table.grow` returns -1. Default 100,000.
    pub table_elements: u64,
    /// Bytes kept of stdout and of stderr, each; the rest is dropped and counted. Default 1 MiB.
    pub log: ByteCount,
    /// Bytes of the largest accepted module. Default 64 MiB.
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
    /// Returns the bytes of memory that a worker and the engine together may use for a task, at most:
    /// linear memory, files, checkpoint hashes, tables, stacks, logs and 64 MiB for the worker itself.
    /// Devices lend memory by this number, and the system enforces it on the worker where it can.
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

    /// Returns the bytes of a saved state of a task, on disk or in transit, at most: memory and files with
    /// later changes, and the logs. Larger states are refused.
    #[must_use]
    pub fn state_size(&self) -> ByteCount {
        let parts = [
            self.memory.0.saturating_mul(2),
            self.disk.0.saturating_mul(2),
            self.log.0.saturating_mul(2),
            STATE_BYTES,
        ];
        ByteCount(parts.into_iter().fold(0, u64::saturating_add))
    }

    /// Returns a sentence about the first limit outside the supported range; `None` when all are valid.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let bytes = |name: &str, value: ByteCount, low: u64, high: u64| {
            (value.0 < low || value.0 > high).then(|| {
                format!(
                    "limit '{name}' is {value}; it must lie between {} and {}",
                    ByteCount(low),
                    ByteCount(high)
                )
            })
        };
        bytes("memory", self.memory, 1 << 16, 4 << 30)
            .or_else(|| bytes("disk", self.disk, 0, 16 << 30))
            .or_else(|| bytes("stack", self.stack, 1 << 14, 64 << 20))
            .or_else(|| bytes("log", self.log, 0, 64 << 20))
            .or_else(|| bytes("module", self.module, 8, 256 << 20))
            .or_else(|| (self.units.0 == 0).then(|| "limit 'units' is 0; it must be at least 1".to_owned()))
            .or_else(|| {
                (self.wall_seconds == 0 || self.wall_seconds > 366 * 86_400).then(|| {
                    format!("limit 'wall' is {} s; it must lie between 1 s and 366 days", self.wall_seconds)
                })
            })
            .or_else(|| {
                (self.table_elements > 10_000_000).then(|| {
                    format!("limit 'table_elements' is {}; it must be at most 10000000", self.table_elements)
                })
            })
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
        assert_eq!(
            talkative.footprint().0 - small.footprint().0,
            4 * (63 << 20),
            "both logs, and once more for a checkpoint"
        );
        let endless = Limits { disk: ByteCount(u64::MAX), memory: ByteCount(u64::MAX), ..small };
        assert_eq!(endless.footprint(), ByteCount(u64::MAX));
        assert_eq!(endless.state_size(), ByteCount(u64::MAX));
    }
}
