use serde::{Deserialize, Serialize};

use crate::{ByteCount, WorkUnits};

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
    /// job. Kept in the worker's memory until the task ends. Default 256 MiB.
    pub disk: ByteCount,
    /// Work units. Reaching it ends the task, at the same instruction every time. Default
    /// 10,000 G units (a few hours of one core).
    pub units: WorkUnits,
    /// Seconds of running time, pauses not counted. Default 24 hours.
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
                    .then(|| format!("limit 'wall_seconds' is {}; it must lie between 1 and 31622400", self.wall_seconds))
            })
            .or_else(|| (self.table_elements > 10_000_000).then(|| format!("limit 'table_elements' is {}; it must be at most 10000000", self.table_elements)))
    }
}
