//! Where and how a stored run was made.

use anyhow::Result;

use super::Field;

/// What is read of a header.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredHeader {
    /// `YYYY-MM-DDThh:mm:ssZ`.
    pub date: String,
    /// Processor, number of cores and system.
    pub machine: String,
    /// The command.
    pub command: String,
    /// The commit, if it was known.
    pub commit: Option<String>,
    /// Compiler, or interpreter and NumPy.
    pub versions: Vec<String>,
    /// Whether the measurements were cut short.
    pub quick: bool,
}

impl StoredHeader {
    /// Reads a header.
    pub fn of(header: &Field<'_>) -> Result<StoredHeader> {
        let machine = header.get("machine")?;
        let machine = format!(
            "{} cores, {}, {}",
            machine.get("cores")?.number()?,
            machine.get("cpu")?.text()?,
            machine.get("kernel")?.text()?
        );
        let compiler = header.maybe_text("rustc")?;
        let compiler = compiler.map(|rustc| rustc.split(" (").next().unwrap_or(rustc).to_owned());
        let interpreter = header.maybe_text("python")?.map(str::to_owned);
        let numpy = header.maybe_text("numpy")?.map(|version| format!("NumPy {version}"));
        Ok(StoredHeader {
            date: header.get("date")?.text()?.to_owned(),
            machine,
            command: header.get("command")?.text()?.to_owned(),
            commit: header.maybe_text("commit")?.map(str::to_owned),
            versions: [compiler, interpreter, numpy].into_iter().flatten().collect(),
            quick: header.get("quick")?.truth()?,
        })
    }

    /// The day.
    pub fn day(&self) -> &str {
        self.date.split('T').next().unwrap_or(&self.date)
    }

    /// Day, machine and versions in one line, with a word about figures that are not for quoting.
    pub fn line(&self) -> String {
        let mut parts = vec![self.day().to_owned(), self.machine.clone()];
        parts.extend(self.versions.iter().cloned());
        if self.quick {
            parts.push(QUICK.to_owned());
        }
        parts.join(", ")
    }
}

/// Said wherever figures of a quick run are shown.
pub(super) const QUICK: &str = "**QUICK RUN: not for quoting**";
