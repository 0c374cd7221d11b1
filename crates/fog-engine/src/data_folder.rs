use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Error: no variable names a place for the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDataFolder;

impl fmt::Display for NoDataFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = if cfg!(windows) { "LOCALAPPDATA" } else { "HOME" };
        write!(
            f,
            "there is no place for jobs and settings: {variable} is not set to a folder; name one with --data-dir or FOG_DATA_DIR"
        )
    }
}

impl std::error::Error for NoDataFolder {}

/// Returns the default data folder of this program.
///
/// `FOG_DATA_DIR` if set, else a folder in the system's place for application data of this user.
///
/// # Errors
/// [`NoDataFolder`] when neither is known. The working folder is not used, because it differs between runs.
pub fn default_data_folder() -> Result<PathBuf, NoDataFolder> {
    folder_from(|name| std::env::var_os(name))
}

fn folder_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoDataFolder> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = path("FOG_DATA_DIR") {
        return Ok(folder);
    }
    // Relative paths are ignored, as the XDG base directory specification demands.
    let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
    };
    base.map(|base| base.join("fog-compute")).ok_or(NoDataFolder)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn without_a_home_there_is_no_place_and_the_working_folder_is_none() {
        let from = |set: &[(&str, &str)]| {
            folder_from(|name| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(from(&[]), Err(NoDataFolder));
        assert_eq!(from(&[("HOME", ""), ("XDG_DATA_HOME", "")]), Err(NoDataFolder));
        assert_eq!(from(&[("HOME", "here"), ("XDG_DATA_HOME", "there")]), Err(NoDataFolder));
        assert_eq!(
            from(&[("HOME", "/home/anna"), ("XDG_DATA_HOME", "there")]),
            Ok("/home/anna/.local/share/fog-compute".into())
        );
        assert_eq!(
            from(&[("HOME", "/home/anna"), ("XDG_DATA_HOME", "/data")]),
            Ok("/data/fog-compute".into())
        );
        assert_eq!(from(&[("FOG_DATA_DIR", "x")]), Ok("x".into()));
        assert!(NoDataFolder.to_string().contains("--data-dir"));
    }
}
