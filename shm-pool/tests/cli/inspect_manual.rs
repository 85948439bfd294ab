//! `shm completions`, `shm man` and `--help`: every command is in each of them.

use crate::shm;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const COMMANDS: [&str; 12] = [
    "ls",
    "stat",
    "watch",
    "top",
    "view",
    "record",
    "replay",
    "gc",
    "fsck",
    "bench",
    "completions",
    "man",
];

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(what: &str) -> Folder {
        let name = format!("shm-cli-{what}-{}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Every file and what is in it.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(&self.0).unwrap().map(Result::unwrap);
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn there_is_a_page_for_each_command() {
    let (folder, again) = (Folder::new("man"), Folder::new("man-again"));
    let told = shm(["man", folder.path(), "--json"]).done().json();
    let pages = folder.files();
    assert_eq!(told["files"].as_array().unwrap().len(), pages.len());
    assert_eq!(pages.len(), 1 + COMMANDS.len());
    for command in COMMANDS {
        let page = &pages[&format!("shm-{command}.1")];
        assert!(page.contains(".SH SYNOPSIS") && page.contains(command), "{page}");
        assert!(pages["shm.1"].contains(&format!("shm\\-{command}(1)")), "{command}");
    }
    assert!(pages["shm-gc.1"].contains("Example: shm gc"), "{}", pages["shm-gc.1"]);
    shm(["man", again.path()]).done();
    assert_eq!(again.files(), pages, "the same pages at any time");
}

#[test]
fn there_is_one_page_for_a_site() {
    let folder = Folder::new("markdown");
    shm(["man", folder.path(), "--format", "markdown"]).done();
    let files = folder.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["cli.md"]);
    for command in COMMANDS {
        assert!(files["cli.md"].contains(&format!("## `shm {command}`")), "{command}");
    }
}

#[test]
fn the_page_of_the_site_is_that_of_this_program() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    // A package that was downloaded by itself has no site.
    let Ok(page) = fs::read_to_string(page) else { return };
    let folder = Folder::new("site");
    shm(["man", folder.path(), "--format", "markdown"]).done();
    assert!(page == folder.files()["cli.md"], "run `shm man docs --format markdown`");
}

#[test]
fn a_folder_that_cannot_be_made_is_a_failure_of_the_system() {
    let ended = shm(["man", "/proc/nowhere", "--json"]);
    assert_eq!((ended.code, ended.failure()["exit"].as_str().unwrap()), (6, "system"));
    assert!(ended.failure()["message"].as_str().unwrap().contains("/proc/nowhere"));
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = shm(["completions", shell]).done().out;
        for command in COMMANDS {
            assert!(script.contains(command), "{command} for {shell}");
        }
        let told = shm(["completions", shell, "--json"]).done().json();
        assert_eq!(
            (told["shell"].as_str(), told["script"].as_str()),
            (Some(shell), Some(&*script))
        );
    }
}

#[test]
fn help_shows_an_example() {
    for command in ["ls", "stat", "gc", "fsck", "completions", "man"] {
        let help = shm([command, "--help"]).done().out;
        assert!(help.contains(&format!("Example: shm {command}")), "{help}");
    }
}
