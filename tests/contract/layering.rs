//! Which packages there are, which of them may know of which, and that no test file is forgotten.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every package that the workspace may have, and the workspace packages that it may depend on.
const PACKAGES: &[(&str, &[&str])] = &[
    ("shm-core", &[]),
    ("shm-pool", &["shm-core"]),
    ("shm-cuda", &["shm-core", "shm-pool", "shm-cuda-sim"]),
    ("shm-triton", &["shm-core", "shm-pool", "shm-cuda"]),
    ("shm-py", &["shm-core", "shm-pool", "shm-cuda", "shm-triton"]),
    ("shm-cuda-sim", &[]),
    ("shm-triton-backend", &[]),
    ("shm-zoo", &["shm-core", "shm-triton"]),
    ("shm-tests", &["shm-core", "shm-pool", "shm-cuda", "shm-triton", "shm-zoo", "shm-cuda-sim"]),
    ("shm-benches", &["shm-core", "shm-pool", "shm-cuda", "shm-triton", "shm-zoo"]),
    ("shm-examples", &["shm-core", "shm-pool", "shm-triton", "shm-zoo"]),
    ("xtask", &["shm-core", "shm-pool", "shm-cuda", "shm-triton"]),
];

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    let all = metadata["packages"].as_array().unwrap();
    all.iter().map(|package| (text(package, "name"), package)).collect()
}

#[test]
fn the_packages_are_the_known_ones() {
    let metadata = metadata();
    let found = packages(&metadata);
    assert!(found.contains_key("shm-core") && found.contains_key("shm-tests"));
    for name in found.keys() {
        assert!(PACKAGES.iter().any(|(known, _)| known == name), "unknown package {name}");
    }
}

#[test]
fn nobody_depends_on_a_layer_above() {
    let metadata = metadata();
    let packages = packages(&metadata);
    for (name, package) in &packages {
        let (_, allowed) = PACKAGES.iter().find(|(known, _)| known == name).unwrap();
        // Of every kind, for tests and builds too.
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = text(dependency, "name");
            let inside = packages.contains_key(other) || dependency["path"].is_string();
            // A package that names itself wants features of its own in its tests.
            let itself = other == *name && dependency["kind"] == "dev";
            assert!(!inside || itself || allowed.contains(&other), "{name} depends on {other}");
        }
    }
    let core = packages["shm-core"]["dependencies"].as_array().unwrap();
    assert!(core.iter().all(|dependency| !dependency["path"].is_string()));
}

#[test]
fn every_test_file_is_reached() {
    let metadata = metadata();
    let packages = packages(&metadata);
    let package = packages["shm-tests"];
    let mut waiting: Vec<(PathBuf, bool)> = package["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| (PathBuf::from(text(target, "src_path")), true))
        .collect();
    let mut reached = BTreeSet::new();
    while let Some((file, root)) = waiting.pop() {
        for module in modules(&file) {
            let owns_directory = root || file.file_name().is_some_and(|name| name == "mod.rs");
            let directory = match owns_directory {
                true => file.parent().unwrap().to_owned(),
                false => file.with_extension(""),
            };
            let candidates =
                [directory.join(format!("{module}.rs")), directory.join(&module).join("mod.rs")];
            let found = candidates.into_iter().find(|path| path.exists());
            let found =
                found.unwrap_or_else(|| panic!("no file for mod {module} of {}", file.display()));
            waiting.push((found, false));
        }
        reached.insert(file);
    }
    let root = Path::new(text(package, "manifest_path")).parent().unwrap();
    let mut forgotten = Vec::new();
    visit(root, root, &mut |file| {
        if !reached.contains(file) {
            forgotten.push(file.to_owned());
        }
    });
    assert!(reached.len() > 30, "this very suite has more files: {reached:?}");
    assert!(forgotten.is_empty(), "in no module tree: {forgotten:?}");
}

/// Names of the modules that a file declares and that have files of their own.
fn modules(file: &Path) -> Vec<String> {
    let source = std::fs::read_to_string(file).unwrap();
    let declaration = |line: &str| {
        let line = line.trim();
        let visible = line.starts_with("mod ") || line.starts_with("pub");
        let (before, name) = line.strip_suffix(';')?.split_once("mod ")?;
        let declared = visible && (before.is_empty() || before.ends_with(' '));
        let word = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        (declared && word).then(|| name.to_owned())
    };
    source.lines().filter_map(declaration).collect()
}

/// All sources below `directory`, except those of packages of their own.
fn visit(root: &Path, directory: &Path, see: &mut impl FnMut(&Path)) {
    if directory != root && directory.join("Cargo.toml").exists() {
        return;
    }
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            visit(root, &path, see);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            see(&path);
        }
    }
}
