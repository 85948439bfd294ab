//! Where in a picture the detector found text.

/// A pixel whose value is above it belongs to text.
const TEXT: f32 = 0.3;

/// The text of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub pixels: u64,
    /// Pieces that hang together: lines, or words that stand apart.
    pub regions: u64,
}

/// Counts the text pixels of the detector's answer, and the pieces that they form by their sides.
pub fn count(values: &[f32], width: usize) -> Text {
    let mut open: Vec<bool> = values.iter().map(|&value| value > TEXT).collect();
    let pixels = open.iter().filter(|&&text| text).count() as u64;
    let mut regions = 0;
    let mut waiting = Vec::new();
    for at in 0..open.len() {
        if !std::mem::take(&mut open[at]) {
            continue;
        }
        regions += 1;
        waiting.push(at);
        while let Some(at) = waiting.pop() {
            let column = at % width;
            let left = (column > 0).then(|| at - 1);
            let right = (column + 1 < width).then(|| at + 1);
            let beside = [left, right, at.checked_sub(width), Some(at + width)];
            for at in beside.into_iter().flatten() {
                if open.get(at).is_some_and(|&text| text) {
                    open[at] = false;
                    waiting.push(at);
                }
            }
        }
    }
    Text { pixels, regions }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(rows: [&str; 4]) -> (u64, u64) {
        let values: Vec<f32> =
            rows.concat().chars().map(|pixel| if pixel == '#' { 0.9 } else { 0.3 }).collect();
        let text = count(&values, rows[0].len());
        (text.pixels, text.regions)
    }

    #[test]
    fn pieces_hang_together_by_their_sides_only() {
        assert_eq!(counted(["......", "......", "......", "......"]), (0, 0));
        assert_eq!(counted(["######", "######", "######", "######"]), (24, 1));
        assert_eq!(counted(["##....", "..##..", "....##", "......"]), (6, 3));
        assert_eq!(counted(["#.####", "#.#..#", "###..#", "......"]), (12, 1));
    }

    #[test]
    fn the_end_of_a_row_is_not_beside_the_begin_of_the_next() {
        assert_eq!(counted([".....#", "#.....", "......", "......"]), (2, 2));
    }
}
