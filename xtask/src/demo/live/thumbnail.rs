//! Small pictures for the terminal: two pixels to a character, one in the foreground colour and
//! one in the background colour.

use super::frame::{CHANNELS, HEIGHT, WIDTH};

/// Size in pixels; a row of characters shows two rows of pixels.
pub const COLUMNS: usize = 36;
const ROWS: usize = 26;
const BYTES: usize = COLUMNS * ROWS * CHANNELS;

/// Takes every so manyth pixel of a frame.
pub fn shrink(frame: &[u8]) -> Vec<u8> {
    let mut small = Vec::with_capacity(BYTES);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let y = (2 * row + 1) * HEIGHT / (2 * ROWS);
            let x = (2 * column + 1) * WIDTH / (2 * COLUMNS);
            let at = (y * WIDTH + x) * CHANNELS;
            small.extend_from_slice(&frame[at..at + CHANNELS]);
        }
    }
    small
}

/// The pictures side by side, as lines of coloured characters.
pub fn side_by_side(pictures: &[&[u8]], colours: Colours) -> Vec<String> {
    (0..ROWS / 2)
        .map(|row| {
            let lines: Vec<String> = pictures
                .iter()
                .filter(|picture| picture.len() == BYTES)
                .map(|picture| line(picture, row, colours))
                .collect();
            lines.join("  ")
        })
        .collect()
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// 24 bits.
    True,
    /// The 6x6x6 cube of the 256-colour palette.
    Cube,
}

impl Colours {
    /// What the terminal says of itself; None where colours are not wanted.
    pub fn of_terminal() -> Option<Self> {
        let variable = |name| std::env::var(name).unwrap_or_default();
        if !variable("NO_COLOR").is_empty() || variable("TERM") == "dumb" {
            return None;
        }
        Some(match variable("COLORTERM").as_str() {
            "truecolor" | "24bit" => Self::True,
            _ => Self::Cube,
        })
    }

    fn code(self, pixel: &[u8]) -> String {
        match self {
            Self::True => format!("2;{};{};{}", pixel[0], pixel[1], pixel[2]),
            Self::Cube => {
                let step = |value: u8| (u32::from(value) * 5 + 127) / 255;
                let index = 16 + 36 * step(pixel[0]) + 6 * step(pixel[1]) + step(pixel[2]);
                format!("5;{index}")
            }
        }
    }
}

fn line(picture: &[u8], row: usize, colours: Colours) -> String {
    let mut text = String::new();
    for column in 0..COLUMNS {
        let pixel = |row: usize| {
            let at = (row * COLUMNS + column) * CHANNELS;
            &picture[at..at + CHANNELS]
        };
        let upper = colours.code(pixel(2 * row));
        let lower = colours.code(pixel(2 * row + 1));
        text.push_str(&format!("\x1b[38;{upper};48;{lower}m\u{2580}"));
    }
    text.push_str("\x1b[0m");
    text
}

#[cfg(test)]
mod tests {
    use super::super::frame;
    use super::*;

    #[test]
    fn colours_stay_where_they_are() {
        let mut frame = vec![0; frame::BYTES];
        // The right half is red.
        for (at, pixel) in frame.chunks_exact_mut(CHANNELS).enumerate() {
            pixel[0] = if at % WIDTH >= WIDTH / 2 { 255 } else { 0 };
        }
        let small = shrink(&frame);
        assert_eq!(small.len(), BYTES);
        for (at, pixel) in small.chunks_exact(CHANNELS).enumerate() {
            let expected = if at % COLUMNS >= COLUMNS / 2 { 255 } else { 0 };
            assert_eq!(pixel, [expected, 0, 0], "pixel {at}");
        }
        let lines = side_by_side(&[&small, &small], Colours::True);
        assert_eq!(lines.len(), ROWS / 2);
        assert_eq!(lines[0].matches('\u{2580}').count(), 2 * COLUMNS);
        assert_eq!(lines[0].matches("38;2;255;0;0;48;2;255;0;0m").count(), COLUMNS);
    }

    #[test]
    fn the_palette_is_hit_at_its_corners() {
        assert_eq!(Colours::Cube.code(&[0, 0, 0]), "5;16");
        assert_eq!(Colours::Cube.code(&[255, 255, 255]), "5;231");
        assert_eq!(Colours::Cube.code(&[255, 0, 0]), "5;196");
    }

    #[test]
    fn a_viewer_without_a_picture_leaves_no_hole() {
        let lines = side_by_side(&[&[]], Colours::True);
        assert!(lines.iter().all(String::is_empty));
    }
}
