//! What the READMEs promise, tried as a person would: a new environment, the wheel, the first
//! example.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::PACKAGE;
use super::venv::{Venv, run_pip};
use super::wheel::Wheel;
use crate::process;
use crate::progress::Progress;
use crate::workspace::Workspace;

/// Longer than any example takes, and short enough to end one that hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// Installs the wheel with what it depends on into a new environment and runs the first Python
/// example of each README there. Returns how many ran; one that fails is an error.
pub fn try_examples(workspace: &Workspace, wheel: &Wheel) -> Result<u64> {
    let folder = workspace.target_dir().join("wheel-check");
    let venv = Venv::fresh(folder.clone())?;
    let mut pip = venv.pip("install");
    pip.arg(&wheel.path);
    run_pip(&mut pip).context("the wheel does not install into a new environment")?;
    let mut ran = 0;
    for (name, readme) in [
        ("root", workspace.root().join("README.md")),
        ("package", workspace.root().join(PACKAGE).join("README.md")),
    ] {
        let text = fs::read_to_string(&readme)
            .with_context(|| format!("could not read {}", readme.display()))?;
        let example = first_example(&text).with_context(|| {
            format!("{} has no ```python block; its first example is what is run", readme.display())
        })?;
        let file = folder.join(format!("readme_{name}.py"));
        fs::write(&file, example).with_context(|| format!("could not write {}", file.display()))?;
        run(&venv, &file).with_context(|| {
            format!("the first example of {} does not run as it stands", readme.display())
        })?;
        ran += 1;
    }
    Ok(ran)
}

fn run(venv: &Venv, file: &Path) -> Result<()> {
    let mut command = venv.python();
    command.arg(file).current_dir(venv.folder());
    let progress = Progress::spinner(&process::describe(&command));
    let finished =
        process::watch_within(&mut command, LIMIT, progress, |_, _, line| Some(line.to_owned()))?;
    if finished.killed_after.is_some() {
        bail!("it did not end within {} s", LIMIT.as_secs());
    }
    finished.expect_success(&command)
}

/// The lines of the first fenced block of Python.
fn first_example(markdown: &str) -> Option<String> {
    let mut lines = markdown.lines();
    lines.find(|line| line.trim_end() == "```python")?;
    let mut example = String::new();
    for line in lines {
        if line.trim_end() == "```" {
            return Some(example);
        }
        example.push_str(line);
        example.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_python_block_is_taken_whole() {
        let text =
            "# T\n```rust\nfn a() {}\n```\n```python\nimport a\n\na.b()\n```\n```python\nc\n```\n";
        assert_eq!(first_example(text).as_deref(), Some("import a\n\na.b()\n"));
    }

    #[test]
    fn without_a_closed_block_there_is_none() {
        for text in ["", "```sh\npython\n```", "```python\nnever closed\n"] {
            assert_eq!(first_example(text), None, "{text:?}");
        }
    }
}
