//! Pictures.

use std::fs;

use roxmltree::Document;
use serde_json::{Value, json};
use shm_benches::headline::{CURVES, shown as headlines};

use crate::file::{Files, header, row, shown, suite};

/// All headline rows of two suites, with figures far from each other.
fn run() -> Value {
    let rows = |name: &str| {
        let rows = headlines(name).iter().enumerate();
        let rows: Vec<_> = rows
            .map(|(index, row_name)| {
                let mut row = row(row_name, "ns", 10_f64.powi(index as i32));
                row["peer"] = json!(10_f64.powi(2 * index as i32));
                row
            })
            .collect();
        suite(name, json!(rows))
    };
    json!({"header": header("all", false), "suites": {
        "stream": rows("stream"), "pool": rows("pool"), "cuda": {"failed": "no driver"},
    }})
}

fn words(svg: &str) -> String {
    let document = Document::parse(svg).unwrap_or_else(|error| panic!("{error} in\n{svg}"));
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.filter_map(|text| text.text()).map(|text| format!("{}\n", text.trim())).collect()
}

#[test]
fn pictures_are_whole_and_name_every_headline_row() {
    let files = Files::new();
    let run = files.json("run.json", &run());
    let answer = files.report(&["draw", shown(&run), "--out", "pictures"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let picture =
        |name: &str| fs::read_to_string(files.path().join("pictures").join(name)).unwrap();
    for suite in ["stream", "pool"] {
        let svg = picture(&format!("{suite}.svg"));
        let words = words(&svg);
        for row in headlines(suite) {
            assert!(words.lines().any(|line| line == *row), "{row} is not in\n{words}");
        }
        for part in ["better", "2026-01-02", "Made Up 9000", "cargo bench"] {
            assert!(words.contains(part), "{part} is not in\n{words}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{suite}");
    }
    let svg = picture("latency.svg");
    let words = words(&svg);
    for curve in CURVES.iter().filter(|curve| ["stream", "pool"].contains(&curve.suite)) {
        assert!(words.contains(curve.what) && words.contains(curve.row), "{}\n{words}", curve.row);
    }
    for share in ["p50", "p90", "p99", "p99.9", "p99.99", "max"] {
        assert!(words.lines().any(|line| line == share), "{share} is not in\n{words}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    assert!(!files.path().join("pictures/cuda.svg").exists(), "it has no rows");
}

#[test]
fn marks_of_xml_in_names_do_not_break_a_picture() {
    let files = Files::new();
    let mut stream = suite("stream", json!([row("oneway/64B", "ns", 5.0)]));
    stream["header"]["machine"]["cpu"] = json!("a <b> & \"c\"");
    let stream = files.json("stream.json", &stream);
    assert_eq!(files.report(&["draw", shown(&stream), "--out", "."]).code, Some(0));
    let words = words(&fs::read_to_string(files.path().join("stream.svg")).unwrap());
    assert!(words.contains("a <b> & \"c\""), "{words}");
}

#[test]
fn a_row_without_figures_is_left_out() {
    let files = Files::new();
    let mut empty = row("wake/blocked", "us", 1.0);
    for name in ["value", "p99", "max", "limit", "peer", "quantiles", "limit_quantiles"] {
        empty[name] = Value::Null;
    }
    let zero = row("oneway/40kB", "ns", 0.0);
    let rows = json!([row("oneway/64B", "ns", 5.0), empty, zero]);
    let stream = files.json("stream.json", &suite("stream", rows));
    assert_eq!(files.report(&["draw", shown(&stream), "--out", "."]).code, Some(0));
    for name in ["stream.svg", "latency.svg"] {
        let svg = fs::read_to_string(files.path().join(name)).unwrap();
        let words = words(&svg);
        assert!(words.contains("oneway/64B") && !words.contains("wake/blocked"), "{words}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
