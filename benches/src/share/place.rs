//! A folder of this user's alone, for sockets.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::scratch;

/// The folder; it goes with its owner, and with the sweep at the end if the owner is killed.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn make() -> Result<Place> {
        let folder = std::env::temp_dir().join(scratch::name("share"));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
        Ok(Place(folder))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The sweep at the end takes what stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}
