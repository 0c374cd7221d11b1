//! Cache of compiled programs for commands that run without the engine. When the cache cannot be written,
//! these commands still work.

use std::path::{Path, PathBuf};

use fog_runtime::{EngineKind, WorkerError, WorkerProgram};

/// Compiles `module` into `cached` unless it is there already, or into the folder `scratch` when `cached`
/// cannot be written. Returns the path of the compiled module.
pub async fn prepare(
    program: &WorkerProgram,
    module: &Path,
    cached: &Path,
    scratch: &Path,
    engine: EngineKind,
) -> Result<PathBuf, WorkerError> {
    let unkept = match fog_runtime::prepare(program, module, cached, engine).await {
        Ok(_) => return Ok(cached.to_owned()),
        Err(WorkerError::File { path, source }) => format!("{}: {source}", path.display()),
        Err(error) => return Err(error),
    };
    let own = scratch.join("compiled.cwasm");
    match fog_runtime::prepare(program, module, &own, engine).await {
        Ok(_) => Ok(own),
        Err(WorkerError::File { path, source }) => {
            let why = format!(
                "{source}. It is needed because compiled programs cannot be kept either: {unkept}. TMPDIR names another temporary folder"
            );
            Err(WorkerError::File { path, source: std::io::Error::other(why) })
        }
        Err(error) => Err(error),
    }
}
