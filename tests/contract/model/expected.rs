//! The plain model: frames in a list, and which of them the ring still holds.

use super::operation::Form;

/// One frame as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) bytes: Vec<u8>,
    pub(super) frame_id: u64,
    pub(super) acquired: u64,
}

/// One stream from its creation to its end.
#[derive(Debug)]
pub(super) struct Incarnation {
    pub(super) form: Form,
    /// Frame `count` is at `count - 1`.
    frames: Vec<Published>,
    /// Count of the last frame that was begun, whether or not it was finished.
    begun: u64,
}

impl Incarnation {
    pub(super) fn new(form: Form) -> Incarnation {
        Incarnation { form, frames: Vec::new(), begun: 0 }
    }

    pub(super) fn newest(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Adds a frame; an id of `None` stands for the frame's count.
    pub(super) fn publish(&mut self, bytes: Vec<u8>, id: Option<u64>, acquired: u64) -> u64 {
        let count = self.newest() + 1;
        self.frames.push(Published { bytes, frame_id: id.unwrap_or(count), acquired });
        self.begun = count;
        count
    }

    /// Gives a frame its bytes.
    pub(super) fn set_bytes(&mut self, count: u64, bytes: Vec<u8>) {
        self.frames[count as usize - 1].bytes = bytes;
    }

    /// A frame that was begun and given up: its cell holds nothing.
    pub(super) fn abort(&mut self) {
        self.begun = self.newest() + 1;
    }

    /// Whether nobody has begun to write over the frame.
    pub(super) fn holds(&self, count: u64) -> bool {
        (1..=self.newest()).contains(&count) && count + self.form.cells as u64 > self.begun
    }

    /// The frame, if the ring still holds it.
    pub(super) fn frame(&self, count: u64) -> Option<&Published> {
        self.holds(count).then(|| self.ever(count))
    }

    /// The frame, whether or not the ring still holds it.
    pub(super) fn ever(&self, count: u64) -> &Published {
        &self.frames[count as usize - 1]
    }
}
