//! One release of pyshmem: its source archive, and the folder that its tests run in.
//!
//! 1.0.1 is under the GPL. Nothing of it is part of this repository or of what it builds: the
//! archive is downloaded into the target folder, and its tests run against our module from there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::python::venv::{Venv, run_pip};
use crate::workspace::Workspace;

/// A release whose tests are run.
pub struct Release {
    pub version: &'static str,
    /// Of the source archive.
    pub sha256: &'static str,
    /// The files that are run.
    pub files: &'static [&'static str],
    /// The other files of its tests, and why they are not run.
    pub left_out: &'static [(&'static str, &'static str)],
    /// How many tests the files hold: fewer would mean that not all were found.
    pub tests: usize,
}

/// The release that the package replaces.
pub const ORIGINAL: Release = Release {
    version: "1.0.1",
    sha256: "eb1527868e62aebdde8d2cb526b48c508ce45f51afb80a0ea7c70f85100017fe",
    files: &["test_cpu_api.py", "test_benchmark.py"],
    left_out: &[NEEDS_TORCH],
    tests: 28,
};

/// The newest release.
pub const NEWEST: Release = Release {
    version: "1.4.0",
    sha256: "d77117e380f6092231c6ad2dd7a1b2d669151c53062da633232029c33967f3e1",
    files: &["test_cpu_api.py", "test_benchmark.py"],
    left_out: &[
        NEEDS_TORCH,
        ("test_benchmark_harness.py", "imports benchmarks/, which is not in the source archive"),
    ],
    tests: 172,
};

const NEEDS_TORCH: (&str, &str) = ("test_gpu_api.py", "needs torch and a CUDA device");

impl Release {
    /// Makes the folder that the tests run in: the tests unmodified in `tests`, the alias in
    /// `src`, where they look for it, and a `conftest.py` of ours. Returns the folder.
    pub fn lay_out(&self, workspace: &Workspace, venv: &Venv) -> Result<PathBuf> {
        let root = workspace.target_dir().join("parity");
        let archive = root.join(format!("pyshmem-{}.tar.gz", self.version));
        if !archive.exists() {
            self.download(&root, venv)?;
        }
        let folder = root.join(self.version);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("could not empty {}", folder.display()))?;
        }
        let tests = folder.join("tests");
        for (file, text) in [
            (folder.join("unpack.py"), include_str!("unpack.py")),
            (folder.join("pytest.ini"), PYTEST_INI),
            (folder.join("src").join("pyshmem.py"), include_str!("alias.py")),
            (tests.join("conftest.py"), include_str!("conftest.py")),
        ] {
            write(&file, text)?;
        }
        self.unpack(&archive, &folder, venv)?;
        Ok(folder)
    }

    fn download(&self, root: &Path, venv: &Venv) -> Result<()> {
        let list = root.join("requirements.txt");
        write(&list, &format!("pyshmem=={} --hash=sha256:{}\n", self.version, self.sha256))?;
        let mut pip = venv.pip("download");
        pip.args(["--no-deps", "--no-binary", ":all:", "--no-build-isolation"])
            .args(["--require-hashes", "--dest"])
            .arg(root)
            .arg("--requirement")
            .arg(&list);
        run_pip(&mut pip).with_context(|| {
            format!("the source archive of pyshmem {} could not be downloaded", self.version)
        })
    }

    fn unpack(&self, archive: &Path, folder: &Path, venv: &Venv) -> Result<()> {
        let tests = folder.join("tests");
        let mut unpack = venv.python();
        unpack.arg(folder.join("unpack.py")).arg(archive).arg(self.sha256).arg(&tests);
        let taken = process::ask(&mut unpack)?;
        let known = self.files.len() + self.left_out.len();
        ensure!(
            taken == known.to_string(),
            "{} holds {taken} files of tests, {known} are known",
            archive.display()
        );
        Ok(())
    }
}

/// Stops pytest from looking for its settings further up, in this workspace.
const PYTEST_INI: &str = "[pytest]
markers =
    cpu: of the original suite
    gpu: of the original suite
    benchmark: of the original suite
";

fn write(file: &Path, text: &str) -> Result<()> {
    let folder = file.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("could not write {}", file.display()))
}
