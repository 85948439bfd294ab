//! One path of one model of one server, beside the others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::calls::Summary;
use super::model::Model;
use super::path::Path;
use crate::measure::Quantiles;

/// Summaries by the name of the path or of the limit, or why there is none.
pub(super) type Outcomes = BTreeMap<String, Result<Summary, String>>;

/// A row. What could not be measured is empty, and `skipped` says why.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `backend/model/path`, or `backend/at-once/calls/path`.
    pub name: String,
    /// Which client.
    pub system: &'static str,
    /// Bytes of all inputs of a call.
    pub input_bytes: usize,
    /// What is done with the payload in each call.
    pub payload: &'static str,
    /// Calls in flight.
    pub in_flight: usize,
    /// The figure that the ratios are about: `us` of a call (p50) or `calls/s`.
    pub unit: &'static str,
    /// Microseconds of a call.
    pub p50_us: Option<f64>,
    /// The same, of all calls.
    pub p99_us: Option<f64>,
    /// The same, the worst.
    pub max_us: Option<f64>,
    /// How the times of calls are distributed, in microseconds.
    #[serde(skip_serializing_if = "Quantiles::is_empty")]
    pub quantiles: Quantiles,
    /// The same of the limit, where it is one thing that was timed.
    #[serde(skip_serializing_if = "Quantiles::is_empty")]
    pub limit_quantiles: Quantiles,
    /// The same of the Python client.
    #[serde(skip_serializing_if = "Quantiles::is_empty")]
    pub peer_quantiles: Quantiles,
    /// Calls per second.
    pub calls_per_second: Option<f64>,
    /// 1e6 bytes of input per median time of a call, with one in flight.
    pub mb_per_second: Option<f64>,
    /// What no client can do without, in `unit`.
    pub limit: Option<f64>,
    /// What that is.
    pub limit_name: Option<String>,
    /// Our figure as a multiple of it.
    pub ratio_limit: Option<f64>,
    /// perf_analyzer by the same protocol, in `unit`.
    pub perf_analyzer: Option<f64>,
    /// Our figure as a multiple of it.
    pub ratio_perf_analyzer: Option<f64>,
    /// The Python client that does the same, in `unit`.
    pub peer: Option<f64>,
    /// Which one.
    pub peer_name: Option<&'static str>,
    /// Our figure as a multiple of it.
    pub ratio_peer: Option<f64>,
    /// Why the row is empty.
    pub skipped: Option<String>,
}

/// How calls are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// By the time of one.
    Time,
    /// By how many there are in a second, with so many in flight.
    Rate(usize),
}

impl Compared {
    fn figure(self, summary: &Summary) -> f64 {
        match self {
            Compared::Time => summary.p50 / 1000.0,
            Compared::Rate(_) => summary.rate,
        }
    }
}

/// The row of a path.
pub(super) fn row(
    backend: &str,
    model: &Model,
    path: &Path,
    compared: Compared,
    outcomes: &Outcomes,
) -> Row {
    let found = |name: &str| outcomes.get(name).and_then(|outcome| outcome.as_ref().ok());
    let figure = |name: &str| found(name).map(|summary| compared.figure(summary));
    let own = found(path.name);
    let value = figure(path.name);
    let ratio = |other: Option<f64>| Some(value? / other.filter(|other| *other != 0.0)?);
    let (name, unit, in_flight, parts) = match compared {
        Compared::Time => (format!("{backend}/{}/{}", model.name, path.name), "us", 1, path.limit),
        Compared::Rate(calls) => {
            let name = format!("{backend}/at-once/{calls}/{}", path.name);
            // Rates do not add up, and the model's copy of such small tensors is nothing.
            (name, "calls/s", calls, &path.limit[..path.limit.len().min(1)])
        }
    };
    let limit = match parts {
        [] => None,
        parts => parts.iter().map(|part| figure(part)).sum::<Option<f64>>(),
    };
    let load = path.load.and_then(figure);
    let peer = path.peer.and_then(figure);
    let one_at_a_time = own.filter(|_| in_flight == 1);
    Row {
        name,
        system: path.system,
        input_bytes: model.input_bytes(),
        payload: path.payload,
        in_flight,
        unit,
        p50_us: own.map(|own| own.p50 / 1000.0),
        p99_us: own.map(|own| own.p99 / 1000.0),
        max_us: own.map(|own| own.max / 1000.0),
        quantiles: quantiles(own),
        limit_quantiles: quantiles(match parts {
            [one] => found(one),
            _ => None,
        }),
        peer_quantiles: quantiles(path.peer.and_then(found)),
        calls_per_second: own.map(|own| own.rate),
        // Bytes per nanosecond are thousands of 1e6 bytes per second.
        mb_per_second: one_at_a_time.map(|own| 1000.0 * model.input_bytes() as f64 / own.p50),
        limit,
        limit_name: limit.map(|_| parts.join(" + ")),
        ratio_limit: ratio(limit),
        perf_analyzer: load,
        ratio_perf_analyzer: ratio(load),
        peer,
        peer_name: path.peer.filter(|_| peer.is_some()),
        ratio_peer: ratio(peer),
        skipped: match outcomes.get(path.name) {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(why.clone()),
            None => Some("it was not measured".to_owned()),
        },
    }
}

