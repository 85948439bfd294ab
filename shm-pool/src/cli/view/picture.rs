//! A tensor becomes a picture of 8 bits a channel.
//!
//! Values of 8 bits without sign are shown as they are. Others are scaled: black is the low end of the
//! range, white the high end. What is not a number, or infinite, is magenta.

use super::arrangement::Arrangement;
use super::samples::Samples;
use shm_core::Dtype;

/// What cannot be scaled has this colour, which no grey picture has.
pub(crate) const NOT_FINITE: [u8; 3] = [255, 0, 255];
/// Frames whose elements are all equal have no black and no white.
const MIDDLE: u8 = 128;

/// Pixels, row by row, their channels side by side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// 1 grey, 3 red green blue, 4 with opacity.
    pub(crate) channels: usize,
    pub(crate) levels: Vec<u8>,
    /// What became black and white; `None` if no element is finite.
    pub(crate) range: Option<(f64, f64)>,
    /// How many pixels have an element that is not finite.
    pub(crate) not_finite: usize,
}

impl Picture {
    /// The picture in a frame; `None` for a dtype that this version does not know.
    pub(crate) fn of(
        dtype: Dtype,
        arrangement: &Arrangement,
        bytes: &[u8],
        range: Option<(f64, f64)>,
    ) -> Option<Picture> {
        let samples = Samples::new(dtype, bytes)?;
        Some(match (dtype, range) {
            (Dtype::U8, None) => as_it_is(arrangement, bytes),
            (_, Some(range)) => scaled(arrangement, &samples, Some(range)),
            (Dtype::Bool, None) => scaled(arrangement, &samples, Some((0.0, 1.0))),
            (_, None) => scaled(arrangement, &samples, extremes(arrangement, &samples)),
        })
    }

    /// Red, green, blue and opacity of a pixel.
    pub(crate) fn rgba(&self, pixel: usize) -> [u8; 4] {
        match self.levels[pixel * self.channels..][..self.channels] {
            [grey] => [grey, grey, grey, 255],
            [red, green, blue] => [red, green, blue, 255],
            [red, green, blue, opacity] => [red, green, blue, opacity],
            _ => unreachable!("pictures have 1, 3 or 4 channels"),
        }
    }
}

fn as_it_is(arrangement: &Arrangement, bytes: &[u8]) -> Picture {
    let levels = match arrangement.is_interleaved() {
        true => bytes.to_vec(),
        false => (0..arrangement.pixels())
            .flat_map(|pixel| (0..arrangement.channels).map(move |channel| (pixel, channel)))
            .map(|(pixel, channel)| bytes[arrangement.index(pixel, channel)])
            .collect(),
    };
    let Arrangement { width, height, channels, .. } = *arrangement;
    Picture { width, height, channels, levels, range: Some((0.0, 255.0)), not_finite: 0 }
}

/// The least and the greatest finite element, opacity apart.
fn extremes(arrangement: &Arrangement, samples: &Samples) -> Option<(f64, f64)> {
    let mut found: Option<(f64, f64)> = None;
    for channel in 0..colours(arrangement) {
        for pixel in 0..arrangement.pixels() {
            let value = samples.get(arrangement.index(pixel, channel));
            if value.is_finite() {
                let (low, high) = found.unwrap_or((value, value));
                found = Some((low.min(value), high.max(value)));
            }
        }
    }
    found
}

fn scaled(arrangement: &Arrangement, samples: &Samples, range: Option<(f64, f64)>) -> Picture {
    let Arrangement { width, height, .. } = *arrangement;
    let colours = colours(arrangement);
    let holes: Vec<usize> = (0..arrangement.pixels())
        .filter(|&pixel| {
            (0..colours).any(|channel| !samples.get(arrangement.index(pixel, channel)).is_finite())
        })
        .collect();
    // A hole has a colour, so a grey picture that has one is grey no more.
    let channels =
        if holes.is_empty() { arrangement.channels } else { arrangement.channels.max(3) };
    let mut levels = Vec::with_capacity(arrangement.pixels() * channels);
    for pixel in 0..arrangement.pixels() {
        for channel in 0..channels {
            let value =
                samples.get(arrangement.index(pixel, channel.min(arrangement.channels - 1)));
            levels.push(match channel {
                3 => opacity(value, samples.opaque),
                _ => level(value, range),
            });
        }
    }
    for &pixel in &holes {
        levels[pixel * channels..][..3].copy_from_slice(&NOT_FINITE);
    }
    Picture { width, height, channels, levels, range, not_finite: holes.len() }
}

