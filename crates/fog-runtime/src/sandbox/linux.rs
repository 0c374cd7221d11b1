use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::SandboxStatus;
use crate::program::Priority;

/// Niceness of a worker: of its process, and of its session where the kernel shares processor time out by
/// session. Niceness 5 is a third of the weight of an ordinary program (sched(7)).
fn niceness(priority: Priority) -> i32 {
    match priority {
        Priority::Idle => 19,
        Priority::Asked => 5,
    }
}

/// Lowers the priority of this process, and lets it end with its parent.
pub(crate) fn lower_priority(priority: Priority) {
    // All of these are optional: if the system refuses one, the worker still works.
    let _ = rustix::process::nice(niceness(priority));
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // The kernel shares time out by session first. Without a session of its own, this would slow down the
    // terminal or desktop that started the parent.
    if leads_a_session(std::process::id()) {
        let _ = std::fs::write("/proc/self/autogroup", niceness(priority).to_string());
    }
}

/// Changes the priority of a running worker by its process id. Returns false where it changes only at the
/// worker's next start, as when the kernel does not share processor time out by session.
pub fn set_priority(pid: u32, priority: Priority) -> bool {
    // Unless root makes them, the kernel accepts one change per 100 ms.
    leads_a_session(pid)
        && std::fs::write(format!("/proc/{pid}/autogroup"), niceness(priority).to_string()).is_ok()
}

/// Whether process `pid` leads a session.
///
/// Reads `/proc` because rustix expects a session id above zero; it is 0 in a container whose first process
/// belongs to a session outside (`getsid(2)` in `pid_namespaces(7)`).
fn leads_a_session(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name in brackets may hold anything; after it come state, parent, group and session.
    let session = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(3));
    session.is_some_and(|session| session == pid.to_string())
}

/// Limits the memory of this process to `bytes`, behind the engine's own limit. Memory that is reserved but
/// not writable does not count.
pub(crate) fn limit_memory(bytes: u64) {
    let _ = rustix::process::setrlimit(Resource::Data, Rlimit { current: Some(bytes), maximum: Some(bytes) });
}

/// Gives up files, network, new programs and other processes for the rest of this process's life.
///
/// Open files stay open. Old kernels lack Landlock; seccomp then works alone.
pub(crate) fn restrict() -> SandboxStatus {
    let _ = rustix::thread::set_no_new_privs(true);
    let _ = rustix::process::setrlimit(Resource::Nproc, Rlimit { current: Some(0), maximum: Some(0) });
    let files = forbid_paths().is_ok_and(|is_whole| is_whole);
    let calls = allow_calls().is_ok();
    SandboxStatus { files, calls, programs: calls, changes: files || calls }
}

/// Applies Landlock; returns whether the kernel enforces at least a part of it.
fn forbid_paths() -> Result<bool, landlock::RulesetError> {
    let abi = ABI::V6;
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// System calls that a compiler and a running job need, found by running the tests with a filter that logs.
/// All others are refused with `EPERM`.
const ALLOWED: &[i64] = &[
    // Open files: the pipes to the parent and the inputs.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_close,
    libc::SYS_ppoll,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    // Existing threads, and their end.
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    // Signals, which Wasm traps use.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and randomness for the worker's own code; the job sees neither.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[libc::SYS_poll, libc::SYS_arch_prctl];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

fn allow_calls() -> Result<(), Box<dyn std::error::Error>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    // Only naming threads and memory is allowed; other uses of prctl change what a process may do.
    let is_name =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?;
    let is_anonymous =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::PR_SET_VMA as u64)?;
    rules.insert(
        libc::SYS_prctl,
        vec![SeccompRule::new(vec![is_name])?, SeccompRule::new(vec![is_anonymous])?],
    );
    // A panic may end this process, but no other.
    let to_itself =
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    // The filter applies to the control thread as well.
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}

#[cfg(test)]
mod tests;
