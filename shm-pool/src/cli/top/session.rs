//! A session at a terminal: keys in, screens out, and the terminal as it was at the end.
//!
//! Upholds invariant 5: between two looks it sleeps, and looks up five times a second for a signal.

use super::super::exit::{Exit, Failure};
use super::super::watch::Ending;
use super::draw;
use super::model::{Model, Order, Press};
use super::snapshot::Snapshot;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// How soon a signal is noticed.
const NAP: Duration = Duration::from_millis(200);
/// Rows of a page.
const PAGE: isize = 10;

/// Shows segments until somebody has seen enough.
pub(crate) fn run(model: &mut Model, interval: Duration) -> Result<Exit, Failure> {
    let ending = Ending::listen()?;
    model.take(Snapshot::take(&model.prefix)?);
    let mut screen = Screen::open()?;
    let mut next = Instant::now() + interval;
    screen.draw(model)?;
    loop {
        let left = next.saturating_duration_since(Instant::now()).min(NAP);
        let mut has_changed = false;
        match Keys::within(left)? {
            Keys::Pressed => {
                has_changed = true;
                if read_keys(model)? {
                    return Ok(Exit::Done);
                }
            }
            Keys::HungUp => return Ok(Exit::Done),
            Keys::None => {}
        }
        if ending.within(Duration::ZERO) {
            return Ok(Exit::Done);
        }
        if Instant::now() >= next {
            model.take(Snapshot::take(&model.prefix)?);
            (next, has_changed) = (Instant::now() + interval, true);
        }
        if has_changed {
            screen.draw(model)?;
        }
    }
}

/// Whether keys were pressed, or the window changed.
enum Keys {
    None,
    Pressed,
    /// The terminal is gone.
    HungUp,
}

impl Keys {
    /// Sleeps for so long, or until there is something to read.
    ///
    /// The terminal is asked first whether it is still there, because reading from one that is not
    /// would never end in `event::poll`.
    fn within(nap: Duration) -> Result<Keys, Failure> {
        let stdin = io::stdin();
        let mut left = nap;
        if stdin.is_terminal() {
            let mut asked = [PollFd::new(&stdin, PollFlags::IN)];
            // Longer than a nap it never is.
            let timeout = Timespec { tv_sec: 0, tv_nsec: nap.subsec_nanos().into() };
            match poll(&mut asked, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(refused(&errno.into())),
            }
            if asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Ok(Keys::HungUp);
            }
            left = Duration::ZERO;
        }
        let is_pressed = event::poll(left).map_err(|error| refused(&error))?;
        Ok(if is_pressed { Keys::Pressed } else { Keys::None })
    }
}

/// Hands on all keys that were pressed; true if one of them is to end.
fn read_keys(model: &mut Model) -> Result<bool, Failure> {
    loop {
        let happened = event::read().map_err(|error| refused(&error))?;
        if let Event::Key(key) = happened
            && pressed(key).is_some_and(|press| model.press(press))
        {
            return Ok(true);
        }
        if !event::poll(Duration::ZERO).map_err(|error| refused(&error))? {
            return Ok(false);
        }
    }
}

/// The terminal in its other screen, and back when dropped. A panic brings it back before its message.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> Result<Screen, Failure> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                // Perhaps half of it was done.
                let _ = ratatui::try_restore();
                Err(refused(&error))
            }
        }
    }

    fn draw(&mut self, model: &Model) -> Result<(), Failure> {
        let drawn = self.terminal.draw(|frame| draw::draw(frame, model));
        drawn.map(drop).map_err(|error| refused(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn refused(error: &io::Error) -> Failure {
    Failure::system("use the terminal", error)
}

fn pressed(key: KeyEvent) -> Option<Press> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Press::Quit,
        _ if is_control => return None,
        KeyCode::Char('q') => Press::Quit,
        KeyCode::Esc => Press::Back,
        KeyCode::Char('n') => Press::Sort(Order::Name),
        KeyCode::Char('r') => Press::Sort(Order::Rate),
        KeyCode::Char('m') => Press::Sort(Order::Memory),
        KeyCode::Char('p') => Press::Sort(Order::Holders),
        KeyCode::Char('k') | KeyCode::Up => Press::Move(-1),
        KeyCode::Char('j') | KeyCode::Down => Press::Move(1),
        KeyCode::PageUp => Press::Move(-PAGE),
        KeyCode::PageDown => Press::Move(PAGE),
        KeyCode::Home => Press::Move(isize::MIN),
        KeyCode::End => Press::Move(isize::MAX),
        KeyCode::Enter => Press::Enter,
        KeyCode::Char(' ') => Press::Pause,
        KeyCode::Char('?' | 'h') => Press::Help,
        _ => return None,
    })
}
