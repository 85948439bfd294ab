//! The bundle's own programs, and the text that says what it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Tells a person who finds the folder what to do with it.
pub const ABOUT: &str = include_str!("about.txt");

const PARTS: [(&str, &str); 3] = [
    ("bundle.py", include_str!("bundle.py")),
    ("run_tests.py", include_str!("run_tests.py")),
    ("run_bench.py", include_str!("run_bench.py")),
];

const STARTERS: [(&str, &str); 2] = [("run-tests", "run_tests.py"), ("run-bench", "run_bench.py")];

/// Writes them.
pub fn programs(folder: &Path) -> Result<()> {
    let parts = folder.join("lib");
    fs::create_dir_all(&parts).with_context(|| format!("could not create {}", parts.display()))?;
    for (name, text) in PARTS {
        write(&parts.join(name), text)?;
    }
    for (name, part) in STARTERS {
        let file = folder.join(name);
        write(&file, &starter(part))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("could not make {} a program", file.display()))?;
    }
    Ok(())
}

/// `PYTHON` may name another interpreter, such as the one that has PyTorch.
fn starter(part: &str) -> String {
    format!(
        "#!/bin/sh\nset -eu\nhere=$(CDPATH= cd -- \"$(dirname -- \"$0\")\" && pwd)\n\
         exec \"${{PYTHON:-python3}}\" -B \"$here/lib/{part}\" \"$@\"\n"
    )
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
}
