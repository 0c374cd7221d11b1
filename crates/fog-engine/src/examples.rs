//! Example jobs that come with the program: folders with a `job.toml`.

use std::path::{Path, PathBuf};

use fog_api::Example;

/// Returns the folder of the examples: `FOG_EXAMPLES`, else one beside the executable, else one where
/// packages put it.
#[must_use]
pub fn examples_folder() -> Option<PathBuf> {
    let named = std::env::var_os("FOG_EXAMPLES").map(PathBuf::from);
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let near = beside.into_iter().flat_map(|folder| {
        [
            "fog-examples",
            "../share/fog-compute/examples",
            "../lib/fog-compute/examples",
            "../lib/Fog Compute/examples",
            "../Resources/examples",
            "examples",
        ]
        .map(|place| folder.join(place))
    });
    named.into_iter().chain(near).find(|folder| !list_examples(folder).is_empty())
}

/// Lists the examples in a folder in the order of their names.
#[must_use]
pub fn list_examples(folder: &Path) -> Vec<Example> {
    let mut list: Vec<Example> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let text = std::fs::read_to_string(entry.path().join("job.toml")).ok()?;
            let title = fog_types::job::parse(&text).ok()?.name;
            Some(Example { name, title })
        })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}
