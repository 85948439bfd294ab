//! One row of a file, whichever suite wrote it.

use anyhow::{Result, bail};
use serde::Serialize;

use super::Field;

/// Which figures are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// Times, bytes, shares of something that is spent.
    Lower,
    /// Rates.
    Higher,
}

/// The limit or the peer of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Its figure, in the unit of the row.
    pub value: f64,
    /// What it is.
    pub name: String,
    /// Ours as a multiple of it.
    pub ratio: Option<f64>,
    /// Shares and the values that they do not exceed; empty if it was not timed one by one.
    pub quantiles: Vec<[f64; 2]>,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRow {
    /// `group/case`.
    pub name: String,
    /// The unit of all figures.
    pub unit: String,
    /// Which figures are better.
    pub better: Better,
    /// Ours; nothing if it could not be measured.
    pub value: Option<f64>,
    /// The 99th percentile of single operations.
    pub p99: Option<f64>,
    /// The worst single operation.
    pub max: Option<f64>,
    /// The same work with nothing around it.
    pub limit: Option<Other>,
    /// The best other system.
    pub peer: Option<Other>,
    /// What is done with the payload, if the suite tells.
    pub payload: Option<String>,
    /// Shares and the values that they do not exceed; empty if the file has none.
    pub quantiles: Vec<[f64; 2]>,
}

impl StoredRow {
    /// Reads a row of any suite.
    pub fn of(row: &Field<'_>) -> Result<StoredRow> {
        let name = row.get("name")?.text()?;
        let unit = row.get("unit")?.text()?;
        let of_calls = row.maybe("p50_us").is_some() || row.maybe("skipped").is_some();
        let (value, p99, max) = match (of_calls, unit) {
            // A row of servers: times in fields of their own, beside rates.
            (true, "us") => ("p50_us", "p99_us", "max_us"),
            (true, _) => ("calls_per_second", "", ""),
            (false, _) => ("value", "p99", "max"),
        };
        let times_only = |quantiles| if unit == "calls/s" { Vec::new() } else { quantiles };
        let payload = match row.maybe("touched") {
            Some(touched) => Some(if touched.truth()? { "all copied" } else { "untouched" }),
            None => row.maybe_text("payload")?,
        };
        let bare = other(row, ["bare", "bare_name", "ratio_bare", "bare_quantiles"])?;
        let limit = other(row, ["limit", "limit_name", "ratio_limit", "limit_quantiles"])?;
        let peer = other(row, ["peer", "peer_name", "ratio_peer", "peer_quantiles"])?;
        Ok(StoredRow {
            name: name.to_owned(),
            unit: unit.to_owned(),
            better: better(row, name, unit)?,
            value: row.maybe_number(value)?,
            p99: row.maybe_number(p99)?,
            max: row.maybe_number(max)?,
            limit: limit.or(bare),
            peer,
            payload: payload.map(str::to_owned),
            quantiles: times_only(quantiles(row, "quantiles")?),
        })
    }

    /// The points of the latency curve: as many as the file has, at least median, p99 and worst.
    pub fn curve(&self) -> Vec<[f64; 2]> {
        if !self.quantiles.is_empty() {
            return self.quantiles.clone();
        }
        let points = [(0.5, self.value), (0.99, self.p99), (1.0, self.max)];
        points.into_iter().filter_map(|(share, value)| Some([share, value?])).collect()
    }

    /// So many times are we as fast, or as frugal, as the other.
    pub fn speed(&self, other: &Other) -> Option<f64> {
        let ratio = self.value? / other.value;
        let speed = match self.better {
            Better::Higher => ratio,
            Better::Lower => 1.0 / ratio,
        };
        (speed.is_finite() && speed > 0.0).then_some(speed)
    }
}

fn other(row: &Field<'_>, [value, name, ratio, curve]: [&str; 4]) -> Result<Option<Other>> {
    let Some(figure) = row.maybe_number(value)? else {
        return Ok(None);
    };
    Ok(Some(Other {
        value: figure,
        name: row.maybe_text(name)?.unwrap_or_default().to_owned(),
        ratio: row.maybe_number(ratio)?,
        quantiles: quantiles(row, curve)?,
    }))
}

