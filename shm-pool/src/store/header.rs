//! What an entry's memory begins with: its key, and where its tensors lie.
//!
//! ```text
//!   0       8          12         16      24           32
//!   │ magic │ key len  │ tensors  │ total │ header len │ per tensor … │ key │ padding to 256 │ tensors
//!   per tensor:  dtype u8 │ dimensions u8 │ 6 zero bytes │ offset u64 │ each dimension u64
//! ```
//!
//! All numbers are little-endian. A reader copies the header out once, works out for itself where
//! everything of that key and layout has to lie, and believes the header only if it says the same, and
//! if it fits the chunk that the table of granules gives the entry. Upholds invariant 2.

use super::key::MAX_KEY;
use crate::config::ALIGNMENT;
use shm_core::{Dtype, MAX_DIMS, TensorDesc};

/// The most tensors of an entry.
pub const MAX_TENSORS: usize = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"shmentry");
pub(crate) const PRELUDE: usize = 32;

/// A tensor of an entry: what it is, and where it begins, counted from the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) desc: TensorDesc,
    pub(crate) offset: usize,
}

/// Where everything of an entry lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) tensors: Vec<Placed>,
    /// Bytes of the header, padding included.
    pub(crate) header: usize,
    /// Bytes in all.
    pub(crate) total: usize,
}

/// A field that cannot be, as `(field, expected, found)`.
pub(crate) type Wrong = (&'static str, String, u64);

impl Plan {
    /// Lays tensors out behind a key of `key` bytes. `None` if they do not fit the address space.
    pub(crate) fn new(key: usize, layout: &[TensorDesc]) -> Option<Plan> {
        let dims = layout.iter().map(|desc| desc.shape().len()).sum();
        let header = header_for(key, layout.len(), dims);
        let mut end = header;
        let mut tensors = Vec::with_capacity(layout.len());
        for desc in layout {
            let offset = place(&mut end, desc)?;
            tensors.push(Placed { desc: desc.clone(), offset });
        }
        Some(Plan { tensors, header, total: end })
    }

    /// The header, without its padding.
    pub(crate) fn encode(&self, key: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.header);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(&(key.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.tensors.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.total as u64).to_le_bytes());
        bytes.extend_from_slice(&(self.header as u64).to_le_bytes());
        for Placed { desc, offset } in &self.tensors {
            let shape = desc.shape();
            bytes.extend_from_slice(&[desc.dtype().code(), shape.len() as u8, 0, 0, 0, 0, 0, 0]);
            bytes.extend_from_slice(&(*offset as u64).to_le_bytes());
            for dim in shape {
                bytes.extend_from_slice(&(*dim as u64).to_le_bytes());
            }
        }
        bytes.extend_from_slice(key);
        bytes
    }

    /// How long the header is, from its first [`PRELUDE`] bytes, in a chunk of `capacity` bytes.
    pub(crate) fn header_len(prelude: &[u8; PRELUDE], capacity: usize) -> Result<usize, Wrong> {
        let mut fields = Fields(prelude);
        match fields.u64("magic")? {
            MAGIC => {}
            found => return Err(("magic", format!("{MAGIC:#x}"), found)),
        }
        fields.u64("lengths")?;
        fields.u64("total")?;
        let longest = header_for(MAX_KEY, MAX_TENSORS, MAX_TENSORS * MAX_DIMS);
        let most = longest.min(capacity);
        fields.within("header_len", PRELUDE as u64, most as u64)
    }

    /// The plan and the key that a whole header describes, in a chunk of `capacity` bytes.
    pub(crate) fn decode(header: &[u8], capacity: usize) -> Result<(Plan, &[u8]), Wrong> {
        let mut fields = Fields(header);
        match fields.u64("magic")? {
            MAGIC => {}
            found => return Err(("magic", format!("{MAGIC:#x}"), found)),
        }
        let lengths = fields.u64("lengths")?;
        let (key, tensors) = (lengths as u32 as usize, (lengths >> 32) as usize);
        if !(1..=MAX_KEY).contains(&key) {
            return Err(("key_len", format!("1..={MAX_KEY}"), key as u64));
        }
        if tensors > MAX_TENSORS {
            return Err(("tensors", format!("at most {MAX_TENSORS}"), tensors as u64));
        }
        let total = fields.within("total", PRELUDE as u64, capacity as u64)?;
        // Whether it is what the rest of the header says comes out at the end.
        let header_len = fields.within("header_len", PRELUDE as u64, capacity as u64)?;
        let (mut end, mut dims) = (header_len, 0);
        // No more than the header has room for: the number is the writer's.
        let mut placed = Vec::with_capacity(tensors.min(header.len() / 16));
        for _ in 0..tensors {
            let (desc, found) = fields.tensor()?;
            dims += desc.shape().len();
            let offset = place(&mut end, &desc)
                .ok_or_else(|| ("shape", "an addressable size".to_owned(), found as u64))?;
            same("offset", offset, found)?;
            placed.push(Placed { desc, offset });
        }
        let key = fields.bytes("key", key)?;
        same("header_len", header_for(key.len(), tensors, dims), header_len)?;
        same("total", end, total)?;
        Ok((Plan { tensors: placed, header: header_len, total }, key))
    }
}

