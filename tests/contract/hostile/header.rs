//! Every byte of the immutable part, and every field of the header, damaged one at a time.

use super::subject::{Subject, assert_damaged};
use crate::support::layout::header::{self, FIELDS};
use crate::support::limit::within;
use shm_core::{OpenError, Reader};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);

#[test]
fn no_byte_of_the_immutable_part_may_differ() {
    within(LIMIT, || {
        let subject = Subject::new("flips");
        let good = subject.file.bytes();
        let fixed_len = subject.file.word(header::FIXED_LEN);
        assert!(fixed_len > 256, "header, name, geometry, counters and metadata");
        // There is no padding: the checksum covers the gaps between the parts as well.
        for at in 0..fixed_len {
            let byte = good[at as usize];
            for value in
                [!byte, byte ^ 1, byte ^ 0x80, 0, 0xff, byte.wrapping_add(1), byte.wrapping_sub(1)]
            {
                if value == byte {
                    continue;
                }
                subject.file.write(at, &[value]);
                assert_damaged(
                    &subject.name,
                    &format!("byte {at} is {value:#x} instead of {byte:#x}"),
                );
            }
            subject.file.write(at, &[byte]);
        }
        Reader::open(&subject.name).unwrap();
    });
}

#[test]
fn no_field_may_differ() {
    within(LIMIT, || {
        let subject = Subject::new("fields");
        let good = subject.file.bytes();
        let total = subject.file.len();
        for &(field, at, width) in FIELDS {
            let range = at as usize..at as usize + width;
            let mut word = [0; 8];
            word[..width].copy_from_slice(&good[range.clone()]);
            let value = u64::from_ne_bytes(word);
            let max = u64::MAX >> (64 - 8 * width);
            let values = [
                0,
                1,
                max,
                max / 2,
                value.wrapping_sub(1),
                value.wrapping_add(1),
                total,
                total + 1,
            ];
            for hostile in values.map(|hostile| hostile & max) {
                if hostile == value {
                    continue;
                }
                subject.file.write(at, &hostile.to_ne_bytes()[..width]);
                assert_damaged(&subject.name, &format!("{field} is {hostile} instead of {value}"));
            }
            subject.file.write(at, &good[range]);
        }
        Reader::open(&subject.name).unwrap();
    });
}

#[test]
fn each_kind_of_damage_has_its_own_error() {
    let subject = Subject::new("kinds");
    let name = &*subject.name;
    let good = subject.file.bytes();
    let open = || Reader::open(name).unwrap_err();
    subject.file.set_word(header::MAGIC, 0x1122_3344_5566_7788);
    assert!(matches!(open(), OpenError::Foreign { found: 0x1122_3344_5566_7788, .. }));
    subject.file.set_word(header::MAGIC, 0);
    assert!(matches!(open(), OpenError::NotReady { .. }));
    subject.file.write(0, &good[..256]);
    subject.file.write(header::ABI, &9_u32.to_ne_bytes());
    assert!(matches!(open(), OpenError::Abi { expected: 2, found: 9, .. }));
    subject.file.write(0, &good[..256]);
    subject.file.set_word(header::CHECKSUM, 1);
    assert!(matches!(open(), OpenError::Corrupt { field: "checksum", .. }));
    subject.file.write(0, &good[..256]);
    subject.file.write(header::KIND, b"pool\0\0\0\0");
    subject.file.reseal(name);
    let OpenError::Kind { expected, found, .. } = open() else { panic!("another kind") };
    assert_eq!((&*expected, &*found), ("stream", "pool"));
    subject.file.write(header::KIND, &[0xff; 8]);
    subject.file.reseal(name);
    assert!(matches!(open(), OpenError::Kind { .. }), "no text at all");
    subject.file.write(0, &good[..256]);
    subject.file.set_word(header::TOTAL_LEN, 1 << 40);
    let OpenError::Truncated { expected, found, .. } = open() else { panic!("too short a file") };
    assert_eq!((expected, found), (1 << 40, subject.file.len()));
    subject.file.write(0, &good[..256]);
    subject.file.set_word(header::FIXED_LEN, 255);
    assert!(matches!(open(), OpenError::Corrupt { field: "fixed_len", .. }));
    subject.file.write(0, &good[..256]);
    Reader::open(name).unwrap();
}
