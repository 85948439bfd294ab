//! The figures of README.md are those of a stored run.

use serde_json::Value;
use std::path::Path;

const RUN: &str = "benches/results/stream-epyc-2core.json";
const PYTHON_RUN: &str = "benches/results/py-epyc-2core.json";
const BEGIN: &str = "<!-- measured by `cargo xtask bench stream` -->\n";
const PYTHON_BEGIN: &str = "<!-- measured by `cargo xtask bench py` -->\n";
const POOL_RUN: &str = "benches/results/pool-epyc-2core.json";
const POOL_BEGIN: &str = "<!-- measured by `cargo xtask bench pool` -->\n";
const END: &str = "<!-- end -->";

#[test]
fn the_table_is_that_of_the_stored_run() {
    check(BEGIN, RUN, |run| table(run, "iceoryx2"));
}

#[test]
fn the_table_of_the_pool_is_that_of_the_stored_run() {
    check(POOL_BEGIN, POOL_RUN, |run| table(run, "pymllm"));
}

#[test]
fn the_table_of_the_python_side_is_that_of_the_stored_run() {
    check(PYTHON_BEGIN, PYTHON_RUN, python_table);
}

fn check(begin: &str, run: &str, table: impl Fn(&Value) -> String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let run = std::fs::read_to_string(root.join(run)).unwrap();
    let expected = table(&serde_json::from_str(&run).unwrap());
    let found = readme.split_once(begin).and_then(|(_, rest)| rest.split_once(END));
    let found = found.unwrap_or_else(|| panic!("README.md lacks {begin:?} or {END:?}")).0;
    assert!(found == expected, "README.md should say, after a new run:\n{expected}");
}

fn python_table(run: &Value) -> String {
    let header = &run["header"];
    assert_eq!(header["quick"], false, "a quick run is not for quoting");
    let machine = &header["machine"];
    let mut lines = format!(
        "{}, {} cores, {}, {}, {}, NumPy {}:\n\n",
        &text(&header["date"])[..10],
        machine["cores"],
        text(&machine["cpu"]),
        text(&machine["kernel"]),
        text(&header["python"]),
        text(&header["numpy"]),
    );
    lines.push_str(
        "| row | shm_py p50 | p99 | max | limit, same run | of limit | pyshmem 1.0.1 | pyshmem 1.4.0 | faster than the better one | goal |\n",
    );
    lines.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n");
    for row in run["rows"].as_array().expect("rows") {
        let cell = |value: &Value| value.as_f64().map_or(String::new(), number);
        let of_peer = |version: &str| {
            let peers = row["peers"].as_array().expect("peers").iter();
            let figures = peers.filter(|peer| text(&peer["name"]).ends_with(version));
            let figures = figures.filter_map(|peer| peer["value"].as_f64());
            let higher = row["better"] == "higher";
            figures
                .reduce(|a, b| if (a > b) == higher { a } else { b })
                .map_or(String::new(), number)
        };
        let faster = row["ratio_peer"].as_f64().map_or(String::new(), |ratio| {
            let times = if row["better"] == "higher" { ratio } else { 1.0 / ratio };
            format!("{}x", number(times))
        });
        let met = row["met"].as_bool().map_or("", |met| if met { "met" } else { "missed" });
        lines.push_str(&format!(
            "| `{}` | {} {} | {} | {} | {} | {} | {} | {} | {faster} | {met} |\n",
            text(&row["name"]),
            cell(&row["value"]),
            text(&row["unit"]),
            cell(&row["p99"]),
            cell(&row["max"]),
            cell(&row["limit"]),
            cell(&row["ratio_limit"]),
            of_peer("1.0.1"),
            of_peer("1.4.0"),
        ));
    }
    lines
}

/// The rows of a run, beside those of one other system.
fn table(run: &Value, system: &str) -> String {
    let header = &run["header"];
    assert_eq!(header["quick"], false, "a quick run is not for quoting");
    let machine = &header["machine"];
    let mut lines = format!(
        "{}, {} cores, {}, {}, {}:\n\n",
        &text(&header["date"])[..10],
        machine["cores"],
        text(&machine["cpu"]),
        text(&machine["kernel"]),
        text(&header["rustc"]).split(" (").next().unwrap_or_default(),
    );
    lines.push_str(&format!(
        "| row | p50 | p99 | max | limit, same run | of limit | {system} | of {system} |\n",
    ));
    lines.push_str("|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for row in run["rows"].as_array().expect("rows") {
        let name = text(&row["name"]);
        let of_system = row["peer_name"].as_str().is_some_and(|peer| peer.contains(system));
        let cell = |value: &Value| value.as_f64().map_or(String::new(), number);
        let peer = |value: &Value| if of_system { cell(value) } else { String::new() };
        lines.push_str(&format!(
            "| `{name}` | {} {} | {} | {} | {} | {} | {} | {} |\n",
            cell(&row["value"]),
            text(&row["unit"]),
            cell(&row["p99"]),
            cell(&row["max"]),
            cell(&row["limit"]),
            cell(&row["ratio_limit"]),
            peer(&row["peer"]),
            peer(&row["ratio_peer"]),
        ));
    }
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// Three significant digits or whole numbers, thousands apart.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..1000.0 => format!("{value:.0}"),
        _ => {
            let digits = format!("{value:.0}");
            let first = (digits.len() - 1) % 3 + 1;
            let rest = digits.as_bytes()[first..].chunks(3);
            let rest = rest.map(|three| String::from_utf8_lossy(three).into_owned());
            std::iter::once(digits[..first].to_owned()).chain(rest).collect::<Vec<_>>().join(",")
        }
    }
}
