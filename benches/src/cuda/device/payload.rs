//! The payloads of these rows: f32 matrices.

use crate::cuda::place::Place;

/// One size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    pub(super) name: &'static str,
    pub(super) side: usize,
}

const ALL: [Payload; 3] = [
    Payload { name: "100x100", side: 100 },
    Payload { name: "1000x1000", side: 1000 },
    Payload { name: "10000x10000", side: 10_000 },
];

impl Payload {
    /// A simulated device only rehearses, and has no room for the largest.
    pub(super) fn all(place: &Place) -> &'static [Payload] {
        if place.simulated { &ALL[..2] } else { &ALL }
    }

    pub(super) fn len(self) -> usize {
        self.side * self.side * size_of::<f32>()
    }
}
