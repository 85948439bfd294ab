//! One release of pyshmem: its source archive, and the folder that its tests run in.
//!
//! 1.0.1 is under the GPL. Nothing of it is part of this repository or of what it builds: the
//! archive is downloaded into the target folder, and its tests run against our module from there.

use std::collections::BTreeSet;
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
    /// The tests of streams in host memory.
    pub host: Suite,
    /// The tests of streams on a device, if they are run.
    pub device: Option<Suite>,
    /// The other files of its tests, and why they are not run.
    pub left_out: &'static [(&'static str, &'static str)],
}

/// Tests of a release that are run together.
pub struct Suite {
    /// The files that they are in.
    pub files: &'static [&'static str],
    /// Which tests of the files, as pytest's `-m` takes it; all without it.
    pub marked: Option<&'static str>,
    /// How many they are: fewer would mean that not all were found.
    pub tests: usize,
    /// What the run finds beside the tests: names in the folder `src`, and what is in the files.
    pub sources: &'static [(&'static str, &'static str)],
}

/// The release that the package replaces.
pub const ORIGINAL: Release = Release {
    version: "1.0.1",
    sha256: "eb1527868e62aebdde8d2cb526b48c508ce45f51afb80a0ea7c70f85100017fe",
    host: Suite {
        files: &["test_cpu_api.py", "test_benchmark.py"],
        marked: Some("not gpu"),
        tests: 25,
        sources: HOST_SOURCES,
    },
    device: Some(Suite {
        files: &["test_gpu_api.py", "test_benchmark.py"],
        marked: Some("gpu"),
        tests: 26,
        sources: &[
            ("pyshmem.py", include_str!("device/alias.py")),
            ("torch.py", include_str!("device/torch_adapter.py")),
        ],
    }),
    left_out: &[],
};

/// The newest release.
pub const NEWEST: Release = Release {
    version: "1.4.0",
    sha256: "d77117e380f6092231c6ad2dd7a1b2d669151c53062da633232029c33967f3e1",
    host: Suite {
        files: &["test_cpu_api.py", "test_benchmark.py"],
        marked: None,
        tests: 172,
        sources: HOST_SOURCES,
    },
    device: None,
    left_out: &[
        (
            "test_gpu_api.py",
            "makes its tensors with PyTorch on a GPU and calls what is private; the GPU tests that \
             are run are those of 1.0.1",
        ),
        ("test_benchmark_harness.py", "imports benchmarks/, which is not in the source archive"),
    ],
};

const HOST_SOURCES: &[(&str, &str)] = &[("pyshmem.py", include_str!("host/alias.py"))];

impl Release {
    /// Makes the folder of that name that a suite runs in: the tests unmodified in `tests`, what
    /// they import in `src`, where they look for it, and a `conftest.py` of ours. Returns the folder.
    pub fn lay_out(
        &self,
        suite: &Suite,
        name: &str,
        workspace: &Workspace,
        venv: &Venv,
    ) -> Result<PathBuf> {
        let root = workspace.target_dir().join("parity");
        let archive = root.join(format!("pyshmem-{}.tar.gz", self.version));
        if !archive.exists() {
            self.download(&root, venv)?;
        }
        let folder = root.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("could not empty {}", folder.display()))?;
        }
        let tests = folder.join("tests");
        for (file, text) in [
            (folder.join("unpack.py"), include_str!("unpack.py")),
            (folder.join("pytest.ini"), PYTEST_INI),
            (tests.join("conftest.py"), include_str!("conftest.py")),
        ] {
            write(&file, text)?;
        }
        for (file, text) in suite.sources {
            write(&folder.join("src").join(file), text)?;
        }
        self.unpack(&archive, &folder, venv)?;
        Ok(folder)
    }

    /// All files of its tests.
    fn files(&self) -> BTreeSet<&'static str> {
        let suites = [Some(&self.host), self.device.as_ref()].into_iter().flatten();
        let run = suites.flat_map(|suite| suite.files).copied();
        run.chain(self.left_out.iter().map(|(file, _)| *file)).collect()
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
        let known = self.files().len();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_two_suites_share_is_one_file() {
        let three = ["test_benchmark.py", "test_cpu_api.py", "test_gpu_api.py"];
        assert!(ORIGINAL.files().into_iter().eq(three));
        assert_eq!(NEWEST.files().len(), 4);
    }
}
