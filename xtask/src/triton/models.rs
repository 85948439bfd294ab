//! The folders of models that the server reads.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::backend::replace;
use crate::workspace::Workspace;

/// The models of the native backend; how many there are.
pub fn install_native(workspace: &Workspace) -> Result<usize> {
    let source = sources(workspace).join("models");
    install(&source, &super::folder(workspace).join("models"), |_, _| Ok(()))
}

/// The models of the Python backend, each with the program that its configuration names; how many
/// there are. The detector finds its network beside its program.
pub fn install_python(workspace: &Workspace, network: &Path) -> Result<usize> {
    let source = sources(workspace).join("python-models");
    let destination = super::folder(workspace).join("models-python");
    install(&source, &destination, |config, version| {
        let program = program(config)?;
        replace(&source.join(program), &version.join(program))?;
        if program == "detector.py" {
            replace(network, &version.join("detector.onnx"))?;
        }
        Ok(())
    })
}

fn sources(workspace: &Workspace) -> PathBuf {
    workspace.root().join("tests").join("triton-backend")
}

/// Copies every folder with a configuration, and removes models that are no more.
fn install(
    source: &Path,
    destination: &Path,
    complete: impl Fn(&str, &Path) -> Result<()>,
) -> Result<usize> {
    let mut names = Vec::new();
    for entry in list(source)? {
        let config = entry.join(CONFIG);
        if !config.exists() {
            continue;
        }
        let name = entry.file_name().unwrap_or_default().to_owned();
        let version = destination.join(&name).join("1");
        fs::create_dir_all(&version)
            .with_context(|| format!("could not create {}", version.display()))?;
        replace(&config, &destination.join(&name).join(CONFIG))?;
        let text = fs::read_to_string(&config)
            .with_context(|| format!("could not read {}", config.display()))?;
        complete(&text, &version)
            .with_context(|| format!("could not install the model of {}", config.display()))?;
        names.push(name);
    }
    for old in list(destination)? {
        if !names.iter().any(|name| old.ends_with(name)) {
            fs::remove_dir_all(&old)
                .with_context(|| format!("could not remove {}", old.display()))?;
        }
    }
    Ok(names.len())
}

const CONFIG: &str = "config.pbtxt";

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("could not list {}", folder.display()))?;
    paths.sort();
    Ok(paths)
}

/// The program that a configuration names.
fn program(config: &str) -> Result<&str> {
    let named = config.lines().find_map(|line| line.strip_prefix("default_model_filename: "));
    match named.map(|name| name.trim().trim_matches('"')) {
        Some(name) if !name.is_empty() => Ok(name),
        _ => bail!("it has no line `default_model_filename: \"...\"`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_come_with_their_version_and_go_with_their_source() {
        let folder = tempfile::tempdir().unwrap();
        let [source, destination] = ["source", "destination"].map(|name| folder.path().join(name));
        for name in ["one", "two"] {
            fs::create_dir_all(source.join(name)).unwrap();
            fs::write(source.join(name).join(CONFIG), format!("name: \"{name}\"\n")).unwrap();
        }
        fs::write(source.join("program.py"), "").unwrap();
        assert_eq!(install(&source, &destination, |_, _| Ok(())).unwrap(), 2);
        assert!(
            destination.join("two/1").is_dir() && destination.join("two/config.pbtxt").exists()
        );
        fs::remove_dir_all(source.join("two")).unwrap();
        assert_eq!(install(&source, &destination, |_, _| Ok(())).unwrap(), 1);
        assert!(destination.join("one").exists() && !destination.join("two").exists());
    }

    #[test]
    fn a_configuration_names_its_program() {
        assert_eq!(program("name: \"a\"\ndefault_model_filename: \"b.py\"\n").unwrap(), "b.py");
        assert!(program("name: \"a\"\n").is_err());
    }
}
