//! `cargo xtask fresh`: do the commands of the README work for somebody who has nothing yet?
//!
//! Clones what is committed into an empty folder and runs the commands that the README shows under
//! "Two commands", word for word, with an empty cargo home, no virtual environment, no download of pip's
//! or npm's kept, and no variable of ours. Rust itself and Python are taken as installed, as the README
//! asks for them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::flags::FreshArgs;
use crate::process;
use crate::workspace::Workspace;

/// Clones and runs, and removes the folder unless it is to be kept or something failed.
pub fn task(workspace: &Workspace, args: &FreshArgs) -> Result<ExitCode> {
    let commands = chosen(readme_commands(workspace.root())?, args.only.as_deref())?;
    let place = Place::new(args.folder.clone())?;
    println!("fresh: everything lies in {}", place.folder.display());
    place.clone_of(workspace.root())?;
    let mut rows = Vec::new();
    for command in &commands {
        println!("\n$ {command}");
        let begun = Instant::now();
        let status = place.shell(command).status().context("could not start a shell")?;
        rows.push((command, status, begun.elapsed()));
        if !status.success() {
            break;
        }
    }
    println!();
    for (command, status, took) in &rows {
        let verdict = if status.success() { "ok" } else { "FAILED" };
        println!("{verdict:<8} {:>7.1} s  {command}", took.as_secs_f64());
    }
    let proven = rows.len() == commands.len() && rows.iter().all(|(_, status, _)| status.success());
    if !proven {
        println!("fresh: left for you to look at: {}", place.folder.display());
        return Ok(ExitCode::FAILURE);
    }
    if !args.keep {
        place.remove()?;
    }
    println!(
        "fresh: {} commands of the README did what they say on a machine without caches",
        rows.len()
    );
    Ok(ExitCode::SUCCESS)
}

/// An empty folder, and in it everything that would otherwise be in the person's home.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new(folder: Option<PathBuf>) -> Result<Self> {
        let folder = match folder {
            Some(folder) => std::path::absolute(folder)?,
            None => std::env::temp_dir().join(format!("shm-fresh-{}", std::process::id())),
        };
        let empty = match fs::read_dir(&folder) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => bail!("{} cannot be used: {error}", folder.display()),
        };
        ensure!(empty, "{} is not empty; name a folder that is, or none", folder.display());
        let place = Self { folder };
        for part in [place.cargo_home(), place.caches(), place.temporary()] {
            fs::create_dir_all(&part)
                .with_context(|| format!("could not create {}", part.display()))?;
        }
        place.carry_over_registry()?;
        Ok(place)
    }

    /// Where crates come from is a property of the machine's network, like its proxy: a machine that has
    /// a mirror in place of crates.io needs it here too. Nothing that was downloaded is carried over.
    fn carry_over_registry(&self) -> Result<()> {
        let Some(home) = cargo_home() else { return Ok(()) };
        for name in ["config.toml", "config"] {
            let from = home.join(name);
            if from.exists() {
                fs::copy(&from, self.cargo_home().join(name))
                    .with_context(|| format!("could not copy {}", from.display()))?;
                println!("fresh: cargo's own {name} is carried over, and no crate");
            }
        }
        Ok(())
    }

    fn clone_of(&self, root: &Path) -> Result<()> {
        let changed =
            process::ask(Command::new("git").args(["status", "--porcelain"]).current_dir(root))?;
        if !changed.is_empty() {
            println!("fresh: what is not committed is not tried:\n{changed}");
        }
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--no-hardlinks"]).arg(root).arg(self.checkout());
        process::ask(&mut clone)?;
        Ok(())
    }

    /// The command as a person types it, in the clone.
    fn shell(&self, command: &str) -> Command {
        let mut shell = Command::new("bash");
        shell.args(["-e", "-c", command]).current_dir(self.checkout()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if is_ours(&name.to_string_lossy()) {
                shell.env_remove(name);
            }
        }
        shell
            .env("CARGO_HOME", self.cargo_home())
            .env("XDG_CACHE_HOME", self.caches())
            .env("PIP_NO_CACHE_DIR", "1")
            .env("npm_config_cache", self.caches().join("npm"))
            .env("TMPDIR", self.temporary());
        shell
    }

    fn remove(&self) -> Result<()> {
        let _ = std::io::stdout().flush();
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("could not remove {}", self.folder.display()))
    }

    fn checkout(&self) -> PathBuf {
        self.folder.join("shm")
    }

    fn cargo_home(&self) -> PathBuf {
        self.folder.join("cargo-home")
    }

    fn caches(&self) -> PathBuf {
        self.folder.join("caches")
    }

    fn temporary(&self) -> PathBuf {
        self.folder.join("tmp")
    }
}

