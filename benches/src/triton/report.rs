//! What a run found: the table for people, and what is written for everybody else.

use serde::Serialize;

use super::peer::Versions;
use super::row::Row;
use super::servers::Server;
use crate::report::{Header, columns};

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Machine, command, versions.
    pub header: Header,
    /// The servers that were called.
    pub servers: Vec<Server>,
    /// The clients in Python, if they are there.
    pub peer: Option<Versions>,
    /// What the words and figures of the rows mean.
    pub terms: [Term; 7],
    /// The rows, in the order of the table.
    pub rows: Vec<Row>,
}

/// A word and its meaning.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Term(&'static str, &'static str);

/// See [`Report::terms`].
pub(super) const TERMS: [Term; 7] = [
    Term("MB/s", "1e6 bytes of input per median time of a call, one call in flight"),
    Term(
        "a call",
        "from tensors that are ready to outputs whose first and last value were looked at",
    ),
    Term(
        "wire",
        "as many bytes as the call sends and gets, to a thread that echoes, and back; on one processor or two, whichever is faster",
    ),
    Term(
        "memory/model",
        "a bare copy of as many bytes as the outputs have, which the model makes; of all kinds of copies the fastest",
    ),
    Term(
        "memory/client",
        "a bare copy of all inputs and one of all outputs; of all kinds of copies the fastest",
    ),
    Term(
        "ratio",
        "our figure as a multiple of the other: below 1 is faster for us, above 1 for calls/s",
    ),
    Term(
        "perf_analyzer",
        "system shared memory by the same protocol; its inputs are written once, its outputs never read",
    ),
];

const COLUMNS: [&str; 13] = [
    "row",
    "p50 us",
    "p99",
    "max",
    "calls/s",
    "MB/s",
    "limit",
    "of it",
    "perf_analyzer",
    "of it",
    "peer",
    "of it",
    "payload",
];

impl Report {
    /// The table, as text.
    pub fn text(&self) -> String {
        let header = &self.header;
        let servers: Vec<String> = self
            .servers
            .iter()
            .map(|server| format!("{}: {}", server.backend, server.name))
            .collect();
        let terms: Vec<String> =
            self.terms.iter().map(|Term(word, meaning)| format!("{word}: {meaning}")).collect();
        format!(
            "{}\n{}, {}\n{}\n\n{}\n\n{}\n",
            header.command,
            header.machine,
            header.version(),
            servers.join("\n"),
            columns(COLUMNS, 1..12, self.rows.iter().map(cells)),
            terms.join("\n"),
        )
    }
}

fn cells(row: &Row) -> [String; 13] {
    let figure = |figure: Option<f64>| figure.map(short).unwrap_or_default();
    let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    [
        row.name.clone(),
        figure(row.p50_us),
        figure(row.p99_us),
        figure(row.max_us),
        figure(row.calls_per_second),
        figure(row.mb_per_second),
        figure(row.limit),
        ratio(row.ratio_limit),
        figure(row.perf_analyzer),
        ratio(row.ratio_perf_analyzer),
        figure(row.peer),
        ratio(row.ratio_peer),
        row.skipped.as_ref().map_or_else(|| row.payload.to_owned(), |_| "-".to_owned()),
    ]
}

fn short(figure: f64) -> String {
    match figure {
        100.0.. => format!("{figure:.0}"),
        10.0..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triton::model::SMALLEST;
    use crate::triton::path::IN_PLACE_HTTP;
    use crate::triton::row::{Compared, Outcomes, row};

    #[test]
    fn a_row_that_was_skipped_is_in_table_and_json() {
        let outcomes: Outcomes =
            [(IN_PLACE_HTTP.name.to_owned(), Err("no server".to_owned()))].into();
        let rows = vec![row("native", &SMALLEST, &IN_PLACE_HTTP, Compared::Time, &outcomes)];
        let (header, terms) = (Header::here(true), TERMS);
        let report = Report { header, servers: Vec::new(), peer: None, terms, rows };
        assert!(report.text().contains("native/identity/in-place/http"));
        let value = serde_json::to_value(&report).unwrap();
        assert!(value["rows"][0]["p50_us"].is_null());
        assert_eq!(value["rows"][0]["skipped"], "no server");
        assert_eq!(value["terms"][0][0], "MB/s");
    }
}
