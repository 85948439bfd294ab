//! Bare copies of a call's tensors, which nobody can avoid who wants them in memory of his own.

use super::model::Model;
use crate::limits::CopyKind;

/// Memory as large as the tensors of a call, on both sides.
pub(super) struct Memory {
    given: Vec<u8>,
    in_slot: Vec<u8>,
    out_slot: Vec<u8>,
    got: Vec<u8>,
}

impl Memory {
    pub fn of(model: &Model) -> Memory {
        // Not zeros, which the system would not back with memory of their own.
        let [given, in_slot] = [1, 2].map(|byte| vec![byte; model.input_bytes()]);
        let [out_slot, got] = [3, 4].map(|byte| vec![byte; model.output_bytes()]);
        Memory { given, in_slot, out_slot, got }
    }

    /// What the model itself does: as many bytes as its outputs have, out of its inputs.
    pub fn model(&mut self, kind: CopyKind) {
        kind.copy_private(&mut self.out_slot, &self.in_slot);
    }

    /// What a client does that copies: all inputs in and all outputs out.
    pub fn client(&mut self, kind: CopyKind) {
        kind.copy_private(&mut self.in_slot, &self.given);
        kind.copy_private(&mut self.got, &self.out_slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triton::model::MODELS;

    #[test]
    fn bytes_go_from_end_to_end() {
        for kind in CopyKind::available() {
            let mut memory = Memory::of(&MODELS[0]);
            memory.client(kind);
            assert_eq!((memory.in_slot[511], memory.got[511]), (1, 3), "{kind:?}");
            memory.model(kind);
            memory.client(kind);
            assert!(memory.got.iter().all(|&byte| byte == 1), "{kind:?}");
        }
    }
}
