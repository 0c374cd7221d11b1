#![expect(unsafe_code, reason = "calls of IOKit, and what it calls back")]

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dispatch2::DispatchQueue;
use objc2_io_kit::{
    IOAllowPowerChange, IONotificationPort, IORegisterForSystemPower, io_service_t, kIOMessageCanSystemSleep,
    kIOMessageSystemWillSleep,
};

use super::BeforeSleep;

/// Time for saving; macOS waits 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

struct Watch {
    before: BeforeSleep,
    /// Port that receives the answers.
    port: AtomicU32,
}

/// Registers for power notices:
/// <https://developer.apple.com/documentation/iokit/1557114-ioregisterforsystempower>
pub(crate) fn watch(before: BeforeSleep) -> io::Result<()> {
    // Never freed: the system may call back at any time.
    let watch: &'static Watch = Box::leak(Box::new(Watch { before, port: AtomicU32::new(0) }));
    let (mut notifications, mut notifier) = (ptr::null_mut(), 0);
    let context = ptr::from_ref(watch).cast_mut().cast();
    // SAFETY: the context is never freed, the other pointers are to live locals.
    let port = unsafe {
        IORegisterForSystemPower(context, &raw mut notifications, Some(on_change), &raw mut notifier)
    };
    if port == 0 || notifications.is_null() {
        return Err(io::Error::other("the system does not tell when it goes to sleep"));
    }
    watch.port.store(port, Ordering::Release);
    let queue = DispatchQueue::new("network.fog.compute.sleep", None);
    // SAFETY: the port was just made; it retains the queue.
    unsafe { IONotificationPort::set_dispatch_queue(notifications, Some(&queue)) };
    Ok(())
}

unsafe extern "C-unwind" fn on_change(
    context: *mut c_void,
    _service: io_service_t,
    kind: u32,
    argument: *mut c_void,
) {
    // SAFETY: the context is the registered one and is never freed.
    let watch = unsafe { &*context.cast::<Watch>() };
    if kind == kIOMessageSystemWillSleep {
        (watch.before)(PATIENCE);
    }
    if kind == kIOMessageSystemWillSleep || kind == kIOMessageCanSystemSleep {
        // Without the answer the system waits 30 s.
        IOAllowPowerChange(watch.port.load(Ordering::Acquire), argument.addr().cast_signed());
    }
}
