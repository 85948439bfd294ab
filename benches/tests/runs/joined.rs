//! The file of a run of all suites.

use serde_json::{Value, json};

use crate::file::{Files, row, shown, suite};

#[test]
fn the_run_has_every_suite_and_says_which_failed() {
    let files = Files::new();
    let stream = suite("stream", json!([row("oneway/64B", "ns", 5.0)]));
    let pool = suite("pool", json!([row("cycle", "ns", 5.0)]));
    let (stream_file, pool_file) =
        (files.json("stream.json", &stream), files.json("pool.json", &pool));
    let broken = files.text("share.json", "{\"rows\":");
    let outcome = json!({
        "command": "cargo xtask bench all", "began": 1_767_323_045, "quick": false,
        "suites": {
            "pool": {"file": pool_file, "failed": "one group", "seconds": 2.04},
            "stream": {"file": stream_file, "failed": null, "seconds": 1.0},
            "cuda": {"file": null, "failed": "no driver", "seconds": 0.0},
            "share": {"file": broken, "failed": null, "seconds": 3.0},
        },
    });
    let answer = files.report_given(&["join", "--out", "run.json"], &outcome.to_string());
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let text = std::fs::read_to_string(files.path().join("run.json")).unwrap();
    let run: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(run["header"]["date"], "2026-01-02T03:04:05Z");
    assert_eq!(run["header"]["command"], "cargo xtask bench all");
    assert_eq!(run["header"]["quick"], false);
    assert_eq!(
        run["header"]["seconds"],
        json!({"stream": 1.0, "pool": 2.0, "cuda": 0.0, "share": 3.0})
    );
    for name in ["machine", "commit", "rustc"] {
        assert!(run["header"].get(name).is_some(), "{name}");
    }
    assert_eq!(run["suites"]["stream"], stream);
    assert_eq!(run["suites"]["pool"]["rows"], pool["rows"]);
    assert_eq!(run["suites"]["pool"]["failed"], "one group");
    assert_eq!(run["suites"]["cuda"], json!({"failed": "no driver"}));
    let why = run["suites"]["share"]["failed"].as_str().unwrap();
    assert!(why.contains("cannot be read"), "{why}");

    let compared = files.report(&["compare", "run.json", shown(&stream_file)]);
    assert_eq!(compared.code, Some(0), "{compared:?}");
}

#[test]
fn an_order_that_is_none_is_refused() {
    let files = Files::new();
    files.report_given(&["join", "--out", "run.json"], "{}").refused(&["command"]);
    assert!(!files.path().join("run.json").exists());
}
