#![expect(unsafe_code, reason = "one call of the Windows API, and what it calls back")]

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::System::Power::{
    DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS, PowerRegisterSuspendResumeNotification,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{DEVICE_NOTIFY_CALLBACK, PBT_APMSUSPEND};

use super::BeforeSleep;

/// Time for saving; Windows waits about 2 s for all programs together.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Registers for suspend notices:
/// <https://learn.microsoft.com/windows/win32/api/powerbase/nf-powerbase-powerregistersuspendresumenotification>
pub(crate) fn watch(before: BeforeSleep) -> io::Result<()> {
    // Both are never freed: the system may call back at any time.
    let context: &'static BeforeSleep = Box::leak(Box::new(before));
    let parameters = Box::leak(Box::new(DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS {
        Callback: Some(on_change),
        Context: ptr::from_ref(context).cast_mut().cast(),
    }));
    let mut handle = ptr::null_mut();
    // SAFETY: the parameters and their targets are never freed; the handle is a live local.
    let result = unsafe {
        PowerRegisterSuspendResumeNotification(
            DEVICE_NOTIFY_CALLBACK,
            ptr::from_mut(parameters).cast(),
            &raw mut handle,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result.cast_signed())) }
}

unsafe extern "system" fn on_change(context: *const c_void, kind: u32, _setting: *const c_void) -> u32 {
    if kind == PBT_APMSUSPEND {
        // SAFETY: the context is the registered one and is never freed.
        let before = unsafe { &*context.cast::<BeforeSleep>() };
        before(PATIENCE);
    }
    0
}
