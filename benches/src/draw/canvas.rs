//! What all pictures share: colours that stand on white, texts, and what stands at the foot.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::stored::{StoredHeader, StoredRun};
use crate::tables::number;

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(super) const OURS: RGBColor = RGBColor(0, 90, 181);
pub(super) const LIMIT: RGBColor = RGBColor(110, 110, 110);
pub(super) const PEER: RGBColor = RGBColor(212, 94, 0);
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const FAINT: RGBColor = RGBColor(222, 222, 222);

pub(super) const TITLE: u32 = 24;
pub(super) const BODY: u32 = 17;
pub(super) const SMALL: u32 = 15;

/// Draws on white, so that it is read in dark surroundings too, and gives the SVG.
pub(super) fn draw(
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        paint(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// An error of the drawing crate, which cannot be kept as it is.
pub(super) fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the picture could not be drawn: {error}")
}

/// Where a text stands from its point.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// It ends there.
    Left,
    /// It begins there.
    Right,
    /// It is centred there.
    Middle,
}

/// A text, vertically centred at its point.
pub(super) fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    side: Side,
    size: u32,
    colour: RGBColor,
) -> Result<()> {
    let horizontal = match side {
        Side::Left => HPos::Right,
        Side::Right => HPos::Left,
        Side::Middle => HPos::Center,
    };
    let style =
        ("sans-serif", size).into_font().color(&colour).pos(Pos::new(horizontal, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(failed)
}

/// A line between two points.
pub(super) fn line(
    area: &Area<'_>,
    points: [(i32, i32); 2],
    colour: RGBColor,
    width: u32,
) -> Result<()> {
    area.draw(&PathElement::new(points.to_vec(), colour.stroke_width(width))).map_err(failed)
}

/// Words in a row, each behind a square of its colour, from a point on.
pub(super) fn legend(
    area: &Area<'_>,
    entries: &[(RGBColor, String)],
    from: (i32, i32),
    size: u32,
) -> Result<()> {
    let (mut x, y) = from;
    for (colour, words) in entries {
        let square = [(x, y - 5), (x + 10, y + 5)];
        area.draw(&Rectangle::new(square, colour.filled())).map_err(failed)?;
        write(area, words, (x + 15, y), Side::Right, size, INK)?;
        x += 15 + width(words, size) + 18;
    }
    Ok(())
}

/// About how wide a text is: fonts differ, so this is rather too much than too little.
pub(super) fn width(text: &str, size: u32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * 0.5).ceil() as i32
}

/// As much of a text as fits.
pub(super) fn fitting(text: &str, space: i32, size: u32) -> String {
    if width(text, size) <= space {
        return text.to_owned();
    }
    let mut kept: String = text.to_owned();
    while !kept.is_empty() && width(&kept, size) + width("…", size) > space {
        kept.pop();
    }
    format!("{}…", kept.trim_end())
}

/// Date, machine and command.
pub(super) fn footnote(run: &StoredRun, own: Option<&StoredHeader>) -> String {
    let header = run.header.as_ref().or(own);
    let quick = if run.quick() { "QUICK RUN, not for quoting; " } else { "" };
    match header {
        Some(header) => {
            format!("{quick}{}; {}; {}", header.day(), header.machine, header.command)
        }
        None => {
            let mut days: Vec<_> = run.suites.iter().map(|suite| suite.header.day()).collect();
            days.sort_unstable();
            days.dedup();
            let machines = run.machines().join("; ");
            format!("{quick}{}; {machines}; cargo xtask bench SUITE, one by one", days.join(", "))
        }
    }
}

const TIMES: [&str; 4] = ["ns", "us", "ms", "s"];

/// A figure with three digits that count, and its unit as large as it fits.
pub(super) fn figure(value: f64, unit: &str) -> String {
    let Some(at) = TIMES.iter().position(|time| *time == unit) else {
        let shown = if value.abs() >= 1000.0 { number(value) } else { digits(value) };
        return format!("{shown} {unit}");
    };
    let (value, at) = scaled(value, at, TIMES.len());
    format!("{} {}", digits(value), TIMES[at])
}

/// A round figure of a time, as it stands at an axis.
pub(super) fn round_figure(value: f64, unit: &str) -> String {
    let at = TIMES.iter().position(|time| *time == unit).unwrap_or_default();
    let (value, at) = scaled(value, at, TIMES.len());
    format!("{} {}", (value * 1e6).round() / 1e6, TIMES[at])
}

fn scaled(mut value: f64, mut at: usize, units: usize) -> (f64, usize) {
    // A power of ten may have come out a little too small.
    while value >= 999.999 && at + 1 < units {
        value /= 1000.0;
        at += 1;
    }
    (value, at)
}

/// Three digits that count.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_in_the_unit_that_fits() {
        let shown = [figure(57.3, "ns"), figure(4_636_671.0, "ns"), figure(12_000.0, "us")];
        assert_eq!(shown, ["57.3 ns", "4.64 ms", "12.0 ms"]);
        assert_eq!([figure(3868.26, "Hz"), figure(0.1, "%")], ["3,868 Hz", "0.10 %"]);
        let rounded = [round_figure(1000.0, "ns"), round_figure(0.1, "us")];
        assert_eq!(rounded, ["1 us", "0.1 us"]);
        assert_eq!(digits(0.0009), "9.0e-4");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_where_it_is_seen() {
        assert_eq!(fitting("ping", 200, BODY), "ping");
        let cut = fitting(&"x".repeat(100), 100, BODY);
        assert!(cut.ends_with('…') && width(&cut, BODY) <= 100, "{cut}");
    }
}
