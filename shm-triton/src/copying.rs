//! Copies of tensors, by the path that is fastest for their size.

/// Copies `from` to `to`.
///
/// # Panics
/// If they differ in length.
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len());
    // SAFETY: both have `to.len()` bytes; one is borrowed exclusively, so they do not overlap.
    unsafe { shm_core::copy::copy_in(to.as_mut_ptr(), from.as_ptr(), to.len()) };
}
