//! The figures of README.md are those of a stored run.

use serde_json::Value;
use std::path::Path;

const RUN: &str = "benches/results/stream-epyc-2core.json";
const BEGIN: &str = "<!-- measured by `cargo xtask bench stream` -->\n";
const END: &str = "<!-- end -->";

#[test]
fn the_table_is_that_of_the_stored_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let run = std::fs::read_to_string(root.join(RUN)).unwrap();
    let expected = table(&serde_json::from_str(&run).unwrap());
    let found = readme.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let found = found.unwrap_or_else(|| panic!("README.md lacks {BEGIN:?} or {END:?}")).0;
    assert!(found == expected, "README.md should say, after a new run:\n{expected}");
}

fn table(run: &Value) -> String {
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
    lines.push_str(
        "| row | p50 | p99 | max | limit, same run | of limit | iceoryx2 | of iceoryx2 |\n",
    );
    lines.push_str("|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for row in run["rows"].as_array().expect("rows") {
        let name = text(&row["name"]);
        let of_iceoryx = row["peer_name"].as_str().is_some_and(|peer| peer.contains("iceoryx2"));
        let cell = |value: &Value| value.as_f64().map_or(String::new(), number);
        let peer = |value: &Value| if of_iceoryx { cell(value) } else { String::new() };
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
