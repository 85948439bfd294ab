//! Pictures of a run, as SVG without any font of the machine.
//!
//! ```text
//!   stored + headline ──► ratios   one file for each suite: ours beside limit and peer, right is better
//!                   └───► latency  one file: the distributions, low and flat is better
//!                            └──► canvas  colours, texts, axes
//! ```

mod canvas;
mod latency;
mod ratios;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::stored::{SUITES, StoredRun};

/// The name of the picture of distributions.
pub const LATENCY: &str = "latency.svg";

/// Draws all pictures that the run has rows for into a folder, and gives their files.
pub fn run(run: &StoredRun, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)
        .with_context(|| format!("could not make the folder {}", folder.display()))?;
    let mut files = Vec::new();
    for (name, picture) in pictures(run)? {
        let file = folder.join(name);
        fs::write(&file, picture).with_context(|| format!("could not write {}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// All pictures with their names.
pub fn pictures(run: &StoredRun) -> Result<Vec<(String, String)>> {
    let mut pictures = Vec::new();
    for suite in SUITES.iter().filter_map(|name| run.suite(name)) {
        if let Some(picture) = ratios::picture(run, suite)
            .with_context(|| format!("could not draw the suite `{}`", suite.name))?
        {
            pictures.push((format!("{}.svg", suite.name), picture));
        }
    }
    if let Some(picture) = latency::picture(run).context("could not draw the distributions")? {
        pictures.push((LATENCY.to_owned(), picture));
    }
    Ok(pictures)
}
