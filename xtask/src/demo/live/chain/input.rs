//! What the detector is given of a frame.
//!
//! The detector takes sides that are multiples of 32, and a frame has four times the pixels that
//! text of its size needs. So the frame's middle is taken at half the size. The rows that are cut
//! away hold the stamp: what is left is the picture, the same each time it is published.

use super::super::frame::{CHANNELS, HEIGHT as FRAME_HEIGHT, WIDTH as FRAME_WIDTH};

pub const HEIGHT: usize = 224;
pub const WIDTH: usize = FRAME_WIDTH / 2;
pub const PIXELS: usize = HEIGHT * WIDTH;
pub const VALUES: usize = CHANNELS * PIXELS;
pub const SHAPE: [i64; 4] = [1, CHANNELS as i64, HEIGHT as i64, WIDTH as i64];

/// Rows of the frame above those that are looked at.
const ABOVE: usize = (FRAME_HEIGHT - 2 * HEIGHT) / 2;

/// Writes the input: three planes, blue, green and red, with values from -1 to 1.
pub fn fill(frame: &[u8], values: &mut [f32]) {
    let (blue, rest) = values.split_at_mut(PIXELS);
    let (green, red) = rest.split_at_mut(PIXELS);
    let row_bytes = FRAME_WIDTH * CHANNELS;
    let rows = frame[ABOVE * row_bytes..].chunks_exact(2 * row_bytes);
    let planes = red
        .chunks_exact_mut(WIDTH)
        .zip(green.chunks_exact_mut(WIDTH))
        .zip(blue.chunks_exact_mut(WIDTH));
    for (rows, ((red, green), blue)) in rows.zip(planes) {
        let (upper, lower) = rows.split_at(row_bytes);
        let pairs = upper.chunks_exact(2 * CHANNELS).zip(lower.chunks_exact(2 * CHANNELS));
        for (column, (upper, lower)) in pairs.enumerate() {
            let mean = |channel: usize| {
                let sum = [upper, lower]
                    .iter()
                    .map(|row| u16::from(row[channel]) + u16::from(row[channel + CHANNELS]))
                    .sum::<u16>();
                f32::from(sum) / (4.0 * 127.5) - 1.0
            };
            red[column] = mean(0);
            green[column] = mean(1);
            blue[column] = mean(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::frame::{BYTES, Stamp};
    use super::*;

    fn filled(frame: &[u8]) -> Vec<f32> {
        let mut values = vec![9.0; VALUES];
        fill(frame, &mut values);
        values
    }

    #[test]
    fn the_planes_are_blue_green_and_red_from_minus_one_to_one() {
        let frame: Vec<u8> = [255, 0, 51].repeat(FRAME_WIDTH * FRAME_HEIGHT);
        let values = filled(&frame);
        let near = |plane: usize, expected: f32| {
            values[plane * PIXELS..(plane + 1) * PIXELS]
                .iter()
                .all(|value| (value - expected).abs() < 1e-6)
        };
        assert!(near(0, -0.6) && near(1, -1.0) && near(2, 1.0));
    }

    #[test]
    fn a_pixel_is_the_mean_of_four_at_its_place() {
        let mut frame = vec![0; BYTES];
        let (row, column) = (7, 11);
        for (y, x) in [(0, 0), (0, 1), (1, 1)] {
            let at = (ABOVE + 2 * row + y) * FRAME_WIDTH + 2 * column + x;
            frame[at * CHANNELS] = 170;
        }
        let values = filled(&frame);
        let at = 2 * PIXELS + row * WIDTH + column;
        assert!((values[at] - (127.5 / 127.5 - 1.0)).abs() < 1e-6, "{}", values[at]);
        assert_eq!(values.iter().filter(|&&value| value > -1.0).count(), 1);
    }

    #[test]
    fn the_stamp_is_not_seen() {
        let plain = vec![40; BYTES];
        let mut stamped = plain.clone();
        Stamp { number: u64::MAX, publisher: 1 }.write(&mut stamped);
        assert_ne!(plain, stamped);
        assert_eq!(filled(&plain), filled(&stamped));
    }
}
