//! `shm view`: a frame as a picture, in the terminal, in a PNG file, or on a live page.
//!
//! ```text
//!   stream ──▶ source ──▶ picture ──▶ terminal     half blocks in colour, or ASCII
//!              one whole   8 bits ──▶ png          a file
//!              frame       a channel▶ page         a server on this machine, a page in a browser
//! ```
//!
//! Upholds invariants 4 (it reads without any write access) and 5 (a wait for a frame has an end).

mod arrangement;
mod ending;
mod page;
mod picture;
mod png;
mod shrink;
mod source;
mod terminal;

mod samples;

use super::arguments::ViewArgs;
use super::exit::{Exit, Failure};
use super::output::Output;
use ending::Ending;
use shm_core::Deadline;
use source::{Next, Shot, ShotRow, Source};
use std::path::Path;
use std::time::{Duration, Instant};

/// The terminal is drawn at most 20 times a second.
const PACE: Duration = Duration::from_millis(50);
/// A frame that grows old is told so this often.
const AGEING: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &ViewArgs, output: &Output) -> Result<Exit, Failure> {
    if let Some(address) = args.http {
        page::check(address)?;
    }
    let mut source = Source::open(&args.name, args.range)?;
    let ending = Ending::new(args.seconds)?;
    match (args.http, &args.png) {
        (Some(address), _) => page::serve(address, source, args.range, &ending, output),
        (_, Some(path)) => keep(&mut source, path, args.timeout, &ending, output),
        _ if args.follow => follow(&mut source, args.timeout, &ending, output),
        _ => show(&mut source, args.timeout, &ending, output),
    }
}

fn keep(
    source: &mut Source,
    path: &Path,
    timeout: Duration,
    ending: &Ending,
    output: &Output,
) -> Result<Exit, Failure> {
    let Some(shot) = first(source, timeout, ending)? else { return Ok(Exit::Done) };
    png::write(&shot.picture, path)?;
    let file = path.display().to_string();
    let row = ShotRow { file: Some(file.clone()), ..source.row(&shot) };
    output.result(&row, || format!("{file}: {}", terminal::caption(&row, None)))?;
    Ok(Exit::Done)
}

fn show(
    source: &mut Source,
    timeout: Duration,
    ending: &Ending,
    output: &Output,
) -> Result<Exit, Failure> {
    let Some(shot) = first(source, timeout, ending)? else { return Ok(Exit::Done) };
    let row = source.row(&shot);
    output.result(&row, || terminal::Canvas::of_stdout().text(&shot.picture, &row, None))?;
    Ok(Exit::Done)
}

fn follow(
    source: &mut Source,
    timeout: Duration,
    ending: &Ending,
    output: &Output,
) -> Result<Exit, Failure> {
    let Some(mut shot) = first(source, timeout, ending)? else { return Ok(Exit::Done) };
    let screen = terminal::Screen::enter(output)?;
    loop {
        let drawn = Instant::now();
        screen.draw(&shot.picture, &source.row(&shot), source.writer_alive())?;
        match newer(source, &shot, ending, &screen)? {
            Some(Next::Frame(next)) => shot = *next,
            Some(Next::Gone) => {
                drop(screen);
                let name = source.name();
                eprintln!("stream '{name}' was unlinked or replaced; open the name again");
                return Ok(Exit::Findings);
            }
            _ => break,
        }
        let early = PACE.saturating_sub(drawn.elapsed());
        if !early.is_zero() {
            std::thread::sleep(ending.slice(early));
        }
    }
    drop(screen);
    Ok(Exit::Done)
}

/// The frame after `shot`; none if the end came first.
fn newer(
    source: &mut Source,
    shot: &Shot,
    ending: &Ending,
    screen: &terminal::Screen,
) -> Result<Option<Next>, Failure> {
    let mut told = Instant::now();
    while !ending.has_come() {
        match source.next(shot.info.count, Deadline::after(ending.slice(AGEING)))? {
            Next::Nothing => {}
            next => return Ok(Some(next)),
        }
        if told.elapsed() >= AGEING {
            told = Instant::now();
            screen.age(&shot.picture, &source.row(shot), source.writer_alive())?;
        }
    }
    Ok(None)
}

/// The newest frame, or the first that comes in time; none if the end came first.
fn first(source: &mut Source, timeout: Duration, ending: &Ending) -> Result<Option<Shot>, Failure> {
    let deadline = Deadline::after(timeout);
    loop {
        let left = deadline.remaining().unwrap_or(timeout);
        match source.next(0, Deadline::after(ending.slice(left)))? {
            Next::Frame(shot) => return Ok(Some(*shot)),
            Next::Gone => {
                let name = source.name();
                let text =
                    format!("stream '{name}' was unlinked or replaced before its first frame");
                return Err(Failure::new(Exit::NotFound, text, "open the name again"));
            }
            Next::Nothing if ending.has_come() => return Ok(None),
            Next::Nothing if deadline.has_passed() => return Err(source.no_frame(timeout)),
            Next::Nothing => {}
        }
    }
}
