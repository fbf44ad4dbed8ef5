//! Where built and downloaded things go.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the cargo workspace that this crate is part of.
pub fn workspace_folder() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target_folder() -> PathBuf {
    let chosen = env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty());
    // `join` keeps an absolute path as it is. A relative one is meant from where cargo was called,
    // which is the workspace for nearly everyone, while tests run in their package's folder.
    workspace_folder().join(chosen.unwrap_or_else(|| "target".into()))
}