fn colours(arrangement: &Arrangement) -> usize {
    arrangement.channels.min(3)
}

fn level(value: f64, range: Option<(f64, f64)>) -> u8 {
    let Some((low, high)) = range else { return MIDDLE };
    // Halves, because the distance of two large numbers may be too large for a number.
    let span = high / 2.0 - low / 2.0;
    if span <= 0.0 {
        return MIDDLE;
    }
    ((value / 2.0 - low / 2.0) / span * 255.0).round().clamp(0.0, 255.0) as u8
}

fn opacity(value: f64, opaque: f64) -> u8 {
    match value.is_finite() {
        true => (value / opaque * 255.0).round().clamp(0.0, 255.0) as u8,
        false => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<T: bytemuck::Pod>(
        dtype: Dtype,
        shape: &[usize],
        elements: &[T],
        range: Option<(f64, f64)>,
    ) -> Picture {
        let arrangement = Arrangement::of("x", shape).unwrap();
        Picture::of(dtype, &arrangement, bytemuck::cast_slice(elements), range).unwrap()
    }

    #[test]
    fn bytes_are_shown_as_they_are() {
        let picture = of(Dtype::U8, &[1, 3], &[7_u8, 8, 9], None);
        assert_eq!((picture.levels, picture.range), (vec![7, 8, 9], Some((0.0, 255.0))));
        let planes = of(Dtype::U8, &[3, 1, 2], &[1_u8, 2, 11, 12, 21, 22], None);
        assert_eq!(planes.levels, [1, 11, 21, 2, 12, 22]);
        let scaled = of(Dtype::U8, &[1, 3], &[5_u8, 10, 20], Some((5.0, 15.0)));
        assert_eq!(scaled.levels, [0, 128, 255]);
    }

    #[test]
    fn other_numbers_are_scaled_by_what_the_frame_holds() {
        let picture = of(Dtype::I16, &[1, 3], &[-100_i16, 0, 100], None);
        assert_eq!((picture.levels, picture.range), (vec![0, 128, 255], Some((-100.0, 100.0))));
        let flat = of(Dtype::F32, &[2, 2], &[3.5_f32; 4], None);
        assert_eq!(flat.levels, [128; 4]);
        let huge = of(Dtype::F64, &[1, 2], &[-1.7e308_f64, 1.7e308], None);
        assert_eq!(huge.levels, [0, 255]);
        assert_eq!(of(Dtype::Bool, &[1, 2], &[1_u8, 1], None).levels, [255, 255]);
    }

    #[test]
    fn what_is_not_finite_has_a_colour_of_its_own() {
        let picture = of(Dtype::F32, &[1, 4], &[0.0, f32::NAN, f32::INFINITY, 1.0_f32], None);
        assert_eq!((picture.channels, picture.not_finite), (3, 2));
        assert_eq!(picture.range, Some((0.0, 1.0)));
        assert_eq!(picture.levels, [0, 0, 0, 255, 0, 255, 255, 0, 255, 255, 255, 255]);
        let nothing = of(Dtype::F32, &[1, 1], &[f32::NAN], None);
        assert_eq!((nothing.rgba(0), nothing.range), ([255, 0, 255, 255], None));
    }

    #[test]
    fn opacity_is_not_scaled_with_the_colours() {
        let picture =
            of(Dtype::F32, &[1, 2, 4], &[0.0_f32, 5.0, 10.0, 1.0, 0.0, 0.0, 0.0, 0.5], None);
        assert_eq!(picture.levels, [0, 128, 255, 255, 0, 0, 0, 128]);
    }
}