/// What cargo sets for the programs that it runs, what people set for this workspace, and what says which
/// Python is active. How the network is reached stays.
fn is_ours(variable: &str) -> bool {
    let network = variable.starts_with("CARGO_HTTP_")
        || variable.starts_with("CARGO_NET_")
        || variable.starts_with("CARGO_REGISTR");
    let ours = ["CARGO", "SHM_", "RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC", "VIRTUAL_ENV", "PYTHON"];
    !network && ours.iter().any(|prefix| variable.starts_with(prefix))
}

fn cargo_home() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

/// The commands of the block under "Two commands" in the README.
fn readme_commands(root: &Path) -> Result<Vec<String>> {
    let file = root.join("README.md");
    let text =
        fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))?;
    commands_of(&text).with_context(|| {
        format!("{} has no ```sh block with commands under `{HEADING}`", file.display())
    })
}

const HEADING: &str = "## Two commands";

fn commands_of(readme: &str) -> Option<Vec<String>> {
    let (_, section) = readme.split_once(HEADING)?;
    let (_, block) = section.split_once("```sh\n")?;
    let (block, _) = block.split_once("```")?;
    let command = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let commands: Vec<String> =
        block.lines().map(command).filter(|line| !line.is_empty()).collect();
    (!commands.is_empty()).then_some(commands)
}

fn chosen(commands: Vec<String>, only: Option<&str>) -> Result<Vec<String>> {
    let Some(only) = only else { return Ok(commands) };
    let known = commands.join("`, `");
    let some: Vec<String> = commands.into_iter().filter(|command| command.contains(only)).collect();
    ensure!(!some.is_empty(), "no command of the README contains `{only}`; they are `{known}`");
    Ok(some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = "# x\n```sh\nls\n```\n## Two commands\nRust.\n\n```sh\ncargo xtask demo     # shows\n\ncargo xtask test # all\n```\n";

    #[test]
    fn the_commands_are_those_under_their_heading_without_remarks() {
        assert_eq!(commands_of(README).unwrap(), ["cargo xtask demo", "cargo xtask test"]);
        for wrong in ["", "## Two commands\n", "## Two commands\n```sh\n# none\n```"] {
            assert!(commands_of(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn one_can_be_chosen_and_must_be_there() {
        let both = || commands_of(README).unwrap();
        assert_eq!(chosen(both(), Some("demo")).unwrap(), ["cargo xtask demo"]);
        assert_eq!(chosen(both(), None).unwrap().len(), 2);
        let error = chosen(both(), Some("deploy")).unwrap_err().to_string();
        assert!(error.contains("deploy") && error.contains("cargo xtask test"), "{error}");
    }

    #[test]
    fn a_folder_with_something_in_it_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let error = Place::new(Some(folder.path().to_owned())).err().unwrap().to_string();
        assert!(error.contains("is not empty"), "{error}");
        assert!(folder.path().join("mine").exists());
    }

    #[test]
    fn the_network_stays_and_what_points_at_caches_goes() {
        for ours in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO", "SHM_SEED", "VIRTUAL_ENV"] {
            assert!(is_ours(ours), "{ours}");
        }
        for others in [
            "HOME",
            "PATH",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "RUSTUP_HOME",
        ] {
            assert!(!is_ours(others), "{others}");
        }
    }

    /// What is committed is what is tried, and a command that fails is told.
    #[test]
    fn a_clone_runs_the_commands_of_its_readme() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path().join("fresh"))).unwrap();
        let origin = folder.path().join("origin");
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
            process::ask(git.current_dir(&origin)).unwrap()
        };
        fs::create_dir(&origin).unwrap();
        fs::write(origin.join("README.md"), README).unwrap();
        git(&["init", "--quiet"]);
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", "a"]);
        fs::write(origin.join("uncommitted"), "").unwrap();
        place.clone_of(&origin).unwrap();
        let seen = |script: &str| place.shell(script).output().unwrap();
        assert!(!seen("test -e uncommitted").status.success());
        assert!(
            seen("test -e README.md && test -z \"$(ls -A $CARGO_HOME | grep -v config)\"")
                .status
                .success()
        );
        assert!(seen("test -z \"$CARGO_MANIFEST_DIR$VIRTUAL_ENV\"").status.success());
        place.remove().unwrap();
        assert!(!place.folder.exists());
    }
}
