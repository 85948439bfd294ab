//! Typed contents of a tensor as raw ones: of inputs that a server gets, and of outputs that a client gets.

use super::proto::Contents;
use crate::datatype::DataType;
use std::str::FromStr;

/// The bytes that `raw_contents` would have for typed `contents` of a tensor of `datatype`. The protocol
/// gives small integers the field of the 32-bit ones; half precision has no typed contents.
pub(crate) fn raw_of_contents(datatype: &str, contents: &Contents) -> Result<Vec<u8>, String> {
    let datatype =
        DataType::from_str(datatype).map_err(|error| format!("has typed contents: {error}"))?;
    let used = fields(contents);
    let field = match datatype {
        DataType::Bool => "bool_contents",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => "uint_contents",
        DataType::Uint64 => "uint64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Fp64 => "fp64_contents",
        DataType::Bytes => "bytes_contents",
        DataType::Fp16 | DataType::Bf16 => {
            return Err(format!(
                "has typed contents; expected raw ones, the only ones that there are for {datatype}"
            ));
        }
    };
    if let Some(other) = used.into_iter().find(|&name| name != field) {
        return Err(format!("has {other}; expected {field}, which {datatype} has"));
    }
    match datatype {
        DataType::Bool => Ok(contents.bools.iter().map(|&value| u8::from(value)).collect()),
        DataType::Int8 => narrow(&contents.ints, i8::to_le_bytes, datatype),
        DataType::Int16 => narrow(&contents.ints, i16::to_le_bytes, datatype),
        DataType::Int32 => narrow(&contents.ints, i32::to_le_bytes, datatype),
        DataType::Int64 => narrow(&contents.int64s, i64::to_le_bytes, datatype),
        DataType::Uint8 => narrow(&contents.uints, u8::to_le_bytes, datatype),
        DataType::Uint16 => narrow(&contents.uints, u16::to_le_bytes, datatype),
        DataType::Uint32 => narrow(&contents.uints, u32::to_le_bytes, datatype),
        DataType::Uint64 => narrow(&contents.uint64s, u64::to_le_bytes, datatype),
        DataType::Fp32 => {
            Ok(contents.floats.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DataType::Fp64 => {
            Ok(contents.doubles.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        DataType::Bytes => with_lengths(&contents.bytes),
        DataType::Fp16 | DataType::Bf16 => unreachable!("refused above"),
    }
}

/// Names of the fields that have values.
fn fields(contents: &Contents) -> Vec<&'static str> {
    let fields = [
        ("bool_contents", contents.bools.is_empty()),
        ("int_contents", contents.ints.is_empty()),
        ("int64_contents", contents.int64s.is_empty()),
        ("uint_contents", contents.uints.is_empty()),
        ("uint64_contents", contents.uint64s.is_empty()),
        ("fp32_contents", contents.floats.is_empty()),
        ("fp64_contents", contents.doubles.is_empty()),
        ("bytes_contents", contents.bytes.is_empty()),
    ];
    fields.into_iter().filter(|&(_, empty)| !empty).map(|(name, _)| name).collect()
}

fn narrow<W, N, const SIZE: usize>(
    values: &[W],
    bytes: impl Fn(N) -> [u8; SIZE],
    datatype: DataType,
) -> Result<Vec<u8>, String>
where
    W: Copy + std::fmt::Display,
    N: TryFrom<W>,
{
    let mut raw = Vec::with_capacity(values.len() * SIZE);
    for &value in values {
        let value = N::try_from(value)
            .map_err(|_| format!("has the value {value}, which {datatype} cannot hold"))?;
        raw.extend_from_slice(&bytes(value));
    }
    Ok(raw)
}

fn with_lengths(elements: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut raw = Vec::with_capacity(elements.iter().map(|element| 4 + element.len()).sum());
    for element in elements {
        let length = u32::try_from(element.len()).map_err(|_| {
            format!("has an element of {} bytes; at most 4 GiB can be told", element.len())
        })?;
        raw.extend_from_slice(&length.to_le_bytes());
        raw.extend_from_slice(element);
    }
    Ok(raw)
}
