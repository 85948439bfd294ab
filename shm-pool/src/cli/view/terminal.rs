//! Pictures in a terminal: two pixels a character in colour, or plain ASCII.

use super::picture::Picture;
use super::shrink::{fit, resize};
use super::source::ShotRow;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::subject::dimensions;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{cursor, execute, queue};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// From dark to bright.
const RAMP: &[u8] = b" .:-=+*#%@";
/// Where no terminal says how large it is.
const COLUMNS: usize = 80;
const ROWS: usize = 60;

/// How and how large pictures are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canvas {
    columns: usize,
    rows: usize,
    colours: bool,
}

impl Canvas {
    /// What standard output can show.
    pub(crate) fn of_stdout() -> Canvas {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match (io::stdout().is_terminal(), size()) {
            (true, Some((columns, rows))) if columns > 0 && rows > 2 => {
                let columns = if colours { columns } else { columns.min(COLUMNS) };
                // One row for the caption, one for what is typed next.
                Canvas { columns, rows: rows - 2, colours }
            }
            (interactive, _) => {
                Canvas { columns: COLUMNS, rows: ROWS, colours: colours && interactive }
            }
        }
    }

    /// The picture and what is told of it.
    pub(crate) fn text(&self, picture: &Picture, row: &ShotRow, writer: Option<bool>) -> String {
        let mut text = match self.colours {
            true => self.half_blocks(picture),
            false => self.ascii(picture),
        };
        text.push_str(&caption(row, writer));
        text
    }

    fn half_blocks(&self, picture: &Picture) -> String {
        let (width, height) =
            fit((picture.width, picture.height), (self.columns, self.rows * 2), 1.0);
        let pixels = resize(picture, (width, height));
        let mut text = String::new();
        for pair in pixels.chunks(2 * width) {
            let (upper, lower) = pair.split_at(width);
            let mut before = None;
            for (column, above) in upper.iter().enumerate() {
                let below = lower.get(column);
                if before != Some((above, below)) {
                    let [red, green, blue] = above;
                    let _ = write!(text, "\x1b[38;2;{red};{green};{blue}m");
                    match below {
                        Some([red, green, blue]) => {
                            let _ = write!(text, "\x1b[48;2;{red};{green};{blue}m");
                        }
                        None => text.push_str("\x1b[49m"),
                    }
                    before = Some((above, below));
                }
                text.push('▀');
            }
            text.push_str("\x1b[0m\n");
        }
        text
    }