/// Bytes of the header of so many tensors, which have `dims` dimensions together.
fn header_for(key: usize, tensors: usize, dims: usize) -> usize {
    (PRELUDE + tensors * 16 + dims * 8 + key).next_multiple_of(ALIGNMENT)
}

/// Where the next tensor begins, if what has been placed ends at `end`, which is moved on.
fn place(end: &mut usize, desc: &TensorDesc) -> Option<usize> {
    let offset = end.checked_next_multiple_of(ALIGNMENT)?;
    *end = offset.checked_add(desc.byte_len()).filter(|&end| end <= isize::MAX as usize)?;
    Some(offset)
}

fn same(field: &'static str, expected: usize, found: usize) -> Result<(), Wrong> {
    match expected == found {
        true => Ok(()),
        false => Err((field, expected.to_string(), found as u64)),
    }
}

/// What has not been read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], Wrong> {
        let short = || (field, format!("{len} more bytes"), self.0.len() as u64);
        let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, Wrong> {
        Ok(u64::from_le_bytes(self.bytes(field, 8)?.try_into().unwrap_or_default()))
    }

    /// What a tensor is, and where it is said to begin.
    fn tensor(&mut self) -> Result<(TensorDesc, usize), Wrong> {
        let word = self.u64("dtype")?;
        let (code, ndim) = (word as u8, (word >> 8) as usize);
        let dtype = Dtype::from_code(code).ok_or(("dtype", "a dtype".into(), code.into()))?;
        if ndim > MAX_DIMS {
            return Err(("ndim", format!("at most {MAX_DIMS}"), ndim as u64));
        }
        let offset = self.u64("offset")? as usize;
        let mut shape = [0; MAX_DIMS];
        for dim in &mut shape[..ndim] {
            *dim = self.within("dimension", 1, isize::MAX as u64)?;
        }
        let desc = TensorDesc::new(dtype, &shape[..ndim])
            .map_err(|error| ("shape", error.to_string(), ndim as u64))?;
        Ok((desc, offset))
    }

    fn within(&mut self, field: &'static str, least: u64, most: u64) -> Result<usize, Wrong> {
        match self.u64(field)? {
            found if (least..=most).contains(&found) => Ok(found as usize),
            found => Err((field, format!("{least}..={most}"), found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layouts() -> impl Strategy<Value = Vec<TensorDesc>> {
        let shape = prop::collection::vec(1_usize..9, 0..=4);
        let desc = (0..Dtype::ALL.len(), shape)
            .prop_map(|(dtype, shape)| TensorDesc::new(Dtype::ALL[dtype], &shape).unwrap());
        prop::collection::vec(desc, 0..5)
    }

    proptest! {
        #[test]
        fn headers_round_trip(layout in layouts(), key in prop::collection::vec(any::<u8>(), 1..80)) {
            let plan = Plan::new(key.len(), &layout).unwrap();
            let bytes = plan.encode(&key);
            prop_assert!(bytes.len() <= plan.header);
            let prelude = bytes[..PRELUDE].try_into().unwrap();
            prop_assert_eq!(Plan::header_len(prelude, plan.total), Ok(plan.header));
            let (decoded, found) = Plan::decode(&bytes, plan.total).unwrap();
            prop_assert_eq!((&decoded, found), (&plan, &key[..]));
            for placed in &plan.tensors {
                prop_assert!(placed.offset.is_multiple_of(ALIGNMENT));
                prop_assert!(placed.offset + placed.desc.byte_len() <= plan.total);
            }
            prop_assert!(Plan::decode(&bytes, plan.total - 1).is_err());
        }

        #[test]
        fn damage_is_found_or_means_the_same(
            layout in layouts(),
            byte in 0_usize..120,
            value in any::<u8>(),
        ) {
            let plan = Plan::new(3, &layout).unwrap();
            let mut bytes = plan.encode(b"key");
            bytes.resize(plan.header, 0);
            let before = core::mem::replace(&mut bytes[byte % plan.header.min(120)], value);
            if let Ok((decoded, key)) = Plan::decode(&bytes, plan.total) {
                // Another key, dtypes of one size, dimensions swapped: everything in its place.
                prop_assert_eq!((decoded.total, decoded.header), (plan.total, plan.header));
                prop_assert!(!key.is_empty());
                for placed in &decoded.tensors {
                    prop_assert!(placed.offset + placed.desc.byte_len() <= plan.total);
                }
            } else {
                prop_assert_ne!(before, value);
            }
        }
    }

    #[test]
    fn absurd_numbers_allocate_nothing() {
        let mut bytes = Plan::new(1, &[]).unwrap().encode(b"k");
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Plan::decode(&bytes, 4096).unwrap_err().0, "tensors");
        bytes[12..16].copy_from_slice(&(MAX_TENSORS as u32).to_le_bytes());
        assert_eq!(Plan::decode(&bytes, 4096).unwrap_err().0, "dtype");
        let mut prelude: [u8; PRELUDE] = bytes[..PRELUDE].try_into().unwrap();
        prelude[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Plan::header_len(&prelude, 1 << 40).unwrap_err().0, "header_len");
    }
}
