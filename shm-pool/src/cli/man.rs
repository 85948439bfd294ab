//! `shm man`: the manual, from the same declaration as the command line.
//!
//! The same program writes the same bytes, whenever and wherever it runs.

use super::arguments::{Arguments, ManArgs, Manual};
use super::exit::{Exit, Failure};
use super::output::Output;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The page of the Markdown form.
const MARKDOWN: &str = "cli.md";

pub(crate) fn run(args: &ManArgs, output: &Output) -> Result<Exit, Failure> {
    let refused = |source: io::Error| {
        Failure::system(&format!("write the manual into `{}`", args.folder.display()), &source)
    };
    fs::create_dir_all(&args.folder).map_err(refused)?;
    let written = match args.format {
        Manual::Roff => roff(&args.folder),
        Manual::Markdown => markdown(&args.folder).map(|page| vec![page]),
    };
    let files: Vec<String> =
        written.map_err(refused)?.iter().map(|path| path.display().to_string()).collect();
    output.result(&Pages { files: &files }, || files.join("\n"))?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Pages<'a> {
    files: &'a [String],
}

fn roff(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let of_commands = command.get_subcommands().cloned();
    let pages: Vec<Command> = std::iter::once(command.clone()).chain(of_commands).collect();
    pages.into_iter().map(|page| Man::new(page).manual("shm").generate_to(folder)).collect()
}

fn markdown(folder: &Path) -> io::Result<PathBuf> {
    let options = clap_markdown::MarkdownOptions::new()
        .title("The command line of shm".to_owned())
        .show_footer(false);
    let page = folder.join(MARKDOWN);
    fs::write(&page, clap_markdown::help_markdown_custom::<Arguments>(&options))?;
    Ok(page)
}
