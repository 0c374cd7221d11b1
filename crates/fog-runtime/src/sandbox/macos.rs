#![expect(unsafe_code, reason = "one call of the system's library")]

use std::ffi::{c_char, c_int};
use std::ptr;

use super::SandboxStatus;
use crate::program::Priority;

/// Lowers the priority of this process.
pub(crate) fn lower_priority(priority: Priority) {
    // Optional: if the system refuses, the worker still works.
    let _ = rustix::process::nice(if priority == Priority::Asked { 5 } else { 19 });
}

/// Returns false: a priority changes at the worker's next start here.
pub fn set_priority(_pid: u32, _priority: Priority) -> bool {
    false
}

/// Does nothing: this system enforces no such limit, so the parent checks the memory of the process.
pub(crate) fn limit_memory(_bytes: u64) {}

/// Profile that forbids opening files, connecting and starting programs; open files stay open.
const PROFILE: &std::ffi::CStr =
    c"(version 1)\n(deny default)\n(allow sysctl-read)\n(allow signal (target self))\n";

unsafe extern "C" {
    /// Deprecated since 10.8 without a replacement for programs outside the App Store; browsers still use
    /// it.
    fn sandbox_init(profile: *const c_char, flags: u64, error: *mut *mut c_char) -> c_int;
    fn sandbox_free_error(error: *mut c_char);
}

/// Gives up files, network and new programs for the rest of this process's life.
pub(crate) fn restrict() -> SandboxStatus {
    let mut error = ptr::null_mut();
    // SAFETY: the profile ends with a NUL and is static; the error text is freed once.
    let stands = unsafe {
        let stands = sandbox_init(PROFILE.as_ptr(), 0, &raw mut error) == 0;
        if !error.is_null() {
            sandbox_free_error(error);
        }
        stands
    };
    SandboxStatus { files: stands, programs: stands, changes: stands, ..SandboxStatus::default() }
}
