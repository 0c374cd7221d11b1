#![expect(unsafe_code, reason = "one call of the system's library")]

use std::ffi::{c_char, c_int};
use std::ptr;

use super::Walls;
use crate::program::Priority;

/// Asks the system to prefer every other program.
pub(crate) fn lower_priority(priority: Priority) {
    // A courtesy: refused, the worker still works.
    let _ = rustix::process::nice(if priority == Priority::Asked { 5 } else { 19 });
}

/// This system leaves a priority as it is until the worker's next start.
pub fn set_priority(_pid: u32, _priority: Priority) -> bool {
    false
}

/// This system enforces no such limit; the parent looks at what the process takes.
pub(crate) fn limit_memory(_bytes: u64) {}

/// Nothing may be opened, reached or started; what is open stays open.
const PROFILE: &std::ffi::CStr = c"(version 1)\n(deny default)\n(allow sysctl-read)\n(allow signal (target self))\n";

unsafe extern "C" {
    /// Deprecated since 10.8 without a successor for programs that are not from the App Store; browsers
    /// use it to this day.
    fn sandbox_init(profile: *const c_char, flags: u64, error: *mut *mut c_char) -> c_int;
    fn sandbox_free_error(error: *mut c_char);
}

/// Gives up files, network and new programs for the rest of this process's life.
pub(crate) fn restrict() -> Walls {
    let mut error = ptr::null_mut();
    // SAFETY: the profile ends with a NUL and lives for ever; the system's words are given back once.
    let stands = unsafe {
        let stands = sandbox_init(PROFILE.as_ptr(), 0, &raw mut error) == 0;
        if !error.is_null() {
            sandbox_free_error(error);
        }
        stands
    };
    Walls { files: stands, programs: stands, changes: stands, ..Walls::default() }
}
