//! A picture in another size, every new pixel the mean of the pixels that it stands for.

use super::picture::Picture;

/// What lies behind pixels that one can see through.
const GROUND: u32 = 32;

/// The largest size with the aspect of `width` x `height` that fits, its pixels `stretch` times as high as
/// they are wide.
pub(crate) fn fit(
    (width, height): (usize, usize),
    (columns, rows): (usize, usize),
    stretch: f64,
) -> (usize, usize) {
    let tall = height as f64 / stretch;
    let scale = (columns as f64 / width as f64).min(rows as f64 / tall);
    let side = |length: f64, most: usize| ((length * scale).round() as usize).clamp(1, most.max(1));
    (side(width as f64, columns), side(tall, rows))
}

/// Red, green and blue of every pixel of the picture in that size, row by row.
pub(crate) fn resize(picture: &Picture, (width, height): (usize, usize)) -> Vec<[u8; 3]> {
    let columns: Vec<_> = (0..width).map(|column| span(column, width, picture.width)).collect();
    let mut pixels = Vec::with_capacity(width * height);
    for row in 0..height {
        let rows = span(row, height, picture.height);
        for columns in &columns {
            let mut sum = [0_u64; 3];
            for y in rows.clone() {
                for x in columns.clone() {
                    let seen = over_ground(picture.rgba(y * picture.width + x));
                    for (sum, level) in sum.iter_mut().zip(seen) {
                        *sum += u64::from(level);
                    }
                }
            }
            let count = (rows.len() * columns.len()) as u64;
            pixels.push(sum.map(|sum| ((sum + count / 2) / count) as u8));
        }
    }
    pixels
}

/// Which of `from` old pixels the new pixel `index` of `to` stands for.
fn span(index: usize, to: usize, from: usize) -> std::ops::Range<usize> {
    let begin = index * from / to;
    let end = match from > to {
        true => ((index + 1) * from).div_ceil(to),
        false => begin + 1,
    };
    begin..end.clamp(begin + 1, from)
}

fn over_ground([red, green, blue, opacity]: [u8; 4]) -> [u8; 3] {
    let opacity = u32::from(opacity);
    [red, green, blue]
        .map(|level| ((u32::from(level) * opacity + GROUND * (255 - opacity) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: usize, height: usize, levels: &[u8]) -> Picture {
        let levels = levels.to_vec();
        Picture { width, height, channels: 1, levels, range: None, not_finite: 0 }
    }

    #[test]
    fn the_aspect_is_kept() {
        assert_eq!(fit((640, 480), (80, 48), 1.0), (64, 48));
        assert_eq!(fit((640, 480), (80, 100), 2.0), (80, 30));
        assert_eq!(fit((1, 1000), (80, 48), 1.0), (1, 48));
        assert_eq!(fit((1000, 1), (80, 48), 1.0), (80, 1));
    }

    #[test]
    fn a_new_pixel_is_the_mean_of_the_old_ones() {
        let picture = grey(4, 2, &[0, 100, 10, 20, 100, 200, 30, 40]);
        assert_eq!(resize(&picture, (2, 1)), [[100; 3], [25; 3]]);
        assert_eq!(resize(&grey(1, 1, &[9]), (3, 2)), [[9; 3]; 6]);
        assert_eq!(resize(&grey(3, 1, &[0, 90, 200]), (2, 1)), [[45; 3], [145; 3]]);
    }

    #[test]
    fn the_ground_shines_through() {
        assert_eq!(over_ground([255, 0, 0, 255]), [255, 0, 0]);
        assert_eq!(over_ground([255, 0, 0, 0]), [32; 3]);
    }
}
