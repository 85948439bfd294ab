//! Element types, and which Rust type stands for each.
//!
//! Upholds invariant 2: a dtype read from a segment is a number that is checked, never transmuted.

use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use num_complex::Complex;

macro_rules! dtypes {
    ($($code:literal $name:ident $text:literal $rust:ty, $doc:literal;)*) => {
        /// The element type of a tensor. The codes are part of the ABI.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum Dtype {
            $(#[doc = $doc] $name = $code,)*
        }

        impl Dtype {
            /// Every dtype, in the order of the codes.
            pub const ALL: &'static [Dtype] = &[$(Dtype::$name),*];

            /// The dtype of a code, if there is one.
            pub const fn from_code(code: u8) -> Option<Dtype> {
                match code {
                    $($code => Some(Dtype::$name),)*
                    _ => None,
                }
            }

            /// NumPy's name of the dtype: `float32`, `uint8`, ...
            pub const fn name(self) -> &'static str {
                match self { $(Dtype::$name => $text,)* }
            }

            /// Bytes of one element.
            pub const fn size(self) -> usize {
                match self { $(Dtype::$name => size_of::<$rust>(),)* }
            }
        }

        $(
            impl private::Sealed for $rust {}
            impl Element for $rust {
                const DTYPE: Dtype = Dtype::$name;
            }
        )*
    };
}

dtypes! {
    1  Bool "bool" Bool, "One byte, zero is false, anything else is true.";
    2  I8   "int8" i8, "Signed, 8 bits.";
    3  I16  "int16" i16, "Signed, 16 bits.";
    4  I32  "int32" i32, "Signed, 32 bits.";
    5  I64  "int64" i64, "Signed, 64 bits.";
    6  U8   "uint8" u8, "Unsigned, 8 bits.";
    7  U16  "uint16" u16, "Unsigned, 16 bits.";
    8  U32  "uint32" u32, "Unsigned, 32 bits.";
    9  U64  "uint64" u64, "Unsigned, 64 bits.";
    10 F16  "float16" f16, "IEEE 754 half precision.";
    11 Bf16 "bfloat16" bf16, "Upper half of a 32-bit float.";
    12 F32  "float32" f32, "IEEE 754 single precision.";
    13 F64  "float64" f64, "IEEE 754 double precision.";
    14 C64  "complex64" Complex<f32>, "Two 32-bit floats, real part first.";
    15 C128 "complex128" Complex<f64>, "Two 64-bit floats, real part first.";
}

impl Dtype {
    /// The code that segments carry.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The dtype of that name (see [`Dtype::name`]).
    pub fn from_name(name: &str) -> Option<Dtype> {
        Dtype::ALL.iter().copied().find(|dtype| dtype.name() == name)
    }
}

impl core::fmt::Display for Dtype {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type that can be an element of a tensor: plain bytes, every bit pattern valid.
///
/// Sealed: the dtypes are part of the ABI. For `bool` use [`Bool`], because a byte that another
/// process wrote need not be 0 or 1.
pub trait Element: Pod + private::Sealed {
    /// The dtype that stands for this type in a segment.
    const DTYPE: Dtype;
}

/// A truth value as one byte that may hold anything: only zero is false.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bool(u8);

impl Bool {
    /// The truth value.
    pub const fn get(self) -> bool {
        self.0 != 0
    }
}

impl From<bool> for Bool {
    fn from(value: bool) -> Bool {
        Bool(value.into())
    }
}

impl From<Bool> for bool {
    fn from(value: Bool) -> bool {
        value.get()
    }
}

impl PartialEq for Bool {
    fn eq(&self, other: &Bool) -> bool {
        self.get() == other.get()
    }
}

mod private {
    pub trait Sealed {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        for &dtype in Dtype::ALL {
            assert_eq!(Dtype::from_code(dtype.code()), Some(dtype));
            assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(Dtype::ALL.len(), 15);
        assert_eq!(Dtype::from_code(0), None);
        assert_eq!(Dtype::from_code(16), None);
    }

    #[test]
    fn any_nonzero_byte_is_true() {
        let from_a_peer: Bool = bytemuck::cast(0xfe_u8);
        assert!(from_a_peer.get());
        assert_eq!(from_a_peer, Bool::from(true));
    }
}
