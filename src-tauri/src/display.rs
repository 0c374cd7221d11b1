//! Detection of a display for the window.

/// Error for a display that is missing or cannot be opened.
#[derive(Debug)]
pub struct NoDisplay(String);

impl std::fmt::Display for NoDisplay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "there is no display to open a window on: {}. `fog daemon` runs the engine without one",
            self.0
        )
    }
}

impl std::error::Error for NoDisplay {}

/// Opens the display; the window toolkit itself would panic on failure.
///
/// # Errors
/// When there is no display.
#[cfg(all(unix, not(any(target_os = "macos", target_os = "ios", target_os = "android"))))]
pub(crate) fn check() -> Result<(), NoDisplay> {
    gtk::init().map_err(|_| {
        let set = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .map(|value| format!("{name} is {value}"))
        };
        let named: Vec<String> = ["WAYLAND_DISPLAY", "DISPLAY"].into_iter().filter_map(set).collect();
        NoDisplay(match &named[..] {
            [] => "neither WAYLAND_DISPLAY nor DISPLAY is set".to_owned(),
            named => format!("{}, which cannot be opened", named.join(" and ")),
        })
    })
}

/// Returns `Ok`: these systems always have a display.
///
/// # Errors
/// Never.
#[cfg(not(all(unix, not(any(target_os = "macos", target_os = "ios", target_os = "android")))))]
pub(crate) fn check() -> Result<(), NoDisplay> {
    Ok(())
}
