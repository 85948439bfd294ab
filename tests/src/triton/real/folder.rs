//! Where the server and everything that belongs to it lies.

use std::path::{Path, PathBuf};

/// The folder that `cargo xtask triton fetch` fills: `target/triton-server` in the workspace, or
/// what `SHM_TRITON_SERVER` names.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder of this workspace. It does not move with `CARGO_TARGET_DIR`.
    pub fn of_workspace() -> Folder {
        Folder(std::env::var_os("SHM_TRITON_SERVER").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target").join("triton-server"),
            PathBuf::from,
        ))
    }

    /// The server's program.
    pub fn server(&self) -> PathBuf {
        self.0.join("server/pytriton/tritonserver/bin/tritonserver")
    }

    /// The native backend of this workspace and the server's Python backend.
    pub fn backends(&self) -> PathBuf {
        self.0.join("server/pytriton/tritonserver/backends")
    }

    /// The models of the native backend.
    pub fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// The models of the Python backend.
    pub fn python_models(&self) -> PathBuf {
        self.0.join("models-python")
    }

    /// The virtual environment that the Python backend runs in.
    pub fn python(&self) -> PathBuf {
        self.0.join("python")
    }

    /// Where the library of that environment's interpreter is.
    pub fn python_library(&self) -> PathBuf {
        self.0.join("python-library")
    }

    /// The text detector, an ONNX file.
    pub fn detector(&self) -> PathBuf {
        self.0.join("detector.onnx")
    }

    /// NVIDIA's load generator, and the folder with the libraries that it needs.
    pub fn perf_analyzer(&self) -> PathBuf {
        self.0.join("perf_analyzer/perf_analyzer")
    }

    /// What to tell a person where something of it is missing.
    pub(super) fn missing(&self, python: bool) -> Option<String> {
        let native = [self.server(), self.models(), self.backends().join("shm_test")];
        let python = [self.python().join("bin/python"), self.python_models()]
            .into_iter()
            .filter(|_| python)
            .map(|path| (path, "cargo xtask triton fetch --python"));
        let mut needed =
            native.into_iter().map(|path| (path, "cargo xtask triton fetch")).chain(python);
        needed.find(|(path, _)| !path.exists()).map(|(path, command)| {
            format!("no real Triton server: {} is missing; run `{command}`", path.display())
        })
    }
}
