//! `cargo xtask docs`: the pages of `docs/` and the reference of the Python package as a site in
//! `target/site`.
//!
//! The site is made in strict mode: a warning or a broken link fails. Its tools live in an environment of
//! their own, and the wheel of the sources as they are now lies beside them, because the docstrings of the
//! extension module are known to the built module only.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use walkdir::WalkDir;

use crate::process;
use crate::progress::Progress;
use crate::python::venv::{Change, Venv};
use crate::python::{PACKAGE, Python};
use crate::workspace::Workspace;

/// Builds the site and says where it is.
pub fn task(workspace: &Workspace) -> Result<ExitCode> {
    match build(workspace)? {
        Built::Site(site) => {
            println!("docs: {} pages in {}", site.pages, site.folder.display());
            println!("look at them with: python3 -m http.server -d {}", site.folder.display());
            Ok(ExitCode::SUCCESS)
        }
        Built::Skipped(why) => bail!("{why}"),
    }
}

/// How building went.
pub enum Built {
    Site(Site),
    /// Why this machine cannot build it.
    Skipped(String),
}

/// The site on disk.
pub struct Site {
    pub folder: PathBuf,
    pub pages: u64,
}

/// Builds the site; what is wrong with a page is an error.
pub fn build(workspace: &Workspace) -> Result<Built> {
    let venv = match tools(workspace)? {
        Tools::Ready(venv, _) => venv,
        Tools::Skipped(why) => return Ok(Built::Skipped(why)),
    };
    let python = Python::ready(workspace)?;
    let package = workspace.target_dir().join("docs-package");
    python.wheel.unpack(&python.venv, &package)?;
    let folder = workspace.target_dir().join("site");
    let mut mkdocs = venv.python();
    mkdocs
        // Not `--quiet`, with which warnings are neither shown nor counted.
        .args(["-m", "mkdocs", "build", "--strict", "--site-dir"])
        .arg(&folder)
        .env("PYTHONPATH", &package)
        // A notice of the theme's about versions other than the pinned ones.
        .env("NO_MKDOCS_2_WARNING", "1")
        .current_dir(workspace.root());
    let progress = Progress::spinner(&process::describe(&mkdocs));
    process::watch_within(&mut mkdocs, LIMIT, progress, |_, _, line| Some(line.to_owned()))?
        .expect_success(&mkdocs)
        .context("the site could not be built; mend the pages that are named above")?;
    let pages = check(&folder)?;
    Ok(Built::Site(Site { folder, pages }))
}

/// Longer than it takes, on a loaded machine too.
const LIMIT: Duration = Duration::from_secs(300);

/// The environment with the tools of the site.
pub enum Tools {
    Ready(Venv, Change),
    /// Why this machine cannot have them.
    Skipped(String),
}

/// Makes sure that the tools are there.
pub fn tools(workspace: &Workspace) -> Result<Tools> {
    let ask = "import sys; print(sys.version_info >= (3, 11, 5))";
    let new_enough = process::ask(Command::new("python3").args(["-I", "-c", ask]))
        .context("python3 does not run; install Python, with its venv and pip")?;
    if new_enough != "True" {
        return Ok(Tools::Skipped("the tools of the site need Python 3.11.5 or later".to_owned()));
    }
    let pins = workspace.root().join(PACKAGE).join("requirements-docs.txt");
    let pins =
        fs::read_to_string(&pins).with_context(|| format!("could not read {}", pins.display()))?;
    let (venv, change) = Venv::ensure(workspace.target_dir().join("docs-venv"), &pins)?;
    Ok(Tools::Ready(venv, change))
}

/// Counts the pages, none of which may fetch anything from elsewhere when it is looked at. The sources that
/// they link to are looked at, and not counted.
fn check(folder: &Path) -> Result<u64> {
    let mut pages = 0;
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("could not walk {}", folder.display()))?;
        let path = entry.path();
        // That page is the answer of a server that does not find one.
        if path.extension() != Some(OsStr::new("html")) || path.ends_with("404.html") {
            continue;
        }
        let text = fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        let fetched = fetched(&text);
        ensure!(
            fetched.is_empty(),
            "{} fetches {fetched:?} when it is looked at; have mkdocs.yml leave that out",
            path.display()
        );
        if !path.starts_with(folder.join("source")) {
            pages += 1;
        }
    }
    Ok(pages)
}

/// Scripts, styles and pictures that a page has a browser fetch from other machines. Links are followed by
/// people only.
fn fetched(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for tag in page.split('<').filter_map(|rest| rest.split('>').next()) {
        let attribute = match tag.split_whitespace().next() {
            Some("script" | "img" | "iframe" | "source") => "src=\"",
            Some("link") if !tag.contains("rel=\"canonical\"") => "href=\"",
            _ => continue,
        };
        let value = tag.split_once(attribute).and_then(|(_, rest)| rest.split('"').next());
        found.extend(
            value
                .filter(|value| value.starts_with("http") || value.starts_with("//"))
                .map(str::to_owned),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_fetches_is_found_and_what_it_links_to_is_not() {
        let page = r#"<link rel="stylesheet" href="https://fonts.example/f.css">
            <link rel="canonical" href="https://docs.example/"><link href="assets/main.css">
            <script src="//cdn.example/x.js"></script><script>let a = "http://b";</script>
            <img src="a.png"><a href="https://example.org">elsewhere</a>"#;
        assert_eq!(fetched(page), ["https://fonts.example/f.css", "//cdn.example/x.js"]);
    }

    #[test]
    fn pages_are_counted_and_one_that_fetches_fails() {
        let folder = tempfile::tempdir().unwrap();
        for inner in ["a", "source"] {
            fs::create_dir(folder.path().join(inner)).unwrap();
        }
        for page in ["index.html", "a/b.html", "404.html", "a/c.css", "source/d.html"] {
            fs::write(folder.path().join(page), "<p>text</p>").unwrap();
        }
        assert_eq!(check(folder.path()).unwrap(), 2);
        let page = folder.path().join("a/b.html");
        fs::write(page, "<script async src=\"https://cdn.example/x.js\">").unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.contains("b.html") && error.contains("cdn.example"), "{error}");
    }
}
