//! Distributions: the value at each percentile, ours beside limit and peer, a panel for each row.

use anyhow::Result;
use plotters::prelude::*;

use super::canvas::{
    Area, BODY, FAINT, INK, LIMIT, OURS, PEER, SMALL, Side, TITLE, draw, failed, fitting, footnote,
    legend, line, round_figure, write,
};
use crate::headline::{CURVES, Headline, short_peer};
use crate::measure::SHARES;
use crate::stored::{Other, StoredRow, StoredRun};

const WIDTH: i32 = 960;
const COLUMNS: usize = 2;
const PANEL: (i32, i32) = (WIDTH / COLUMNS as i32, 292);
const TOP: i32 = 84;
const BOTTOM: i32 = 30;
/// From the edges of a panel to its axes.
const INNER: (i32, i32, i32, i32) = (80, 60, 24, 62);
const NAMES: [&str; SHARES.len()] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// A curve and whose it is.
struct Curve {
    colour: RGBColor,
    name: String,
    points: Vec<[f64; 2]>,
}

/// The picture, if the run has any of the rows.
pub(super) fn picture(run: &StoredRun) -> Result<Option<String>> {
    let panels: Vec<_> = CURVES
        .iter()
        .filter_map(|curve| Some((curve, curve.of(run)?)))
        .map(|(curve, row)| (curve, row, curves(row)))
        .filter(|(_, _, curves)| curves.iter().any(|curve| curve.points.len() > 1))
        .collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let height = TOP + PANEL.1 * panels.len().div_ceil(COLUMNS) as i32 + BOTTOM;
    draw((WIDTH as u32, height as u32), |area| {
        let title = "Latency by percentile: low and flat is better";
        write(area, title, (20, 28), Side::Right, TITLE, INK)?;
        let entries = [
            (OURS, "ours".to_owned()),
            (LIMIT, "the physical limit".to_owned()),
            (PEER, "the best other system".to_owned()),
        ];
        legend(area, &entries, (20, 58), BODY)?;
        for (index, (curve, row, curves)) in panels.iter().enumerate() {
            let corner =
                (PANEL.0 * (index % COLUMNS) as i32, TOP + PANEL.1 * (index / COLUMNS) as i32);
            panel(area, corner, curve, row, curves)?;
        }
        let note = fitting(&footnote(run, None), WIDTH - 40, SMALL);
        write(area, &note, (20, height - 12), Side::Right, SMALL, LIMIT)
    })
    .map(Some)
}

fn curves(row: &StoredRow) -> Vec<Curve> {
    let positive = |points: Vec<[f64; 2]>| {
        points.into_iter().filter(|point| point[1] > 0.0 && point[1].is_finite()).collect()
    };
    let other = |other: &Option<Other>, colour, short: fn(&str) -> &str| {
        other.as_ref().map(|other| Curve {
            colour,
            name: short(&other.name).to_owned(),
            points: positive(match other.quantiles.is_empty() {
                true => vec![[0.5, other.value]],
                false => other.quantiles.clone(),
            }),
        })
    };
    let ours = Curve { colour: OURS, name: "ours".to_owned(), points: positive(row.curve()) };
    let limit = other(&row.limit, LIMIT, |name| name);
    let peer = other(&row.peer, PEER, short_peer);
    [Some(ours), limit, peer].into_iter().flatten().collect()
}

fn panel(
    area: &Area<'_>,
    corner: (i32, i32),
    headline: &Headline,
    row: &StoredRow,
    curves: &[Curve],
) -> Result<()> {
    let (left, top, right, bottom) = INNER;
    let space = PANEL.0 - 30;
    let head = (corner.0 + 20, corner.1 + 16);
    write(area, headline.what, head, Side::Right, BODY, INK)?;
    let end = (corner.0 + PANEL.0 - INNER.2, corner.1 + PANEL.1 - 24);
    let name = format!("{}: {}", headline.suite, headline.row);
    write(area, &name, end, Side::Left, SMALL, LIMIT)?;
    let mut names: Vec<_> =
        curves.iter().skip(1).map(|curve| (curve.colour, curve.name.clone())).collect();
    // Both on one line: the longer name gives way.
    let each = space / names.len().max(1) as i32 - 36;
    names.iter_mut().for_each(|(_, name)| *name = fitting(name, each, SMALL));
    legend(area, &names, (corner.0 + 20, corner.1 + 38), SMALL)?;

    let inside =
        (corner.0 + left, corner.1 + top, corner.0 + PANEL.0 - right, corner.1 + PANEL.1 - bottom);
    let axis = Axis::over(curves, inside.3, inside.1);
    for tick in axis.ticks() {
        let y = axis.y(tick);
        line(area, [(inside.0, y), (inside.2, y)], FAINT, 1)?;
        write(area, &round_figure(tick, &row.unit), (inside.0 - 6, y), Side::Left, SMALL, INK)?;
    }
    let step = f64::from(inside.2 - inside.0 - 30) / (SHARES.len() - 1) as f64;
    let x = |index: usize| inside.0 + 12 + (step * index as f64).round() as i32;
    for (index, words) in NAMES.iter().enumerate() {
        line(area, [(x(index), inside.1), (x(index), inside.3)], FAINT, 1)?;
        write(area, words, (x(index), inside.3 + 13), Side::Middle, SMALL, INK)?;
    }
    for curve in curves.iter().rev() {
        let points: Vec<(i32, i32)> = curve
            .points
            .iter()
            .filter_map(|[share, value]| Some((x(place(*share)?), axis.y(*value))))
            .collect();
        for point in &points {
            area.draw(&Circle::new(*point, 4, curve.colour.filled())).map_err(failed)?;
        }
        area.draw(&PathElement::new(points, curve.colour.stroke_width(2))).map_err(failed)?;
    }
    Ok(())
}

/// The place of a share on the axis.
fn place(share: f64) -> Option<usize> {
    SHARES.iter().position(|known| (known - share).abs() < 1e-9)
}

/// A log axis upwards.
struct Axis {
    low: f64,
    high: f64,
    bottom: i32,
    top: i32,
}

impl Axis {
    fn over(curves: &[Curve], bottom: i32, top: i32) -> Axis {
        let values = || curves.iter().flat_map(|curve| &curve.points).map(|point| point[1]);
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(0.0, f64::max);
        // A decade at least, so that what is flat looks flat.
        let low = 10_f64.powf(low.log10().floor());
        let high = 10_f64.powf(high.log10().ceil()).max(low * 10.0);
        Axis { low, high, bottom, top }
    }

    fn y(&self, value: f64) -> i32 {
        let share = (value / self.low).ln() / (self.high / self.low).ln();
        self.bottom - (share * f64::from(self.bottom - self.top)).round() as i32
    }

    fn ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10().round() as i32;
        (0..=decades).map(|decade| self.low * 10_f64.powi(decade)).collect()
    }
}
