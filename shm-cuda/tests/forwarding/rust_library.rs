//! Small libraries that a test needs, compiled when it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `source` to `lib<name>.so` in `folder`; it may link libraries that lie there. None, said
/// aloud, where the test program was carried to a machine without a compiler.
pub fn compile(folder: &Path, name: &str, source: &str, links: &[&str]) -> Option<PathBuf> {
    let built_by_cargo = std::env::var_os("CARGO").is_some();
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let root = folder.join(format!("{name}.rs"));
    std::fs::write(&root, source).unwrap();
    let library = folder.join(format!("lib{name}.so"));
    let mut command = Command::new(&compiler);
    command.args(["--crate-type", "cdylib", "--edition", "2024", "--crate-name", name]);
    command.args(["-C", "panic=abort", "-C", "link-arg=-Wl,-rpath,$ORIGIN", "-o"]);
    command.arg(&library).arg("-L").arg(folder).arg(&root);
    for link in links {
        command.arg("-l").arg(format!("dylib={link}"));
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if !built_by_cargo => {
            println!("SKIPPED: no {}: {error}", compiler.display());
            return None;
        }
        Err(error) => panic!("{}: {error}", compiler.display()),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library)
}
