//! Two runs against each other.

use serde_json::{Value, json};

use crate::file::{Answer, Files, header, row, shown, suite};

fn compared(before: &Value, after: &Value, more: &[&str]) -> Answer {
    let files = Files::new();
    let (before, after) = (files.json("before.json", before), files.json("after.json", after));
    let mut words = vec!["compare", shown(&before), shown(&after)];
    words.extend(more);
    files.report(&words)
}

fn stream(rows: Value) -> Value {
    suite("stream", rows)
}

#[test]
fn what_got_worse_comes_first_and_fails() {
    let before = stream(json!([
        row("fine", "ns", 100.0),
        row("faster", "us", 100.0),
        row("slower", "ns", 100.0),
        row("rate/less", "Hz", 1000.0),
        row("rate/more", "GB/s", 10.0),
    ]));
    let after = stream(json!([
        row("fine", "ns", 105.0),
        row("faster", "us", 50.0),
        row("slower", "ns", 150.0),
        row("rate/less", "Hz", 700.0),
        row("rate/more", "GB/s", 20.0),
    ]));
    let answer = compared(&before, &after, &["--json"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let said: Value = serde_json::from_str(&answer.said).unwrap();
    let rows: Vec<_> = said["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["verdict"].as_str().unwrap()))
        .collect();
    let expected = [
        ("slower", "worse"),
        ("rate/less", "worse"),
        ("rate/more", "better"),
        ("faster", "better"),
        ("fine", "same"),
    ];
    assert_eq!(rows, expected);
    assert_eq!(said["rows"][0]["change_percent"], 50.0);
    assert_eq!(said["rows"][0]["p99_change_percent"], 50.0);
    assert_eq!(said["rows"][1]["change_percent"], -30.0);

    let text = compared(&before, &after, &[]).said;
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].starts_with("WORSE") && lines[1].contains("slower"), "{text}");
    assert!(lines[1].contains("+50.0 %") && lines[2].contains("-30.0 %"), "{text}");
    assert!(text.contains("5 rows compared: 2 worse and 2 better by more than 10 %"), "{text}");
}

#[test]
fn the_threshold_tells_what_is_worse() {
    let (before, after) = (row("x", "ns", 100.0), row("x", "ns", 140.0));
    let (before, after) = (stream(json!([before])), stream(json!([after])));
    assert_eq!(compared(&before, &after, &["--threshold", "50%"]).code, Some(0));
    assert_eq!(compared(&before, &after, &["--threshold", "39.9"]).code, Some(1));
    compared(&before, &after, &["--threshold", "much"]).refused(&["--threshold", "much"]);
}

#[test]
fn improvement_is_no_regression() {
    let (before, after) = (row("x", "ns", 100.0), row("x", "ns", 10.0));
    let answer = compared(&stream(json!([before])), &stream(json!([after])), &[]);
    assert_eq!(answer.code, Some(0));
    assert!(answer.said.contains("better") && answer.said.contains("-90.0 %"), "{answer:?}");
}

#[test]
fn from_nothing_to_something_is_worse() {
    let (before, after) = (row("x", "B", 0.0), row("x", "B", 1.0));
    let answer = compared(&stream(json!([before])), &stream(json!([after])), &[]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.said.contains("from 0"), "{answer:?}");
}

#[test]
fn rows_of_one_side_are_listed() {
    let before = stream(json!([row("both", "ns", 1.0), row("gone", "ns", 1.0)]));
    let mut skipped = row("skipped", "ns", 1.0);
    skipped["value"] = Value::Null;
    let after = stream(json!([row("both", "ns", 1.0), row("new", "ns", 1.0), skipped]));
    let answer = compared(&before, &after, &[]);
    assert_eq!(answer.code, Some(0));
    let text = &answer.said;
    assert!(text.contains("only before, 1 rows:\n  stream: gone"), "{text}");
    assert!(text.contains("only after, 1 rows:\n  stream: new"), "{text}");
    let nothing = compared(&stream(json!([row("a", "ns", 1.0)])), &stream(json!([])), &[]);
    nothing.refused(&["before.json", "no row in common"]);
}

#[test]
fn different_machines_are_said_first() {
    let before = stream(json!([row("x", "ns", 1.0)]));
    let mut after = before.clone();
    after["header"]["machine"]["cores"] = json!(64);
    let answer = compared(&before, &after, &[]);
    assert_eq!(answer.code, Some(0));
    assert!(answer.said.starts_with("!!! DIFFERENT MACHINES"), "{answer:?}");
    assert!(answer.said.contains("4 cores") && answer.said.contains("64 cores"), "{answer:?}");
    let same = compared(&before, &before, &[]);
    assert!(!same.said.contains("!!!"), "{same:?}");
}

#[test]
fn a_quick_run_is_compared_with_a_full_one_only_when_asked_to() {
    let full = stream(json!([row("x", "ns", 1.0)]));
    let mut quick = full.clone();
    quick["header"]["quick"] = json!(true);
    compared(&full, &quick, &[]).refused(&["second", "header.quick", "--quick-too"]);
    compared(&quick, &full, &[]).refused(&["first"]);
    assert_eq!(compared(&full, &quick, &["--quick-too"]).code, Some(0));
    assert_eq!(compared(&quick, &quick, &[]).code, Some(0));
}

#[test]
fn a_run_of_all_suites_is_matched_by_suite() {
    let run = |ping: f64| {
        json!({"header": header("all", false), "suites": {
            "stream": suite("stream", json!([row("ping", "ns", 1.0)])),
            "share": suite("share", json!([row("ping", "ns", ping)])),
            "cuda": {"failed": "no driver"},
        }})
    };
    let answer = compared(&run(10.0), &run(20.0), &["--json"]);
    assert_eq!(answer.code, Some(1));
    let said: Value = serde_json::from_str(&answer.said).unwrap();
    assert_eq!(
        (&said["rows"][0]["suite"], &said["rows"][1]["suite"]),
        (&json!("share"), &json!("stream"))
    );
    // One suite of a run may be held against a file of its own.
    let alone = suite("share", json!([row("ping", "ns", 10.0)]));
    assert_eq!(compared(&alone, &run(10.0), &[]).code, Some(0));
}

#[test]
fn what_cannot_be_read_is_told_with_file_and_field() {
    let good = stream(json!([row("x", "ns", 1.0)]));
    let bad = |change: &dyn Fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        compared(&good, &bad, &[])
    };
    bad(&|bad| bad["rows"][0]["value"] = json!("fast")).refused(&[
        "after.json",
        "rows[0].value",
        "a number",
    ]);
    bad(&|bad| bad["rows"][0]["unit"] = json!("parsec")).refused(&[
        "after.json",
        "rows[0].unit",
        "parsec",
    ]);
    bad(&|bad| bad["rows"] = json!(7)).refused(&["after.json", "rows", "a list"]);
    bad(&|bad| drop(bad.as_object_mut().unwrap().remove("header")))
        .refused(&["after.json", "`header`"]);
    bad(&|bad| bad["header"]["command"] = json!("make")).refused(&["header.command", "make"]);
    bad(&|bad| bad["suites"] = json!({"stream": {}})).refused(&["suites.stream", "`rows`"]);
    let files = Files::new();
    let (text, good) = (files.text("text.json", "not JSON"), files.json("good.json", &good));
    files.report(&["compare", shown(&good), shown(&text)]).refused(&["text.json", "no JSON"]);
    files.report(&["compare", shown(&good), "absent.json"]).refused(&["absent.json"]);
    files.report(&["compare", shown(&good)]).refused(&["AFTER"]);
}
