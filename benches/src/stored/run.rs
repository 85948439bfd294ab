//! One file with all suites, or several with one each.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Field, SUITES, StoredHeader, StoredRow};

/// What the files hold together.
#[derive(Clone, Debug)]
pub struct StoredRun {
    /// The header of the run; none if the files are those of single suites.
    pub header: Option<StoredHeader>,
    /// The suites that have rows, in the order of [`SUITES`].
    pub suites: Vec<StoredSuite>,
    /// The suites that failed, and why.
    pub failed: Vec<(String, String)>,
}

/// A suite that has rows.
#[derive(Clone, Debug)]
pub struct StoredSuite {
    /// One of [`SUITES`].
    pub name: String,
    /// The file it lies in.
    pub file: String,
    /// Its own header.
    pub header: StoredHeader,
    /// Its rows.
    pub rows: Vec<StoredRow>,
    /// All of it, with what only this suite has.
    pub report: Value,
}

impl StoredRun {
    /// Reads one file of a run or of a suite, or several of suites.
    pub fn read(files: &[PathBuf]) -> Result<StoredRun> {
        let mut run = StoredRun { header: None, suites: Vec::new(), failed: Vec::new() };
        for file in files {
            let name = file.display().to_string();
            let text =
                fs::read_to_string(file).with_context(|| format!("could not read {name}"))?;
            let value: Value = serde_json::from_str(&text).with_context(|| {
                format!("{name}: it is no JSON; name a file that `cargo xtask bench` wrote")
            })?;
            run.add(&name, &value)?;
            ensure!(
                run.header.is_none() || files.len() == 1,
                "{name} is a run of all suites, which stands alone; name no other file beside it"
            );
        }
        run.suites.sort_by_key(|suite| SUITES.iter().position(|name| *name == suite.name));
        Ok(run)
    }

    /// The suite of this name.
    pub fn suite(&self, name: &str) -> Option<&StoredSuite> {
        self.suites.iter().find(|suite| suite.name == name)
    }

    /// A row of a suite.
    pub fn row(&self, suite: &str, name: &str) -> Option<&StoredRow> {
        self.suite(suite)?.rows.iter().find(|row| row.name == name)
    }

    /// Whether any of it was cut short.
    pub fn quick(&self) -> bool {
        self.headers().any(|header| header.quick)
    }

    /// Where it ran: one line for each machine.
    pub fn machines(&self) -> Vec<String> {
        let mut machines: Vec<_> = self.headers().map(|header| header.machine.clone()).collect();
        machines.sort();
        machines.dedup();
        machines
    }

    fn headers(&self) -> impl Iterator<Item = &StoredHeader> {
        self.header.iter().chain(self.suites.iter().map(|suite| &suite.header))
    }

    fn add(&mut self, file: &str, value: &Value) -> Result<()> {
        let whole = Field::whole(file, value);
        let Some(suites) = whole.maybe("suites") else {
            let suite = StoredSuite::of(file, name_of(&whole)?, &whole)?;
            ensure!(
                self.suite(&suite.name).is_none(),
                "{file}: the suite `{}` is in two of these files; leave one out",
                suite.name
            );
            self.suites.push(suite);
            return Ok(());
        };
        self.header = Some(StoredHeader::of(&whole.get("header")?)?);
        for (name, suite) in suites.fields()? {
            ensure!(SUITES.contains(&name), suite.wrong("expected one of the known suites"));
            if let Some(why) = suite.maybe_text("failed")? {
                self.failed.push((name.to_owned(), why.to_owned()));
            }
            if suite.maybe("rows").is_some() {
                self.suites.push(StoredSuite::of(file, name, &suite)?);
            } else if suite.maybe("failed").is_none() {
                bail!(suite.wrong("expected `rows`, or `failed` with the reason"));
            }
        }
        Ok(())
    }
}

impl StoredSuite {
    fn of(file: &str, name: &str, report: &Field<'_>) -> Result<StoredSuite> {
        let rows = report.get("rows")?.elements()?;
        Ok(StoredSuite {
            name: name.to_owned(),
            file: file.to_owned(),
            header: StoredHeader::of(&report.get("header")?)?,
            rows: rows.iter().map(StoredRow::of).collect::<Result<_>>()?,
            report: report.value().clone(),
        })
    }

    /// The report with its fields.
    pub fn fields(&self) -> Field<'_> {
        Field::whole(&self.file, &self.report)
    }
}

/// The suite that wrote a report, by the command that its header tells.
fn name_of<'a>(report: &Field<'a>) -> Result<&'a str> {
    let command = report.get("header")?.get("command")?;
    let mut words = command.text()?.split_whitespace();
    let name = if command.text()?.contains("bench.py") {
        Some("py")
    } else {
        words.find(|word| *word == "--bench").and_then(|_| words.next())
    };
    match name.filter(|name| SUITES.contains(name)) {
        Some(name) => Ok(name),
        None => bail!(command.wrong("expected the command of a suite")),
    }
}

/// The files whose figures are quoted: the run, or, while there is none, those of single suites.
pub fn quoted(folder: &Path) -> Result<Vec<PathBuf>> {
    let run = folder.join("run.json");
    if run.exists() {
        return Ok(vec![run]);
    }
    let listing =
        fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in listing {
        let path = entry.with_context(|| format!("could not list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(
        !files.is_empty(),
        "{} holds no run; `cargo xtask bench all` writes one",
        folder.display()
    );
    Ok(files)
}
