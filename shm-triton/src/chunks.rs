//! Cutting many samples into requests, and putting their outputs together again.

use crate::datatype::DataType;
use crate::error::{InferError, InputError, OutputError};
use crate::inputs::Inputs;
use crate::outputs::{About, Buffer, Data, OutputEntry, Outputs};
use crate::registration::Registration;

/// How the samples of one inference are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// All samples; 1 where there is no batch dimension.
    pub samples: usize,
    /// Samples of one chunk, but for the last.
    pub each: usize,
}

impl Cut {
    /// Checks the inputs against the model, and cuts them.
    pub(crate) fn new(registration: &Registration, inputs: &Inputs<'_>) -> Result<Cut, InputError> {
        let spec = &registration.spec;
        let mut samples: Option<i64> = None;
        for entry in &inputs.entries {
            registration.find(&entry.name, entry.datatype, &entry.shape)?;
            if spec.max_batch_size == 0 {
                continue;
            }
            let found = entry.shape[0];
            match samples {
                Some(expected) if expected != found => {
                    let (name, expected) = (entry.name.clone(), expected.to_string());
                    return Err(InputError::Batch { name, expected, found });
                }
                _ => samples = Some(found),
            }
        }
        for tensor in spec.inputs.iter().filter(|tensor| !tensor.optional) {
            if !inputs.entries.iter().any(|entry| entry.name == tensor.name) {
                return Err(InputError::Missing { name: tensor.name.clone() });
            }
        }
        let samples = samples.map_or(1, |samples| samples as usize);
        Ok(Cut { samples, each: registration.batch })
    }

    /// How many chunks; one even if there is nothing.
    pub(crate) fn count(&self) -> usize {
        self.samples.div_ceil(self.each).max(1)
    }

    /// First sample of a chunk, and how many it has.
    pub(crate) fn chunk(&self, index: usize) -> (usize, usize) {
        let first = index * self.each;
        (first, self.each.min(self.samples - first))
    }
}

/// The outputs of all chunks, put together in the order of the samples.
#[derive(Debug)]
pub(crate) struct Assembly {
    cut: Cut,
    batched: bool,
    earlier: Vec<OutputEntry>,
    parts: Vec<Part>,
    about: About,
}

#[derive(Debug)]
struct Part {
    name: String,
    datatype: DataType,
    /// Of all samples.
    shape: Vec<i64>,
    /// Bytes of one sample; of BYTES they differ.
    per_sample: Option<usize>,
    buffer: Buffer,
    /// Of BYTES: the bytes of each chunk.
    pieces: Vec<Vec<u8>>,
}

impl Assembly {
    /// Nothing yet; the memory of `earlier` outputs is used where it is large enough.
    pub(crate) fn new(
        registration: &Registration,
        cut: Cut,
        earlier: Outputs<'static>,
    ) -> Assembly {
        let batched = registration.spec.max_batch_size > 0;
        Assembly {
            cut,
            batched,
            earlier: earlier.entries,
            parts: Vec::new(),
            about: About::default(),
        }
    }

    /// Copies the outputs of chunk `index`.
    pub(crate) fn add(&mut self, index: usize, outputs: &Outputs<'_>) -> Result<(), OutputError> {
        if self.parts.is_empty() {
            for entry in &outputs.entries {
                let part = self.part(entry, outputs.data(entry));
                self.parts.push(part);
            }
        }
        if index == 0 {
            self.about = outputs.about.clone();
        }
        let (first, samples) = self.cut.chunk(index);
        for (part, entry) in self.parts.iter_mut().zip(&outputs.entries) {
            let skip = usize::from(self.batched);
            if part.shape.get(skip..) != entry.shape.get(skip..) {
                let mut expected = part.shape.clone();
                if let (true, Some(first)) = (self.batched, expected.first_mut()) {
                    *first = samples as i64;
                }
                let (name, found) = (entry.name.clone(), entry.shape.clone());
                return Err(OutputError::Shape { name, expected, found });
            }
            let data = outputs.data(entry);
            match part.per_sample {
                Some(bytes) => part.buffer.write(first * bytes, data),
                None => part.pieces[index] = data.to_vec(),
            }
        }
        Ok(())
    }

    /// Everything together.
    pub(crate) fn finish(self) -> Outputs<'static> {
        let entries = self
            .parts
            .into_iter()
            .map(|part| {
                let data = match part.per_sample {
                    Some(_) => Data::Owned(part.buffer),
                    None => Data::Owned(Buffer::of(&part.pieces.concat())),
                };
                OutputEntry { name: part.name, datatype: part.datatype, shape: part.shape, data }
            })
            .collect();
        Outputs { entries, lent: None, about: self.about }
    }

    fn part(&mut self, entry: &OutputEntry, data: &[u8]) -> Part {
        let mut shape = entry.shape.clone();
        let mut per_sample = entry.datatype.size().map(|_| data.len());
        if let (true, Some(samples)) = (self.batched, shape.first_mut()) {
            per_sample = per_sample.map(|bytes| bytes / (*samples).max(1) as usize);
            *samples = self.cut.samples as i64;
        }
        let total = per_sample.unwrap_or(0) * if self.batched { self.cut.samples } else { 1 };
        let at = self.earlier.iter().position(|earlier| earlier.name == entry.name);
        let earlier = match at.map(|at| self.earlier.swap_remove(at).data) {
            Some(Data::Owned(buffer)) => buffer,
            _ => Buffer::default(),
        };
        let pieces = match per_sample {
            Some(_) => Vec::new(),
            None => vec![Vec::new(); self.cut.count()],
        };
        Part {
            name: entry.name.clone(),
            datatype: entry.datatype,
            shape,
            per_sample,
            buffer: Buffer::reuse(earlier, total),
            pieces,
        }
    }
}

/// Says which chunk an error is of, where there are several.
pub(crate) fn of_chunk(cut: Cut, index: usize, source: InferError) -> InferError {
    let of = cut.count();
    if of == 1 {
        return source;
    }
    let (first, samples) = cut.chunk(index);
    InferError::Chunk { index, of, first, samples, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_in_one_chunk() {
        for (samples, each) in [(0, 4), (1, 4), (4, 4), (5, 4), (8, 4), (9, 1), (100, 7), (3, 1000)]
        {
            let cut = Cut { samples, each };
            let chunks: Vec<(usize, usize)> = (0..cut.count()).map(|at| cut.chunk(at)).collect();
            let mut next = 0;
            for &(first, count) in &chunks {
                assert_eq!(first, next, "{cut:?}");
                assert!(count <= each && (count > 0 || samples == 0), "{cut:?}");
                next = first + count;
            }
            assert_eq!(next, samples, "{cut:?}");
        }
    }

    #[test]
    fn an_error_names_its_chunk_where_there_are_several() {
        let of = |samples| of_chunk(Cut { samples, each: 4 }, 1, InferError::SlotGone).to_string();
        assert_eq!(of(10).split(':').next(), Some("chunk 1 of 3 (samples 4 to 7)"));
        let only = of_chunk(Cut { samples: 4, each: 4 }, 0, InferError::SlotGone);
        assert!(matches!(only, InferError::SlotGone));
    }
}
