//! The figures of README.md are those of a stored run.

use serde_json::Value;
use std::path::Path;

const RUN: &str = "benches/results/stream-epyc-2core.json";
const PYTHON_RUN: &str = "benches/results/py-epyc-2core.json";
const BEGIN: &str = "<!-- measured by `cargo xtask bench stream` -->\n";
const PYTHON_BEGIN: &str = "<!-- measured by `cargo xtask bench py` -->\n";
const POOL_RUN: &str = "benches/results/pool-epyc-2core.json";
const POOL_BEGIN: &str = "<!-- measured by `cargo xtask bench pool` -->\n";
const TRITON_RUN: &str = "benches/results/triton-epyc-2core.json";
const TRITON_BEGIN: &str = "<!-- measured by `cargo xtask bench triton` -->\n";
const CUDA_RUN: &str = "benches/results/cuda-sim-epyc-2core.json";
const CUDA_BEGIN: &str = "<!-- measured by `cargo xtask bench cuda` -->\n";
const SHARE_RUN: &str = "benches/results/share-epyc-2core.json";
const SHARE_BEGIN: &str = "<!-- measured by `cargo xtask bench share` -->\n";
/// The paths of our client whose rows are shown; the run has them all, and other clients' too.
const TRITON_PATHS: [&str; 4] = ["in-place/http", "in-place/unix", "in-place/grpc", "copied/grpc"];
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

#[test]
fn the_table_of_triton_is_that_of_the_stored_run() {
    check(TRITON_BEGIN, TRITON_RUN, triton_tables);
}

#[test]
fn the_table_of_cuda_is_that_of_the_stored_run() {
    check(CUDA_BEGIN, CUDA_RUN, cuda_table);
}

#[test]
fn the_table_of_the_share_service_is_that_of_the_stored_run() {
    check(SHARE_BEGIN, SHARE_RUN, |run| table(run, "shared-tensor"));
}

fn check(begin: &str, run: &str, table: impl Fn(&Value) -> String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let expected = match std::fs::read_to_string(root.join(run)) {
        Ok(text) => table(&serde_json::from_str(&text).unwrap()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => UNMEASURED.to_owned(),
        Err(error) => panic!("{run}: {error}"),
    };
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

/// What the calls cost the host, beside the driver's bare calls.
fn cuda_table(run: &Value) -> String {
    let (header, driver) = (&run["header"], &run["driver"]);
    assert_eq!(header["quick"], false, "a quick run is not for quoting");
    let machine = &header["machine"];
    let remark = match driver["simulated"].as_bool() {
        Some(true) => "simulated driver, no GPU: host-side cost only".to_owned(),
        _ => text(&driver["device"]).to_owned(),
    };
    let mut lines = format!(
        "{}, {} cores, {}, {}, {}; **{remark}**:\n\n",
        &text(&header["date"])[..10],
        machine["cores"],
        text(&machine["cpu"]),
        text(&machine["kernel"]),
        text(&header["rustc"]).split(" (").next().unwrap_or_default(),
    );
    lines.push_str(
        "| row | driver | p50 | p99 | max | bare calls, same run | over them | over what a publish needs | driver's calls, ours / bare |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let cell = |value: &Value| value.as_f64().map_or(String::new(), number);
    for row in run["rows"].as_array().expect("rows") {
        let calls = |name: &str| row[name].as_f64().map(|calls| format!("{calls:.0}"));
        let calls = [calls("driver_calls"), calls("bare_driver_calls")];
        lines.push_str(&format!(
            "| `{}` | {} | {} {} | {} | {} | {} | {} | {} | {} |\n",
            text(&row["name"]),
            text(&row["driver"]),
            cell(&row["value"]),
            text(&row["unit"]),
            cell(&row["p99"]),
            cell(&row["max"]),
            cell(&row["bare"]),
            cell(&row["over_bare"]),
            cell(&row["over_needed"]),
            calls.into_iter().flatten().collect::<Vec<_>>().join(" / "),
        ));
    }
    if let Some(why) = run["gpu_skipped"].as_str() {
        lines.push_str(&format!("\n{why}.\n"));
    }
    lines
}

/// What stands in place of the table of a run that is not stored.
const UNMEASURED: &str = "No run is stored yet.\n";

/// One table by the time of a call, one by how many there are in a second.
fn triton_tables(run: &Value) -> String {
    let header = &run["header"];
    assert_eq!(header["quick"], false, "a quick run is not for quoting");
    let machine = &header["machine"];
    let mut lines = format!(
        "{}, {} cores, {}, {}, {}",
        &text(&header["date"])[..10],
        machine["cores"],
        text(&machine["cpu"]),
        text(&machine["kernel"]),
        text(&header["rustc"]).split(" (").next().unwrap_or_default(),
    );
    for server in run["servers"].as_array().expect("servers") {
        lines.push_str(&format!("; {}: {}", text(&server["backend"]), text(&server["name"])));
    }
    lines.push_str(
        "\n\n| row | p50 us | p99 | max | calls/s | MB/s | limit, same run | of limit | perf_analyzer | of it | triton-shm-client | of it | payload |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
    );
    let rows = || run["rows"].as_array().expect("rows").iter();
    let cell = |value: &Value| value.as_f64().map_or(String::new(), number);
    let ours = |row: &&Value| {
        TRITON_PATHS.iter().any(|path| text(&row["name"]).ends_with(&format!("/{path}")))
    };
    let compared = |row: &Value| {
        let names = ["limit", "ratio_limit", "perf_analyzer", "ratio_perf_analyzer", "peer"];
        let cells: Vec<_> =
            names.iter().chain(&["ratio_peer"]).map(|name| cell(&row[*name])).collect();
        cells.join(" | ")
    };
    for row in rows().filter(ours).filter(|row| row["unit"] == "us") {
        lines.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} | {} | {} |\n",
            text(&row["name"]),
            cell(&row["p50_us"]),
            cell(&row["p99_us"]),
            cell(&row["max_us"]),
            cell(&row["calls_per_second"]),
            cell(&row["mb_per_second"]),
            compared(row),
            text(&row["payload"]),
        ));
    }
    lines.push_str(
        "\n| calls in flight, `identity` | calls/s | p50 us | p99 | max | limit, same run | of limit | perf_analyzer | of it | triton-shm-client | of it |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows().filter(ours).filter(|row| row["unit"] == "calls/s") {
        lines.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} |\n",
            text(&row["name"]),
            cell(&row["calls_per_second"]),
            cell(&row["p50_us"]),
            cell(&row["p99_us"]),
            cell(&row["max_us"]),
            compared(row),
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
