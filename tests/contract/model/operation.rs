//! What may be done to a stream, and how it is drawn.

use proptest::prelude::*;

/// The element types that the model uses; the others differ in nothing but their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I32,
    F64,
}

/// What a stream is created with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub(super) kind: Kind,
    pub(super) elements: usize,
    pub(super) cells: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Publish { seed: u64 },
    PublishTagged { seed: u64, id: u64, acquired: u64 },
    PublishWrong,
    Commit { seed: u64, tagged: bool },
    Abort { seed: u64 },
    Clear,
    Read,
    ReadInto,
    ReadWrong,
    History { frames: usize },
    ReadFrame { back: u64 },
    WaitAfter { back: u64 },
    View,
    CheckViews,
    ReopenReader,
    DropWriter,
    TakeWriter { other_handle: bool },
    Replace { form: Form },
}

pub(super) fn shape_of_a_stream() -> impl Strategy<Value = Form> {
    let kinds = prop_oneof![Just(Kind::U8), Just(Kind::I32), Just(Kind::F64)];
    // Payloads beside their header, in the payload part, and on pages of their own.
    let elements = prop_oneof![Just(1_usize), Just(3), Just(32), Just(300), Just(1500)];
    (kinds, elements, 1_usize..=6).prop_map(|(kind, elements, cells)| Form {
        kind,
        elements,
        cells,
    })
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        8 => any::<u64>().prop_map(|seed| Operation::Publish { seed }),
        3 => any::<(u64, u64, u64)>()
            .prop_map(|(seed, id, acquired)| Operation::PublishTagged { seed, id, acquired }),
        1 => Just(Operation::PublishWrong),
        3 => any::<(u64, bool)>().prop_map(|(seed, tagged)| Operation::Commit { seed, tagged }),
        2 => any::<u64>().prop_map(|seed| Operation::Abort { seed }),
        1 => Just(Operation::Clear),
        4 => Just(Operation::Read),
        4 => Just(Operation::ReadInto),
        1 => Just(Operation::ReadWrong),
        3 => (0_usize..9).prop_map(|frames| Operation::History { frames }),
        3 => (0_u64..9).prop_map(|back| Operation::ReadFrame { back }),
        2 => (0_u64..4).prop_map(|back| Operation::WaitAfter { back }),
        3 => Just(Operation::View),
        3 => Just(Operation::CheckViews),
        1 => Just(Operation::ReopenReader),
        1 => Just(Operation::DropWriter),
        2 => any::<bool>().prop_map(|other_handle| Operation::TakeWriter { other_handle }),
        1 => shape_of_a_stream().prop_map(|form| Operation::Replace { form }),
    ];
    proptest::collection::vec(operation, 1..80)
}
