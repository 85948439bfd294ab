//! What the READMEs say about the programs is true: they exist, and explain themselves.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [(&str, &str); 11] = [
    ("camera", env!("CARGO_BIN_EXE_camera")),
    ("display", env!("CARGO_BIN_EXE_display")),
    ("sensor", env!("CARGO_BIN_EXE_sensor")),
    ("control", env!("CARGO_BIN_EXE_control")),
    ("tokenizer", env!("CARGO_BIN_EXE_tokenizer")),
    ("rank", env!("CARGO_BIN_EXE_rank")),
    ("kv-store", env!("CARGO_BIN_EXE_kv-store")),
    ("kv-worker", env!("CARGO_BIN_EXE_kv-worker")),
    ("triton-picture", env!("CARGO_BIN_EXE_triton-picture")),
    ("inference-server", env!("CARGO_BIN_EXE_inference-server")),
    ("sobel", env!("CARGO_BIN_EXE_sobel")),
];

#[test]
fn every_program_explains_itself() {
    for (name, path) in PROGRAMS {
        let help = Command::new(path).arg("--help").output().expect("it starts");
        let text = String::from_utf8(help.stdout).expect("it is text");
        assert!(help.status.success() && text.contains("--seconds"), "{name}: {text}");
        assert!(text.contains(&format!("Usage: {name} ")), "{name}: {text}");
    }
}

#[test]
fn every_folder_is_listed_and_names_its_programs() {
    let list = read(&root().join("README.md"));
    let mut commands = BTreeSet::new();
    for folder in folders() {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("it is text");
        assert!(list.contains(&format!("]({name}/)")), "{name} is not in the list");
        let readme = read(&folder.join("README.md"));
        let lines = readme.lines().count();
        assert!(lines <= 40, "the README of {name} has {lines} lines");
        for source in fs::read_dir(&folder).expect("it is a folder") {
            let source = source.expect("it can be listed");
            if source.path().is_dir() {
                continue; // made by an interpreter
            }
            let source = source.file_name();
            let source = source.to_str().expect("it is text").to_owned();
            assert!(
                readme.contains(&source) || source == "README.md",
                "{name} is silent on {source}"
            );
        }
        let named =
            readme.split("--bin ").skip(1).filter_map(|rest| rest.split_whitespace().next());
        commands.extend(named.map(str::to_owned));
    }
    let programs: BTreeSet<String> = PROGRAMS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(commands, programs, "the commands of the READMEs, and the programs");
}

/// The folders for users: those with a README.
fn folders() -> Vec<PathBuf> {
    let all = fs::read_dir(root()).expect("it is a folder");
    let paths = all.map(|entry| entry.expect("it can be listed").path());
    paths.filter(|path| path.is_dir() && !path.ends_with("tests")).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
