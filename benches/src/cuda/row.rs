//! One measured operation beside the bare calls of the driver.

use serde::Serialize;

use super::figures::Figures;
use crate::measure::Quantiles;

/// A row. Figures are in `unit` unless they say otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `host/group/case` or `device/group/case`.
    pub name: String,
    /// `sim` or `gpu`.
    pub driver: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// The median of the rounds.
    pub value: f64,
    /// The 99th percentile of single operations.
    pub p99: f64,
    /// The worst single operation.
    pub max: f64,
    /// How single operations are distributed.
    #[serde(skip_serializing_if = "Quantiles::is_empty")]
    pub quantiles: Quantiles,
    /// The bare calls that do the same work.
    pub bare: Option<f64>,
    /// Which calls these are.
    pub bare_name: Option<&'static str>,
    /// How single operations of these are distributed.
    #[serde(skip_serializing_if = "Quantiles::is_empty")]
    pub bare_quantiles: Quantiles,
    /// What ours takes longer.
    pub over_bare: Option<f64>,
    /// Our figure as a multiple of the bare one.
    pub ratio_bare: Option<f64>,
    /// The driver's calls that ours cannot do without, and nothing else.
    pub needed: Option<f64>,
    /// Which calls these are.
    pub needed_name: Option<&'static str>,
    /// What ours takes longer than these.
    pub over_needed: Option<f64>,
    /// Calls of the driver in one operation of ours, where the driver counts them.
    pub driver_calls: Option<f64>,
    /// The same of the bare calls.
    pub bare_driver_calls: Option<f64>,
    /// The same of the needed calls.
    pub needed_driver_calls: Option<f64>,
    /// Microseconds of device time of one operation of ours, by events.
    pub device_us: Option<f64>,
    /// The same of the bare calls.
    pub bare_device_us: Option<f64>,
    /// Bytes of payload.
    pub bytes: Option<usize>,
    /// 1e9 bytes of payload in a second.
    pub gb_per_second: Option<f64>,
    /// The same of the bare calls.
    pub bare_gb_per_second: Option<f64>,
    /// The goal, the method and whatever else a reader must know.
    pub note: String,
}

/// A unit and how many nanoseconds it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    name: &'static str,
    nanoseconds: f64,
}

pub(super) const NS: Unit = Unit { name: "ns", nanoseconds: 1.0 };
pub(super) const US: Unit = Unit { name: "us", nanoseconds: 1000.0 };

impl Row {
    /// Our figures.
    pub(super) fn new(name: impl Into<String>, simulated: bool, unit: Unit, ours: Figures) -> Row {
        Row {
            name: name.into(),
            driver: if simulated { "sim" } else { "gpu" },
            unit: unit.name,
            value: ours.p50 / unit.nanoseconds,
            p99: ours.p99 / unit.nanoseconds,
            max: ours.max / unit.nanoseconds,
            quantiles: ours.quantiles.per(unit.nanoseconds),
            bare: None,
            bare_name: None,
            bare_quantiles: Quantiles::default(),
            over_bare: None,
            ratio_bare: None,
            needed: None,
            needed_name: None,
            over_needed: None,
            driver_calls: ours.driver_calls,
            bare_driver_calls: None,
            needed_driver_calls: None,
            device_us: None,
            bare_device_us: None,
            bytes: None,
            gb_per_second: None,
            bare_gb_per_second: None,
            note: String::new(),
        }
    }

    /// Beside the bare calls that do the same work.
    #[must_use]
    pub(super) fn beside(mut self, name: &'static str, unit: Unit, bare: Figures) -> Row {
        let figure = bare.p50 / unit.nanoseconds;
        self.bare = Some(figure);
        self.bare_name = Some(name);
        self.bare_quantiles = bare.quantiles.per(unit.nanoseconds);
        self.over_bare = Some(self.value - figure);
        self.ratio_bare = (figure != 0.0).then(|| self.value / figure);
        self.bare_driver_calls = bare.driver_calls;
        self
    }

    /// Beside the calls that ours cannot do without.
    #[must_use]
    pub(super) fn needing(mut self, name: &'static str, unit: Unit, needed: Figures) -> Row {
        let figure = needed.p50 / unit.nanoseconds;
        self.needed = Some(figure);
        self.needed_name = Some(name);
        self.over_needed = Some(self.value - figure);
        self.needed_driver_calls = needed.driver_calls;
        self
    }

    /// With the device's own times, in nanoseconds.
    #[must_use]
    pub(super) fn on_device(mut self, ours: f64, bare: f64) -> Row {
        self.device_us = Some(ours / 1000.0);
        self.bare_device_us = Some(bare / 1000.0);
        self
    }

    /// As a throughput too; figures have to be whole operations, not calls that only queue.
    #[must_use]
    pub(super) fn carrying(mut self, bytes: usize, unit: Unit) -> Row {
        let rate = |figure: f64| bytes as f64 / (figure * unit.nanoseconds);
        self.bytes = Some(bytes);
        self.gb_per_second = Some(rate(self.value));
        self.bare_gb_per_second = self.bare.map(rate);
        self
    }

    /// Adds a remark after those that are there.
    #[must_use]
    pub(super) fn with_note(mut self, note: impl AsRef<str>) -> Row {
        if !self.note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(note.as_ref());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_ours_adds() {
        let figures =
            |p50: f64, calls| Figures { p50, driver_calls: Some(calls), ..Figures::default() };
        let row = Row::new("device/x", true, US, figures(6000.0, 9.0))
            .beside("copy", US, figures(2000.0, 1.0))
            .needing("copy and stores", US, figures(5000.0, 4.0))
            .carrying(6_000_000, US);
        assert_eq!((row.value, row.over_bare, row.ratio_bare), (6.0, Some(4.0), Some(3.0)));
        assert_eq!((row.over_needed, row.needed_driver_calls), (Some(1.0), Some(4.0)));
        assert_eq!((row.gb_per_second, row.bare_gb_per_second), (Some(1000.0), Some(3000.0)));
        assert_eq!(row.driver, "sim");
    }
}
