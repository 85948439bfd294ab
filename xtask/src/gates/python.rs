//! The gates of the Python package.

use anyhow::Result;

use super::gate::Report;
use crate::parity;
use crate::process;
use crate::progress::Progress;
use crate::python::types::Checked;
use crate::python::{Python, exports, pytest, readme, types};
use crate::test_run::TestCounts;
use crate::workspace::Workspace;

pub fn tests(workspace: &Workspace) -> Result<Report> {
    let python = Python::ready(workspace)?;
    let command = pytest::package_tests(workspace, &python.venv)?;
    let run = pytest::run(workspace, command, Progress::spinner)?;
    let counts = run.counts();
    let report = Report::check("cargo xtask py", counts.ran(), "tests").with_tests(counts);
    let trouble = run.trouble();
    Ok(report.failing_if(trouble.is_some(), || trouble.unwrap_or_default()))
}

pub fn stubs(workspace: &Workspace) -> Result<Report> {
    let python = Python::ready(workspace)?;
    Ok(report_of(&types::stubs(workspace, &python.venv)?, "modules"))
}

pub fn types(workspace: &Workspace) -> Result<Report> {
    let python = Python::ready(workspace)?;
    Ok(report_of(&types::code(workspace, &python.venv)?, "files"))
}

pub fn parity(workspace: &Workspace) -> Result<Report> {
    let parity = parity::run(workspace)?;
    let mut counts = TestCounts::default();
    for (_, sum) in &parity.releases {
        counts += sum.tests();
    }
    let behaviours = parity::shared_tensor::run(workspace)?;
    counts += behaviours.tests();
    let ran = "cargo xtask parity pyshmem, shared-tensor";
    let report = Report::check(ran, counts.ran(), "tests").with_tests(counts);
    let troubles: Vec<String> =
        [parity.trouble(), behaviours.trouble()].into_iter().flatten().collect();
    let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
    Ok(report.failing_if(trouble.is_some(), || trouble.unwrap_or_default()))
}

pub fn wheel(workspace: &Workspace) -> Result<Report> {
    let python = Python::ready(workspace)?;
    let exported = exports::of_wheel(workspace, &python)?;
    let ran = readme::try_examples(workspace, &python.wheel)?;
    let report = Report::check("pip install the wheel, run the READMEs", ran, "examples");
    let entry = ["PyInit__native".to_owned()];
    Ok(report.failing_if(exported != entry, || {
        format!("the module exports {exported:?} where {entry:?} is expected: what it exports may get between another library and its own")
    }))
}

fn report_of(checked: &Checked, unit: &'static str) -> Report {
    Report::check(process::describe(&checked.command), checked.count, unit)
        .failing_if(!checked.finished.status.success(), || {
            "what is named above does not agree with the stubs".to_owned()
        })
}
