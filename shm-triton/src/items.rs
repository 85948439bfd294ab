//! BYTES tensors: items, each with its length in front (32 bits, little-endian).
//!
//! Upholds invariant 2: lengths that somebody else wrote are followed only as far as there are bytes.

/// Bytes that `items` take.
pub(crate) fn byte_len<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> usize {
    items.into_iter().map(|item| 4 + item.len()).sum()
}

/// Writes `items` into `out`, which has exactly as many bytes as they take.
pub(crate) fn write<'a>(out: &mut [u8], items: impl IntoIterator<Item = &'a [u8]>) {
    let mut rest = out;
    for item in items {
        let (len, after) = rest.split_at_mut(4);
        len.copy_from_slice(&(item.len() as u32).to_le_bytes());
        let (bytes, after) = after.split_at_mut(item.len());
        bytes.copy_from_slice(item);
        rest = after;
    }
}

/// The first `count` items in `bytes`; the number of the first one that does not lie in them.
pub(crate) fn read(bytes: &[u8], count: usize) -> Result<Vec<&[u8]>, usize> {
    let mut items = Vec::with_capacity(count.min(bytes.len() / 4));
    let mut rest = bytes;
    for index in 0..count {
        let (item, after) = split(rest).ok_or(index)?;
        items.push(item);
        rest = after;
    }
    Ok(items)
}

/// Bytes that the first `count` items in `bytes` take.
pub(crate) fn extent(bytes: &[u8], count: usize) -> Result<usize, usize> {
    let mut rest = bytes;
    for index in 0..count {
        rest = split(rest).ok_or(index)?.1;
    }
    Ok(bytes.len() - rest.len())
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let slices = || items.iter().map(Vec::as_slice);
            let mut out = vec![0; byte_len(slices())];
            write(&mut out, slices());
            prop_assert_eq!(read(&out, items.len()).unwrap(), slices().collect::<Vec<_>>());
            prop_assert_eq!(extent(&out, items.len()), Ok(out.len()));
            prop_assert_eq!(read(&out, items.len() + 1), Err(items.len()));
        }

        #[test]
        fn hostile_lengths_stay_inside(bytes in proptest::collection::vec(any::<u8>(), 0..64), count in 0_usize..1000) {
            if let Ok(items) = read(&bytes, count) {
                prop_assert!(byte_len(items.iter().copied()) <= bytes.len());
            }
        }
    }
}
