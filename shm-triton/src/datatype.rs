//! Element types as the protocol names them.

use shm_core::{Dtype, Element};
use std::fmt;
use std::str::FromStr;

macro_rules! datatypes {
    ($($name:ident $text:literal $size:literal $dtype:expr, $doc:literal;)*) => {
        /// The element type of a tensor, by the protocol's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum DataType {
            $(#[doc = $doc] $name,)*
        }

        impl DataType {
            /// Every data type.
            pub const ALL: &'static [DataType] = &[$(DataType::$name),*];

            /// The protocol's name: `FP32`, `UINT8`, ...
            pub const fn name(self) -> &'static str {
                match self { $(DataType::$name => $text,)* }
            }

            /// Bytes of one element; `None` for [`DataType::Bytes`], whose elements have lengths of
            /// their own.
            pub const fn size(self) -> Option<usize> {
                match self { $(DataType::$name => if $size == 0 { None } else { Some($size) },)* }
            }

            /// The dtype of the same elements in memory; `None` for [`DataType::Bytes`].
            pub const fn dtype(self) -> Option<Dtype> {
                match self { $(DataType::$name => $dtype,)* }
            }
        }
    };
}

datatypes! {
    Bool "BOOL" 1 Some(Dtype::Bool), "One byte, zero is false, anything else is true.";
    Uint8 "UINT8" 1 Some(Dtype::U8), "Unsigned, 8 bits.";
    Uint16 "UINT16" 2 Some(Dtype::U16), "Unsigned, 16 bits.";
    Uint32 "UINT32" 4 Some(Dtype::U32), "Unsigned, 32 bits.";
    Uint64 "UINT64" 8 Some(Dtype::U64), "Unsigned, 64 bits.";
    Int8 "INT8" 1 Some(Dtype::I8), "Signed, 8 bits.";
    Int16 "INT16" 2 Some(Dtype::I16), "Signed, 16 bits.";
    Int32 "INT32" 4 Some(Dtype::I32), "Signed, 32 bits.";
    Int64 "INT64" 8 Some(Dtype::I64), "Signed, 64 bits.";
    Fp16 "FP16" 2 Some(Dtype::F16), "IEEE 754 half precision.";
    Bf16 "BF16" 2 Some(Dtype::Bf16), "Upper half of a 32-bit float.";
    Fp32 "FP32" 4 Some(Dtype::F32), "IEEE 754 single precision.";
    Fp64 "FP64" 8 Some(Dtype::F64), "IEEE 754 double precision.";
    Bytes "BYTES" 0 None, "Byte strings, each with its length in front: 32 bits, little-endian.";
}

impl DataType {
    /// The data type of a Rust element type.
    ///
    /// `None` for complex numbers, which the protocol does not have.
    pub fn of<T: Element>() -> Option<DataType> {
        DataType::ALL.iter().copied().find(|datatype| datatype.dtype() == Some(T::DTYPE))
    }

    /// Bytes of a tensor of `shape`; `None` for [`DataType::Bytes`], for negative dimensions and where
    /// the product overflows.
    pub fn byte_len(self, shape: &[i64]) -> Option<usize> {
        elements(shape)?.checked_mul(self.size()?)
    }
}

/// Number of elements of a tensor of `shape`; `None` if a dimension is negative or the product overflows.
pub fn elements(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A data type that the protocol does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no data type; expected one of BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64, BYTES"
)]
pub struct UnknownDataType {
    /// What was found.
    pub found: String,
}

impl FromStr for DataType {
    type Err = UnknownDataType;

    /// Takes the protocol's names, and those of a model's configuration (`TYPE_FP32`, `TYPE_STRING`).
    fn from_str(text: &str) -> Result<DataType, UnknownDataType> {
        let name = text.strip_prefix("TYPE_").unwrap_or(text);
        let name = if name == "STRING" { "BYTES" } else { name };
        DataType::ALL
            .iter()
            .copied()
            .find(|datatype| datatype.name() == name)
            .ok_or_else(|| UnknownDataType { found: text.to_owned() })
    }
}
