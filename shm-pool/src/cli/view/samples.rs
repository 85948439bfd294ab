//! The elements of a frame as numbers, whatever their dtype.
//!
//! Upholds invariant 2: the bytes are a private copy, and every bit pattern of them is a number.

use bytemuck::Pod;
use half::{bf16, f16};
use shm_core::{Bool, Dtype};

/// Elements that lie in bytes.
pub(crate) struct Samples<'a> {
    bytes: &'a [u8],
    size: usize,
    value: fn(&[u8]) -> f64,
    /// What full opacity is, in the unit of the elements.
    pub(crate) opaque: f64,
}

impl<'a> Samples<'a> {
    /// The elements in `bytes`; `None` for a dtype that this version does not know.
    pub(crate) fn new(dtype: Dtype, bytes: &'a [u8]) -> Option<Samples<'a>> {
        let (value, opaque): (fn(&[u8]) -> f64, f64) = match dtype {
            Dtype::Bool => (|bytes| read::<Bool>(bytes).get().into(), 1.0),
            Dtype::I8 => (|bytes| read::<i8>(bytes).into(), i8::MAX.into()),
            Dtype::I16 => (|bytes| read::<i16>(bytes).into(), i16::MAX.into()),
            Dtype::I32 => (|bytes| read::<i32>(bytes).into(), i32::MAX.into()),
            Dtype::I64 => (|bytes| read::<i64>(bytes) as f64, i64::MAX as f64),
            Dtype::U8 => (|bytes| bytes[0].into(), u8::MAX.into()),
            Dtype::U16 => (|bytes| read::<u16>(bytes).into(), u16::MAX.into()),
            Dtype::U32 => (|bytes| read::<u32>(bytes).into(), u32::MAX.into()),
            Dtype::U64 => (|bytes| read::<u64>(bytes) as f64, u64::MAX as f64),
            Dtype::F16 => (|bytes| read::<f16>(bytes).to_f64(), 1.0),
            Dtype::Bf16 => (|bytes| read::<bf16>(bytes).to_f64(), 1.0),
            Dtype::F32 => (|bytes| read::<f32>(bytes).into(), 1.0),
            Dtype::F64 => (read::<f64>, 1.0),
            Dtype::C64 => (|bytes| magnitude(read::<[f32; 2]>(bytes).map(f64::from)), 1.0),
            Dtype::C128 => (|bytes| magnitude(read::<[f64; 2]>(bytes)), 1.0),
            _ => return None,
        };
        Some(Samples { bytes, size: dtype.size(), value, opaque })
    }

    /// One element; the magnitude of a complex one.
    pub(crate) fn get(&self, index: usize) -> f64 {
        (self.value)(&self.bytes[index * self.size..][..self.size])
    }
}

fn read<T: Pod>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(bytes)
}

/// Scaled, so that no square overflows. Not `f64::hypot`, which asks for a newer C library than anything
/// else here does.
fn magnitude(parts: [f64; 2]) -> f64 {
    let [real, imaginary] = parts.map(f64::abs);
    let (larger, smaller) = if real > imaginary { (real, imaginary) } else { (imaginary, real) };
    if smaller == 0.0 || larger.is_infinite() {
        return larger;
    }
    larger * (1.0 + (smaller / larger).powi(2)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dtype_has_numbers() {
        for &dtype in Dtype::ALL {
            let zeros = vec![0; 3 * dtype.size()];
            assert_eq!(Samples::new(dtype, &zeros).unwrap().get(2), 0.0, "{dtype}");
        }
        let complex = bytemuck::cast_slice(&[3.0_f32, -4.0]).to_vec();
        assert_eq!(Samples::new(Dtype::C64, &complex).unwrap().get(0), 5.0);
        for (parts, expected) in [([0.0, 0.0], 0.0), ([1e308, 1e300], 1e308), ([0.0, -2.0], 2.0)] {
            assert_eq!(magnitude(parts), expected);
        }
        assert_eq!(magnitude([f64::NEG_INFINITY, 1.0]), f64::INFINITY);
        assert!(magnitude([f64::NAN, 1.0]).is_nan() && magnitude([0.0, f64::NAN]).is_nan());
        let halves: Vec<u8> =
            [f16::from_f32(0.5), f16::NAN].iter().flat_map(|half| half.to_ne_bytes()).collect();
        let halves = Samples::new(Dtype::F16, &halves).unwrap();
        assert_eq!(halves.get(0), 0.5);
        assert!(halves.get(1).is_nan());
        assert_eq!(Samples::new(Dtype::Bool, &[0xfe]).unwrap().get(0), 1.0);
        assert_eq!(Samples::new(Dtype::I8, &[0x80]).unwrap().get(0), -128.0);
    }
}
