//! The gate that looks at the live page of `shm view` in a real browser.

use anyhow::Result;

use super::gate::Report;
use super::tests::report_of;
use crate::browser::{self, Browser};
use crate::process;
use crate::test_run;
use crate::workspace::Workspace;

pub fn page(workspace: &Workspace) -> Result<Report> {
    let mut command = workspace.cargo();
    command.args(["test", "--package", "shm-pool", "--features", "cli", "--test", "cli_page"]);
    let ran = format!("{}=PATH {}", browser::VARIABLE, process::describe(&command));
    let path = match browser::find()? {
        Browser::Ready { path, version } => {
            println!("{version} at {}", path.display());
            path
        }
        Browser::Skipped(why) => return Ok(Report::skipped(ran, why)),
    };
    command.env(browser::VARIABLE, path);
    let run = test_run::run(&mut command)?;
    Ok(report_of(ran, "tests", &run))
}
