//! Memory that tasks take: for the compiler until the worker runs, for a state until it is restored, and
//! for segments that are run again.

use fog_api::settings::keys;
use std::path::Path;

use fog_runtime::{CompileLimits, EngineKind};
use fog_store::JobRow;
use fog_types::{BlobId, Limits, TaskId};

use crate::context::Context;
use crate::tasks::checkpoints::{artifact_path, checkpoint_path};
use crate::tasks::{Active, Tasks};

/// Limits for compiling a module of `module_bytes`: at most `budget`, but at least what the smallest module
/// needs.
pub(crate) fn compile_limits(module_bytes: u64, budget: u64) -> CompileLimits {
    let usual = CompileLimits::of(module_bytes);
    let least = CompileLimits::of(0).memory.0;
    CompileLimits { memory: fog_types::ByteCount(usual.memory.0.min(budget.max(least))), ..usual }
}

/// Memory in bytes that a task takes from `budget`: that of its worker, or of its compiler where that is
/// more and the module is not compiled yet.
fn charge(limits: &Limits, to_compile: Option<u64>, budget: u64) -> u64 {
    // A task that runs alone may take the whole budget.
    let compiling = to_compile.map_or(0, |bytes| compile_limits(bytes, budget).memory.0.min(budget));
    limits.footprint().0.max(compiling)
}

/// Copies of a state while it is restored: one here, where it is read, and one in the worker.
const STATE_COPIES: u64 = 2;

/// Memory in bytes that a task takes from `budget` when it continues from a state of `state` bytes and
/// would take `charge` otherwise.
fn with_state(charge: u64, state: u64, limits: &Limits, budget: u64) -> u64 {
    // A task that runs alone may take the whole budget. Its compiler ends before the state is read.
    let restoring = limits.footprint().0.saturating_add(state.saturating_mul(STATE_COPIES)).min(budget);
    charge.max(restoring)
}

impl Context {
    /// Memory in bytes that this device lends now, of which `used` bytes are taken.
    pub(crate) fn memory_budget(&self, used: u64) -> u64 {
        // Before the first sample a small machine is assumed.
        let available = self.rules.readings().ram_available.unwrap_or(2 << 30);
        ((available.saturating_add(used / 4)) as f64 * self.settings.number(keys::MEMORY_SHARE) / 100.0)
            as u64
    }

    /// Most memory in bytes that this device lends when no other program needs any.
    pub(crate) fn memory_ever(&self) -> u64 {
        let share = self.settings.number(keys::MEMORY_SHARE) / 100.0;
        fog_probes::ram_total().map_or(u64::MAX, |total| (total as f64 * share) as u64)
    }

    /// Memory in bytes that a task of a job takes from `budget` when it starts.
    pub(crate) fn charge(&self, job: &JobRow, budget: u64) -> u64 {
        let size = self.store.blob(job.blobs.module).ok().as_deref().and_then(length);
        self.charge_for(&job.file.limits, job.blobs.module, size.unwrap_or(0), budget)
    }

    /// Like [`Self::charge`], for one task of the job, which may continue from a checkpoint.
    pub(crate) fn charge_of(&self, task: TaskId, job: &JobRow, budget: u64) -> u64 {
        let state = length(&checkpoint_path(self.store.folder(), task)).unwrap_or(0);
        with_state(self.charge(job, budget), state, &job.file.limits, budget)
    }

    /// Like [`Self::charge`], for a module of `size` bytes, which need not be stored here.
    pub(crate) fn charge_for(&self, limits: &Limits, module: BlobId, size: u64, budget: u64) -> u64 {
        let is_compiled =
            artifact_path(self.store.folder(), &module.to_string(), EngineKind::Compiled).exists();
        charge(limits, (!is_compiled).then_some(size), budget)
    }
}

impl Tasks {
    /// Memory in bytes that tasks, estimates and replayed segments take now.
    pub(crate) fn memory_used(&self, ctx: &Context) -> u64 {
        self.active.values().map(Active::charge).fold(self.memory_beside(ctx), u64::saturating_add)
    }

    /// Memory in bytes that is lent beside tasks: to a replayed segment and to an estimate.
    pub(crate) fn memory_beside(&self, ctx: &Context) -> u64 {
        ctx.load.replay.saturating_add(self.estimates.memory)
    }

    pub(crate) fn memory_budget(&self, ctx: &Context) -> u64 {
        ctx.memory_budget(self.memory_used(ctx))
    }
}

pub(crate) fn length(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|about| about.len())
}

#[cfg(test)]
mod tests {
    use fog_types::ByteCount;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_state_counts_until_its_task_goes_on_from_it() {
        let limits = Limits { memory: ByteCount(GIB), disk: ByteCount(0), ..Limits::default() };
        let footprint = limits.footprint().0;
        assert_eq!(with_state(footprint, 0, &limits, 16 * GIB), footprint);
        assert_eq!(with_state(footprint, GIB, &limits, 16 * GIB), footprint + 2 * GIB);
        // A task starts at the latest when it runs alone; its compiler may take more before.
        assert_eq!(with_state(footprint, GIB, &limits, 2 * GIB), 2 * GIB);
        assert_eq!(with_state(footprint, GIB, &limits, GIB), footprint);
        assert_eq!(with_state(8 * GIB, GIB, &limits, 16 * GIB), 8 * GIB);
    }

    #[test]
    fn a_compiler_counts_like_a_task() {
        let small = Limits { memory: ByteCount::mib(2), disk: ByteCount(0), ..Limits::default() };
        let footprint = small.footprint().0;
        assert_eq!(charge(&small, None, 8 * GIB), footprint);
        // A module of 50 MiB may take 1.8 GiB to compile, whatever the task's own limit.
        let large = charge(&small, Some(50 << 20), 8 * GIB);
        assert!(large > GIB && large == CompileLimits::of(50 << 20).memory.0, "{large}");
        // With a smaller budget the compiler gets no more than that, and the task starts at the latest when
        // it runs alone.
        assert_eq!(charge(&small, Some(50 << 20), GIB), GIB);
        assert_eq!(compile_limits(50 << 20, GIB).memory.0, GIB);
        // A compiler below its minimum would be useless.
        assert_eq!(compile_limits(50 << 20, 1 << 20).memory, CompileLimits::of(0).memory);
        assert_eq!(charge(&small, Some(50 << 20), 1 << 20), footprint);
        assert_eq!(charge(&Limits::default(), Some(1 << 10), 8 * GIB), Limits::default().footprint().0);
    }
}