fn quantiles(row: &Field<'_>, name: &str) -> Result<Vec<[f64; 2]>> {
    let Some(field) = row.maybe(name) else {
        return Ok(Vec::new());
    };
    let points = field.elements()?;
    points
        .iter()
        .map(|point| match point.elements()?.as_slice() {
            [share, value] => Ok([share.number()?, value.number()?]),
            _ => Err(point.wrong("expected a share and its value")),
        })
        .collect()
}

fn better(row: &Field<'_>, name: &str, unit: &str) -> Result<Better> {
    if let Some(field) = row.maybe("better") {
        return match field.text()? {
            "lower" => Ok(Better::Lower),
            "higher" => Ok(Better::Higher),
            _ => Err(field.wrong("expected `lower` or `higher`")),
        };
    }
    Ok(match unit {
        // How full an arena gets is the only share of which more is better.
        "%" if name.ends_with("/fill") => Better::Higher,
        "ns" | "us" | "ms" | "s" | "B" | "%" | "% of a core" => Better::Lower,
        "Hz" => Better::Higher,
        rate if rate.ends_with("/s") => Better::Higher,
        _ => bail!(row.get("unit")?.wrong("expected a time, a rate, bytes or a share")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(row: Value) -> Result<StoredRow> {
        StoredRow::of(&Field::whole("x.json", &row))
    }

    #[test]
    fn every_suite_has_its_fields_read() {
        let row = read(json!({
            "name": "a", "unit": "ns", "value": 4.0, "p99": 6.0, "max": 9.0, "touched": true,
            "limit": 2.0, "limit_name": "bare", "ratio_limit": 2.0, "peer": null,
        }))
        .unwrap();
        assert_eq!(row.curve(), [[0.5, 4.0], [0.99, 6.0], [1.0, 9.0]]);
        assert_eq!(row.speed(row.limit.as_ref().unwrap()), Some(0.5));
        assert_eq!((row.peer, row.payload.as_deref()), (None, Some("all copied")));

        let row = read(json!({
            "name": "native/normal/x", "unit": "calls/s", "p50_us": 3.0, "p99_us": 5.0,
            "calls_per_second": 300.0, "peer": 100.0, "peer_name": "other", "payload": "ends",
            "quantiles": [[0.5, 3.0]],
        }))
        .unwrap();
        assert_eq!((row.value, row.p99, row.better), (Some(300.0), None, Better::Higher));
        assert_eq!(row.speed(row.peer.as_ref().unwrap()), Some(3.0));
        assert!(row.quantiles.is_empty(), "times of calls are not in the unit of a rate");

        let row = read(json!({
            "name": "host/x", "unit": "us", "value": 3.0, "p99": 5.0, "max": 7.0, "bare": 2.0,
            "bare_name": "one copy", "ratio_bare": 1.5, "quantiles": [[0.5, 3.0], [1.0, 7.0]],
        }))
        .unwrap();
        assert_eq!(row.limit.as_ref().unwrap().name, "one copy");
        assert_eq!(row.curve(), [[0.5, 3.0], [1.0, 7.0]]);
    }

    #[test]
    fn what_cannot_be_read_names_its_field() {
        let cases = [
            (json!({"unit": "ns"}), "`name`"),
            (json!({"name": "a", "unit": "parsec", "value": 1}), "unit"),
            (json!({"name": "a", "unit": "ns", "value": "1"}), "value"),
            (json!({"name": "a", "unit": "ns", "value": 1, "quantiles": [[1]]}), "quantiles[0]"),
            (json!({"name": "a", "unit": "ns", "value": 1, "better": "red"}), "better"),
        ];
        for (row, part) in cases {
            let error = read(row).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("x.json"), "{part} is not in {error}");
        }
    }
}
