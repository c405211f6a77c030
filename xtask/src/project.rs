//! Where the project's things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::step::{Failure, output_of};

/// The root of the repository: the folder above this package.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// `cargo`, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// What Cargo knows of the workspace and of everything it depends on.
pub(crate) fn metadata() -> Result<Value, Failure> {
    let text = output_of(cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::new(format!("could not read what `cargo metadata` printed: {error}")))
}

/// The folder that Cargo builds into; our own tools and Node-RED are kept there too.
pub(crate) fn target_folder() -> Result<PathBuf, Failure> {
    let metadata = output_of(cargo().args(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)
        .map_err(|error| Failure::new(format!("could not read what `cargo metadata` printed: {error}")))?;
    match metadata.get("target_directory").and_then(Value::as_str) {
        Some(folder) => Ok(PathBuf::from(folder)),
        None => Err(Failure::new("`cargo metadata` names no target_directory")),
    }
}

/// Every file that is committed or about to be: what `git` tracks, and what it does not ignore.
pub(crate) fn files() -> Result<Vec<PathBuf>, Failure> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = output_of(&mut git)?;
    let names = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(names.filter(|name| root().join(name).is_file()).collect())
}
