//! README.md, benches/RESULTS.md and their pictures are what the stored run gives.

use std::fs;
use std::path::{Path, PathBuf};

use shm_benches::headline::{CURVES, QUESTIONS, shown};
use shm_benches::stored::{SUITES, StoredRun, quoted};
use shm_benches::{draw, tables};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn stored() -> StoredRun {
    let run = StoredRun::read(&quoted(&root().join("benches/results")).unwrap()).unwrap();
    assert!(!run.quick(), "a quick run is not for quoting");
    run
}

fn check(document: &str, blocks: &[tables::Block]) {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let expected = tables::replaced(document, &text, blocks).unwrap();
    assert!(
        text == expected,
        "{document} has other figures than the stored run; `cargo xtask bench tables --write` \
         writes them, and it should say:\n{expected}"
    );
}

#[test]
fn readme_has_the_figures_of_the_stored_run() {
    check(tables::README, &tables::readme(&stored()).unwrap());
}

#[test]
fn results_have_the_figures_of_the_stored_run() {
    check(tables::RESULTS, &tables::results(&stored()).unwrap());
}

#[test]
fn the_pictures_are_those_of_the_stored_run() {
    let folder = root().join("benches/results");
    let pictures = draw::pictures(&stored()).unwrap();
    assert!(pictures.len() > 1, "nothing was drawn");
    for (name, picture) in pictures {
        let found = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(
            found == picture,
            "benches/results/{name} is not that of the stored run; `cargo xtask bench draw --out \
             benches/results` draws it"
        );
    }
}

#[test]
fn every_headline_is_a_row_of_the_stored_run() {
    let run = stored();
    let asked = QUESTIONS.iter().chain(&CURVES).map(|headline| (headline.suite, headline.row));
    let drawn = SUITES.iter().flat_map(|suite| shown(suite).iter().map(|row| (*suite, *row)));
    for (suite, row) in asked.chain(drawn) {
        assert!(run.row(suite, row).is_some(), "the suite `{suite}` has no row `{row}`");
    }
}
