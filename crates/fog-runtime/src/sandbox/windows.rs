#![expect(unsafe_code, reason = "calls of the Windows API")]

use std::ptr;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE};
use windows_sys::Win32::Security::{
    CreateWellKnownSid, SECURITY_MAX_SID_SIZE, SID_AND_ATTRIBUTES, SetTokenInformation, TOKEN_ADJUST_DEFAULT,
    TOKEN_MANDATORY_LABEL, TOKEN_QUERY, TokenIntegrityLevel, WinUntrustedLabelSid,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOB_OBJECT_UILIMIT_DESKTOP,
    JOB_OBJECT_UILIMIT_DISPLAYSETTINGS, JOB_OBJECT_UILIMIT_EXITWINDOWS, JOB_OBJECT_UILIMIT_GLOBALATOMS,
    JOB_OBJECT_UILIMIT_HANDLES, JOB_OBJECT_UILIMIT_READCLIPBOARD, JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS,
    JOB_OBJECT_UILIMIT_WRITECLIPBOARD, JOBOBJECT_BASIC_LIMIT_INFORMATION, JOBOBJECT_BASIC_UI_RESTRICTIONS,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectBasicLimitInformation, JobObjectBasicUIRestrictions,
    JobObjectExtendedLimitInformation, SetInformationJobObject,
};
use windows_sys::Win32::System::SystemServices::SE_GROUP_INTEGRITY;
use windows_sys::Win32::System::Threading::{
    BELOW_NORMAL_PRIORITY_CLASS, GetCurrentProcess, IDLE_PRIORITY_CLASS, OpenProcess, OpenProcessToken,
    PROCESS_SET_INFORMATION, SetPriorityClass,
};

use super::SandboxStatus;
use crate::program::Priority;

/// Lowers the priority of this process.
pub(crate) fn lower_priority(priority: Priority) {
    let class = if priority == Priority::Asked { BELOW_NORMAL_PRIORITY_CLASS } else { IDLE_PRIORITY_CLASS };
    // SAFETY: the handle stands for this process and is never closed. If refused, the worker still works.
    unsafe { SetPriorityClass(GetCurrentProcess(), class) };
}

/// Changes the priority of a running worker by its process id; returns false when the system refuses.
pub fn set_priority(pid: u32, priority: Priority) -> bool {
    let class = if priority == Priority::Asked { BELOW_NORMAL_PRIORITY_CLASS } else { IDLE_PRIORITY_CLASS };
    // SAFETY: the handle is closed once, and not used when it is null.
    unsafe {
        let process = OpenProcess(PROCESS_SET_INFORMATION, 0, pid);
        !process.is_null() && {
            let is_set = SetPriorityClass(process, class) != 0;
            CloseHandle(process);
            is_set
        }
    }
}

/// Limits the memory of this process to `bytes`, behind the engine's own limit.
pub(crate) fn limit_memory(bytes: u64) {
    let limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
        BasicLimitInformation: JOBOBJECT_BASIC_LIMIT_INFORMATION {
            LimitFlags: JOB_OBJECT_LIMIT_PROCESS_MEMORY,
            ..Default::default()
        },
        ProcessMemoryLimit: usize::try_from(bytes).unwrap_or(usize::MAX),
        ..Default::default()
    };
    // SAFETY: the structure is live and its own size is passed. The handle of the job object stays open
    // while the process lives; the sandbox puts another job object inside this one.
    unsafe {
        let job = CreateJobObjectW(ptr::null(), ptr::null());
        if !job.is_null()
            && SetInformationJobObject(
                job,
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of_val(&limits) as u32,
            ) != 0
        {
            AssignProcessToJobObject(job, GetCurrentProcess());
        }
    }
}

/// Gives up new programs, the desktop, and changes to the user's files for the rest of this process's life.
/// Files that everybody may read can still be read.
pub(crate) fn restrict() -> SandboxStatus {
    SandboxStatus { programs: confine(), changes: distrust(), ..SandboxStatus::default() }
}

/// Puts the process into a job object that allows one process and no user interface:
/// <https://learn.microsoft.com/windows/win32/procthread/job-objects>
fn confine() -> bool {
    let limits = JOBOBJECT_BASIC_LIMIT_INFORMATION {
        LimitFlags: JOB_OBJECT_LIMIT_ACTIVE_PROCESS | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
        ActiveProcessLimit: 1,
        ..Default::default()
    };
    let screen = JOBOBJECT_BASIC_UI_RESTRICTIONS {
        UIRestrictionsClass: JOB_OBJECT_UILIMIT_DESKTOP
            | JOB_OBJECT_UILIMIT_DISPLAYSETTINGS
            | JOB_OBJECT_UILIMIT_EXITWINDOWS
            | JOB_OBJECT_UILIMIT_GLOBALATOMS
            | JOB_OBJECT_UILIMIT_HANDLES
            | JOB_OBJECT_UILIMIT_READCLIPBOARD
            | JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS
            | JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
    };
    // SAFETY: each structure is live and its own size is passed. The handle of the job object stays open
    // while the process lives.
    unsafe {
        let job = CreateJobObjectW(ptr::null(), ptr::null());
        !job.is_null()
            && SetInformationJobObject(
                job,
                JobObjectBasicLimitInformation,
                (&raw const limits).cast(),
                size_of_val(&limits) as u32,
            ) != 0
            && SetInformationJobObject(
                job,
                JobObjectBasicUIRestrictions,
                (&raw const screen).cast(),
                size_of_val(&screen) as u32,
            ) != 0
            && AssignProcessToJobObject(job, GetCurrentProcess()) != 0
    }
}

/// Lowers the process to the lowest integrity, which may change nothing that it opens from now on:
/// <https://learn.microsoft.com/windows/win32/secauthz/mandatory-integrity-control>
fn distrust() -> bool {
    let mut sid = [0_u32; SECURITY_MAX_SID_SIZE as usize / 4];
    let mut length = SECURITY_MAX_SID_SIZE;
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the buffer has the passed length and is aligned for a SID; the token is closed once.
    unsafe {
        if CreateWellKnownSid(WinUntrustedLabelSid, ptr::null_mut(), sid.as_mut_ptr().cast(), &raw mut length)
            == 0
            || OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_DEFAULT | TOKEN_QUERY, &raw mut token) == 0
        {
            return false;
        }
        let label = TOKEN_MANDATORY_LABEL {
            Label: SID_AND_ATTRIBUTES { Sid: sid.as_mut_ptr().cast(), Attributes: SE_GROUP_INTEGRITY as u32 },
        };
        let lowered = SetTokenInformation(
            token,
            TokenIntegrityLevel,
            (&raw const label).cast(),
            size_of_val(&label) as u32 + length,
        ) != 0;
        CloseHandle(token);
        lowered
    }
}
