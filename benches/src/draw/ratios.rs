//! Ours beside limit and peer, on a log axis: a bar to the right of one is better than the other.

use anyhow::Result;
use plotters::prelude::*;

use super::canvas::{
    Area, BODY, FAINT, INK, LIMIT, PEER, SMALL, Side, TITLE, digits, draw, failed, figure, fitting,
    footnote, legend, line, width, write,
};
use crate::headline::{short_peer, shown};
use crate::stored::{StoredRow, StoredRun, StoredSuite};

const WIDTH: i32 = 960;
const LEFT: i32 = 430;
const RIGHT: i32 = 30;
const TOP: i32 = 90;
const BOTTOM: i32 = 54;
const LANE: i32 = 46;

/// A bar with its label.
struct Bar {
    speed: f64,
    colour: RGBColor,
    label: String,
}

/// The picture, if the suite has any of its headline rows.
pub(super) fn picture(run: &StoredRun, suite: &StoredSuite) -> Result<Option<String>> {
    let rows: Vec<(&StoredRow, Vec<Bar>)> = shown(&suite.name)
        .iter()
        .filter_map(|name| run.row(&suite.name, name))
        .map(|row| (row, bars(row)))
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let height = TOP + LANE * rows.len() as i32 + BOTTOM;
    let axis = Axis::over(rows.iter().flat_map(|(_, bars)| bars));
    draw((WIDTH as u32, height as u32), |area| {
        let title = format!(
            "{}{}: how many times as good as the other (right of 1 is better)",
            suite.name,
            remark(suite)
        );
        write(area, &title, (20, 28), Side::Right, TITLE, INK)?;
        let colours = || rows.iter().flat_map(|(_, bars)| bars).map(|bar| bar.colour);
        let entries: Vec<_> = [
            (LIMIT, "beside the physical limit, or a budget".to_owned()),
            (PEER, "beside the best other system".to_owned()),
        ]
        .into_iter()
        .filter(|(colour, _)| colours().any(|used| used == *colour))
        .collect();
        legend(area, &entries, (20, 58), BODY)?;
        axis.draw(area, height - BOTTOM)?;
        for (index, (row, bars)) in rows.iter().enumerate() {
            lane(area, &axis, TOP + LANE * index as i32, row, bars)?;
        }
        let one = axis.x(1.0);
        line(area, [(one, TOP - 4), (one, height - BOTTOM)], INK, 2)?;
        let note = fitting(&footnote(run, Some(&suite.header)), WIDTH - 40, SMALL);
        write(area, &note, (20, height - 14), Side::Right, SMALL, LIMIT)
    })
    .map(Some)
}

/// Figures of a driver that is simulated say nothing of a GPU.
fn remark(suite: &StoredSuite) -> &'static str {
    match suite.report["driver"]["simulated"].as_bool() {
        Some(true) => " (simulated driver)",
        _ => "",
    }
}

fn bars(row: &StoredRow) -> Vec<Bar> {
    let others = [(row.limit.as_ref(), LIMIT), (row.peer.as_ref(), PEER)];
    let bar = |(other, colour): (Option<&_>, RGBColor)| {
        let speed = row.speed(other?)?;
        let words = if colour == PEER { short_peer(&other?.name) } else { "" };
        let label = format!("{}x {words}", digits(speed));
        Some(Bar { speed, colour, label: label.trim_end().to_owned() })
    };
    others.into_iter().filter_map(bar).collect()
}

fn lane(area: &Area<'_>, axis: &Axis, top: i32, row: &StoredRow, bars: &[Bar]) -> Result<()> {
    line(area, [(16, top - 3), (WIDTH - 16, top - 3)], FAINT, 1)?;
    let middle = top + LANE / 2 - 3;
    let own = row.value.map(|value| figure(value, &row.unit)).unwrap_or_default();
    write(area, &own, (LEFT - 14, middle), Side::Left, BODY, INK)?;
    let space = LEFT - 14 - width(&own, BODY) - 14 - 20;
    write(area, &fitting(&row.name, space, BODY), (20, middle), Side::Right, BODY, INK)?;
    let thick = 13;
    let gap = 4;
    let all = bars.len() as i32 * (thick + gap) - gap;
    for (index, bar) in bars.iter().enumerate() {
        let upper = middle - all / 2 + index as i32 * (thick + gap);
        let (one, end) = (axis.x(1.0), axis.x(bar.speed));
        let corners = [(one.min(end), upper), (one.max(end).max(one + 1), upper + thick)];
        area.draw(&Rectangle::new(corners, bar.colour.filled())).map_err(failed)?;
        // Behind the end of its bar, on the side where nothing else stands.
        let (at, side) =
            if bar.speed >= 1.0 { (end + 6, Side::Right) } else { (one + 6, Side::Right) };
        write(area, &bar.label, (at, upper + thick / 2), side, SMALL, INK)?;
    }
    Ok(())
}

/// A log axis with room for the labels behind its longest bars.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn over<'a>(bars: impl Iterator<Item = &'a Bar> + Clone) -> Axis {
        let low = bars.clone().map(|bar| bar.speed).fold(0.5, f64::min) / 1.3;
        let high = bars.clone().map(|bar| bar.speed).fold(2.0, f64::max);
        let whole = f64::from(WIDTH - LEFT - RIGHT);
        // The share of the axis that each label needs behind its bar widens the axis until all fit.
        let mut axis = Axis { low, high };
        let fits = |axis: &Axis| {
            bars.clone().all(|bar| {
                let end = axis.share(bar.speed.max(1.0)) * whole;
                end + f64::from(width(&bar.label, SMALL)) + 10.0 <= whole
            })
        };
        while !fits(&axis) && axis.high < 1e12 {
            axis.high *= 1.2;
        }
        axis
    }

    fn share(&self, value: f64) -> f64 {
        (value / self.low).ln() / (self.high / self.low).ln()
    }

    fn x(&self, value: f64) -> i32 {
        LEFT + (self.share(value) * f64::from(WIDTH - LEFT - RIGHT)).round() as i32
    }

    fn draw(&self, area: &Area<'_>, bottom: i32) -> Result<()> {
        for tick in self.ticks() {
            let x = self.x(tick);
            line(area, [(x, TOP - 4), (x, bottom)], FAINT, 1)?;
            let words = if tick >= 1.0 { format!("{tick:.0}") } else { format!("{tick}") };
            write(area, &words, (x, bottom + 12), Side::Middle, SMALL, INK)?;
        }
        Ok(())
    }

    /// Powers of ten, with what lies between them where there are few.
    fn ticks(&self) -> Vec<f64> {
        let between: &[f64] = if self.high / self.low < 300.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        (-9..=12)
            .flat_map(|power: i32| {
                between.iter().map(move |step| {
                    if power < 0 { step / 10_f64.powi(-power) } else { step * 10_f64.powi(power) }
                })
            })
            .filter(|tick| (self.low..=self.high).contains(tick))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_longest_bars_find_room() {
        let bar = |speed, label: &str| Bar { speed, colour: LIMIT, label: label.to_owned() };
        let bars = [bar(0.1, "0.10x"), bar(1000.0, "1000x pymllm, modelled")];
        let axis = Axis::over(bars.iter());
        for bar in &bars {
            let end = axis.x(bar.speed.max(1.0)) + 6 + width(&bar.label, SMALL);
            assert!(end <= WIDTH, "{} ends at {end}", bar.label);
        }
        assert_eq!(axis.ticks().first(), Some(&0.1));
        assert!(axis.x(1.0) > axis.x(0.1) && axis.x(0.1) >= LEFT);
    }
}
