//! Tables of runs that are made up.

use serde_json::json;

use crate::file::{Files, header, row, shown, suite};

#[test]
fn the_short_table_has_the_figures_and_what_is_missing() {
    let files = Files::new();
    let run = json!({"header": header("all", false), "suites": {
        "stream": suite("stream", json!([row("oneway/64B", "ns", 1234.0)])),
        "cuda": {"failed": "no driver"},
    }});
    let run = files.json("run.json", &run);
    let answer = files.report(&["tables", shown(&run)]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let line = answer.said.lines().find(|line| line.contains("`oneway/64B`")).unwrap();
    assert!(
        line.ends_with(
            "| 1,234 ns | 2,468 | 61,700 | 823 | 1.50 | 3,702 (iceoryx2) | 0.33 | all copied |"
        ),
        "{line}"
    );
    for part in [
        "2026-01-02, 4 cores, Made Up 9000, Linux 7.0 x86_64, rustc 1.95.0",
        "commit 0123456789ab",
        "`wake/blocked` | not measured |",
        "The suite `cuda` failed: no driver",
        "No run is stored yet.",
    ] {
        assert!(answer.said.contains(part), "{part} is not in\n{}", answer.said);
    }
}

#[test]
fn single_suites_are_shown_with_their_dates() {
    let files = Files::new();
    let mut pool = suite("pool", json!([row("cycle", "ns", 5.0)]));
    pool["header"]["date"] = json!("2026-02-03T00:00:00Z");
    let pool = files.json("pool.json", &pool);
    let stream = files.json("stream.json", &suite("stream", json!([row("a", "ns", 5.0)])));
    let answer = files.report(&["tables", shown(&pool), shown(&stream)]);
    assert!(answer.said.contains("`stream` 2026-01-02, `pool` 2026-02-03"), "{answer:?}");
    files.report(&["tables", shown(&pool), shown(&pool)]).refused(&["`pool`", "two of these"]);
}

#[test]
fn figures_of_a_quick_run_are_marked_and_not_written() {
    let files = Files::new();
    let mut stream = suite("stream", json!([row("oneway/64B", "ns", 5.0)]));
    stream["header"]["quick"] = json!(true);
    let stream = files.json("stream.json", &stream);
    assert!(files.report(&["tables", shown(&stream)]).said.contains("QUICK RUN"));
    files.report(&["tables", shown(&stream), "--write"]).refused(&["header.quick"]);
}

#[test]
fn a_table_that_lacks_a_field_names_it() {
    let files = Files::new();
    let cuda = files.json("cuda.json", &suite("cuda", json!([row("host/x", "ns", 5.0)])));
    files.report(&["tables", shown(&cuda)]).refused(&["cuda.json", "`driver`"]);
}
