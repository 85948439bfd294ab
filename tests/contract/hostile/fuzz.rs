//! Random headers.

use super::sealed::exercise;
use super::subject::Subject;
use crate::support::child::alone;
use crate::support::layout::header;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use shm_core::Reader;

fn config() -> Config {
    Config { cases: 2000, failure_persistence: None, ..Config::default() }
}

#[test]
fn any_first_bytes_are_an_error_with_a_type() {
    let subject = Subject::new("fuzz");
    let good = subject.file.bytes();
    let fixed = subject.file.word(header::FIXED_LEN) as usize;
    let mut runner = TestRunner::new(config());
    let bytes = proptest::collection::vec(any::<u8>(), fixed);
    // Without the second half of these, nothing would ever get past the magic number.
    let strategy = (bytes, any::<bool>(), any::<bool>());
    let outcome = runner.run(&strategy, |(bytes, magic, lengths)| {
        subject.file.write(0, &bytes);
        if magic {
            subject.file.write(0, &good[..16]);
        }
        if lengths {
            for at in [header::TOTAL_LEN, header::FIXED_LEN] {
                let at = at as usize;
                subject.file.write(at as u64, &good[at..at + 8]);
            }
        }
        prop_assert!(Reader::open(&subject.name).is_err());
        exercise(&subject.name).map_err(TestCaseError::fail)
    });
    subject.file.write(0, &good[..fixed]);
    outcome.unwrap();
    Reader::open(&subject.name).unwrap();
}

#[test]
fn any_few_changes_with_a_fitting_checksum_do_no_harm() {
    alone!(any_few_changes_with_a_fitting_checksum_do_no_harm, || {
        let subject = Subject::new("fuzz-sealed");
        let good = subject.file.bytes();
        let fixed = subject.file.word(header::FIXED_LEN);
        let mut runner = TestRunner::new(config());
        let value = prop_oneof![
            any::<u32>(),
            0_u32..20,
            Just(u32::MAX),
            (0_u32..40).prop_map(|pages| pages * 64),
            (0_u32..8).prop_map(|pages| pages * 4096),
        ];
        // Not the magic number, the version and the checksum.
        let at = prop_oneof![3_u64..48, 50..fixed / 4 - 1];
        let changes = proptest::collection::vec((at, value), 1..4);
        let outcome = runner.run(&changes, |changes| {
            for (at, value) in changes {
                subject.file.write(at * 4, &value.to_ne_bytes());
            }
            let sealed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                subject.file.reseal(&subject.name);
            }));
            let outcome = match sealed {
                Ok(()) => exercise(&subject.name),
                Err(_) => Err("looking at the checksum panicked".to_owned()),
            };
            subject.file.write(0, &good);
            outcome.map_err(TestCaseError::fail)
        });
        outcome.unwrap();
    });
}
