use std::path::Path;

use anyhow::{Context, ensure};

use crate::shell::{capture, root, sh, target, works};

/// Names of the example jobs, which are also the packages of their programs and their folders.
pub const EXAMPLES: [&str; 3] = ["protein-search", "path-tracer", "lucas-lehmer"];
/// Query of the protein search, as named in the data set.
const QUERY: &str = "HBB_ORNAN";

/// Compiles the example programs and puts them with their job files beside the programs of `profile`
/// (`debug` or `release`).
pub fn build(profile: &str) -> anyhow::Result<()> {
    let packages: Vec<&str> = EXAMPLES.iter().flat_map(|name| ["-p", name]).collect();
    sh(
        "cargo",
        &[&["build", "--quiet", "--target", "wasm32-wasip1", "--profile", "guest"], packages.as_slice()]
            .concat(),
    )?;
    let folder = target().join(profile).join("fog-examples");
    for name in EXAMPLES {
        let place = folder.join(name);
        std::fs::create_dir_all(&place)?;
        std::fs::copy(root().join("examples").join(name).join("job.toml"), place.join("job.toml"))?;
        let module = format!("{name}.wasm");
        std::fs::copy(target().join("wasm32-wasip1/guest").join(&module), place.join(&module))?;
    }
    if let Err(error) = proteins(&folder.join("protein-search")) {
        // The other examples work without the data set.
        std::fs::remove_dir_all(folder.join("protein-search"))?;
        println!(
            "The protein search is left out: {error:#}. Put a FASTA database beside its job file to have it."
        );
    }
    Ok(())
}

/// Unpacks the 45 globins of HMMER's tutorial from Debian's package.
fn proteins(place: &Path) -> anyhow::Result<()> {
    let database = place.join("database.fasta");
    if !database.exists() {
        ensure!(works("apt-get", &["--version"]), "the set comes from a Debian package");
        let cache = target().join("proteins");
        std::fs::create_dir_all(&cache)?;
        let fetch = || {
            crate::shell::command("apt-get", &["download", "-qq", "hmmer-examples"])
                .current_dir(&cache)
                .status()
                .is_ok_and(|s| s.success())
        };
        if !fetch() {
            // A new machine has no package lists yet.
            let _ = sh("apt-get", &["update", "-qq"]);
            ensure!(fetch(), "the package hmmer-examples cannot be had");
        }
        let package = std::fs::read_dir(&cache)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|e| e == "deb"))
            .context("no package came")?;
        sh("dpkg-deb", &["-x", &package.to_string_lossy(), &cache.to_string_lossy()])?;
        let found = capture("find", &[&cache.to_string_lossy(), "-name", "globins45.fa*"]);
        let found = found.lines().next().context("the package has changed: no globins45.fa in it")?;
        let text = capture("zcat", &["-f", found]);
        ensure!(text.matches('>').count() == 45, "the set does not hold 45 sequences");
        std::fs::write(&database, text)?;
    }
    let text = std::fs::read_to_string(&database)?;
    let query = text
        .split('>')
        .find(|record| record.split_whitespace().next() == Some(QUERY))
        .with_context(|| format!("{QUERY} is not in the set"))?;
    std::fs::write(place.join("query.fasta"), format!(">{query}"))?;
    Ok(())
}
