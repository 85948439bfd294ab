//! Where the workspace is, what is in it, and how to call its cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The workspace this binary was built in.
pub struct Workspace {
    root: PathBuf,
    metadata: Metadata,
}

impl Workspace {
    /// Asks cargo about the workspace that holds xtask.
    pub fn discover() -> Result<Self> {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir
            .parent()
            .context("xtask's own folder has no parent; run it as `cargo xtask <task>`")?
            .to_path_buf();
        let metadata = MetadataCommand::new()
            .cargo_path(cargo_path())
            .current_dir(&root)
            .no_deps()
            .exec()
            .with_context(|| {
                format!(
                    "cargo could not read the workspace in {}; run `cargo metadata` there and \
                     mend the manifest it names",
                    root.display()
                )
            })?;
        Ok(Self { root, metadata })
    }

    /// The folder of the root manifest.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo builds, `CARGO_TARGET_DIR` included.
    pub fn target_dir(&self) -> &Path {
        self.metadata.target_directory.as_std_path()
    }

    /// A cargo command that runs in the workspace root.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_path());
        command.current_dir(&self.root);
        command
    }

    /// The member packages.
    pub fn packages(&self) -> &[Package] {
        &self.metadata.packages
    }

    /// The member package of that name.
    pub fn package(&self, name: &str) -> Result<&Package> {
        self.packages().iter().find(|package| package.name.as_str() == name).with_context(|| {
            format!("the workspace has no package `{name}`; add it to `members` in Cargo.toml")
        })
    }

    /// What `--features` must name so that every test of the workspace is compiled: the fault
    /// points of the libraries, what is optional in them, and the demo of xtask.
    pub fn test_features(&self) -> String {
        let mut features = Vec::new();
        for package in self.packages() {
            for feature in ["testing", "demo", "pool", "share", "cli"] {
                if package.features.contains_key(feature) {
                    features.push(format!("{}/{feature}", package.name));
                }
            }
        }
        features.join(",")
    }
}

/// The machine in a few words, for logs.
pub fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} {} with {processors} processors", std::env::consts::OS, std::env::consts::ARCH)
}

fn cargo_path() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}