    fn ascii(&self, picture: &Picture) -> String {
        // Characters are about twice as high as they are wide.
        let (width, height) = fit((picture.width, picture.height), (self.columns, self.rows), 2.0);
        let mut text = String::new();
        for row in resize(picture, (width, height)).chunks(width) {
            let line: String = row.iter().map(character).collect();
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

/// Columns and rows of the terminal that standard output is, whichever terminal controls this process.
fn size() -> Option<(usize, usize)> {
    #[cfg(target_os = "linux")]
    let (columns, rows) =
        rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| (size.ws_col, size.ws_row))?;
    #[cfg(not(target_os = "linux"))]
    let (columns, rows) = ratatui::crossterm::terminal::size().ok()?;
    Some((columns.into(), rows.into()))
}

/// What is told of a frame: `camera · frame 12 · 0.3 s old · uint8 480x640x3 · range 0 to 255`.
pub(crate) fn caption(row: &ShotRow, writer: Option<bool>) -> String {
    let mut text = format!("{} · frame {}", row.name, row.count);
    if row.id != row.count {
        let _ = write!(text, " (id {})", row.id);
    }
    let age = row.age_us as f64 / 1e6;
    let shape = dimensions(&row.shape);
    let _ = write!(text, " · {age:.1} s old · {} {shape}", row.dtype);
    match row.range {
        Some((low, high)) => {
            let _ = write!(text, " · range {} to {}", number(low), number(high));
        }
        None => text.push_str(" · no finite value"),
    }
    if row.not_finite > 0 {
        let _ = write!(text, " · {} pixels not finite", row.not_finite);
    }
    if writer == Some(false) {
        text.push_str(" · no writer is attached");
    }
    text
}

fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1e-3..1e7 => {
            let text = format!("{value:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => format!("{value:.4e}"),
    }
}

fn character([red, green, blue]: &[u8; 3]) -> char {
    let luminance =
        0.2126 * f64::from(*red) + 0.7152 * f64::from(*green) + 0.0722 * f64::from(*blue);
    let step = (luminance / 255.0 * (RAMP.len() - 1) as f64).round() as usize;
    RAMP[step.min(RAMP.len() - 1)].into()
}

/// Where frames follow each other: a screen of its own in a terminal, line after line elsewhere. The
/// terminal is as before when this goes.
pub(crate) struct Screen<'a> {
    output: &'a Output,
    in_place: bool,
}

impl Screen<'_> {
    pub(crate) fn enter(output: &Output) -> Result<Screen<'_>, Failure> {
        let in_place = !output.is_json() && io::stdout().is_terminal();
        let screen = Screen { output, in_place };
        if in_place {
            execute!(io::stdout(), EnterAlternateScreen, cursor::Hide).map_err(failed)?;
        }
        Ok(screen)
    }

    /// Draws a frame.
    pub(crate) fn draw(
        &self,
        picture: &Picture,
        row: &ShotRow,
        writer: Option<bool>,
    ) -> Result<(), Failure> {
        let text = || Canvas::of_stdout().text(picture, row, writer);
        match self.in_place {
            true => put(&text()).map_err(failed),
            false => self.output.line(row, text),
        }
    }

    /// Tells that the frame which is drawn has grown older.
    pub(crate) fn age(
        &self,
        picture: &Picture,
        row: &ShotRow,
        writer: Option<bool>,
    ) -> Result<(), Failure> {
        match self.in_place {
            true => self.draw(picture, row, writer),
            false => Ok(()),
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        if self.in_place {
            let _ = execute!(io::stdout(), cursor::Show, LeaveAlternateScreen);
        }
    }
}

/// Over what was there: clearing first would flicker.
fn put(text: &str) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    queue!(out, cursor::MoveTo(0, 0))?;
    for line in text.lines() {
        out.write_all(line.as_bytes())?;
        queue!(out, Clear(ClearType::UntilNewLine))?;
        out.write_all(b"\r\n")?;
    }
    queue!(out, Clear(ClearType::FromCursorDown))?;
    out.flush()
}

fn failed(error: io::Error) -> Failure {
    Failure::system("draw in the terminal", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize, levels: &[u8]) -> Picture {
        let levels = levels.to_vec();
        Picture { width, height, channels: 1, levels, range: None, not_finite: 0 }
    }

    #[test]
    fn a_character_holds_two_pixels() {
        let canvas = Canvas { columns: 2, rows: 1, colours: true };
        let text = canvas.half_blocks(&picture(2, 2, &[1, 1, 2, 2]));
        assert_eq!(text, "\x1b[38;2;1;1;1m\x1b[48;2;2;2;2m▀▀\x1b[0m\n");
        let odd = Canvas { columns: 1, rows: 2, colours: true };
        let text = odd.half_blocks(&picture(1, 3, &[1, 2, 3]));
        assert!(text.ends_with("\x1b[38;2;3;3;3m\x1b[49m▀\x1b[0m\n"), "{text:?}");
    }

    #[test]
    fn without_colours_it_is_ascii() {
        let canvas = Canvas { columns: 4, rows: 10, colours: false };
        let text = canvas.ascii(&picture(4, 4, &[[0, 0, 255, 255]; 4].concat()));
        assert_eq!(text, "  @@\n  @@\n");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0, 255.0, -0.5, 1e-9, 6.02e23].map(number),
            ["0", "255", "-0.5", "1.0000e-9", "6.0200e23"]
        );
    }
}
