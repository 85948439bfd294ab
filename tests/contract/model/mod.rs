//! A stream against a plain model of it: random operations, every result compared.

mod expected;
mod operation;
mod subject;

use operation::operations;
use proptest::prelude::*;
use proptest::test_runner::Config;
use subject::Subject;

proptest! {
    #![proptest_config(Config { cases: 600, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_stream_behaves_like_a_list_of_frames(
        first in operation::shape_of_a_stream(),
        operations in operations(),
    ) {
        let mut subject = Subject::new(first);
        for operation in operations {
            subject.apply(&operation);
        }
        subject.check_everything();
    }
}