fn quantiles(summary: Option<&Summary>) -> Quantiles {
    summary.map(|summary| summary.quantiles.per(1000.0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Samples;
    use crate::triton::model::{MODELS, SMALLEST};
    use crate::triton::path::{
        COPIED_HTTP, IN_PLACE_HTTP, LOAD_HTTP, MEMORY_CLIENT, MEMORY_MODEL, POOL, WIRE_HTTP,
    };

    fn outcomes() -> Outcomes {
        let each = |p50: f64| {
            Ok(Summary {
                p50,
                p99: 2.0 * p50,
                max: 3.0 * p50,
                rate: 1e9 / p50,
                quantiles: Quantiles::of(&Samples::from_iter([p50 as u64]), 1.0),
            })
        };
        [
            (IN_PLACE_HTTP.name, each(500_000.0)),
            (COPIED_HTTP.name, Err("no room".to_owned())),
            (LOAD_HTTP, each(1_000_000.0)),
            (POOL, each(2_000_000.0)),
            (WIRE_HTTP, each(100_000.0)),
            (MEMORY_MODEL, each(150_000.0)),
            (MEMORY_CLIENT, each(300_000.0)),
        ]
        .map(|(name, outcome)| (name.to_owned(), outcome))
        .into()
    }

    #[test]
    fn times_are_held_against_each_other_and_limits_add_up() {
        let normal = MODELS[1];
        let row = row("native", &normal, &IN_PLACE_HTTP, Compared::Time, &outcomes());
        assert_eq!(row.name, "native/normal/in-place/http");
        assert_eq!((row.p50_us, row.p99_us), (Some(500.0), Some(1000.0)));
        assert_eq!((row.limit, row.ratio_limit), (Some(250.0), Some(2.0)));
        assert_eq!((row.ratio_perf_analyzer, row.ratio_peer), (Some(0.5), Some(0.25)));
        // 4.816896 MB in half a millisecond.
        assert!((row.mb_per_second.unwrap() - 9633.792).abs() < 1e-6);
    }

    #[test]
    fn rates_are_held_against_each_other() {
        let row = row("native", &SMALLEST, &IN_PLACE_HTTP, Compared::Rate(4), &outcomes());
        assert_eq!(row.name, "native/at-once/4/in-place/http");
        assert_eq!((row.limit, row.peer), (Some(10_000.0), Some(500.0)));
        assert_eq!((row.ratio_peer, row.mb_per_second), (Some(4.0), None));
        assert_eq!(row.limit_name.as_deref(), Some(WIRE_HTTP));
    }

    #[test]
    fn what_was_not_measured_is_empty_and_says_why() {
        let row = row("native", &SMALLEST, &COPIED_HTTP, Compared::Time, &outcomes());
        assert_eq!((row.p50_us, row.ratio_limit, row.ratio_peer), (None, None, None));
        assert_eq!(row.skipped.as_deref(), Some("no room"));
        assert_eq!(row.limit, Some(550.0));
    }
}
