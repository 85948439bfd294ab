//! Tensors as typed lists of elements, which few clients send.

use crate::datatype::DataType;
use crate::server::Refusal;
use crate::wire::proto::Contents;

/// The bytes of the elements. `input` is named in errors.
pub(super) fn bytes(
    input: &str,
    datatype: DataType,
    contents: &Contents,
) -> Result<Vec<u8>, Refusal> {
    let expected = match datatype {
        DataType::Bool => "bool_contents",
        DataType::Int8 | DataType::Int16 | DataType::Int32 => "int_contents",
        DataType::Int64 => "int64_contents",
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => "uint_contents",
        DataType::Uint64 => "uint64_contents",
        DataType::Fp32 => "fp32_contents",
        DataType::Fp64 => "fp64_contents",
        DataType::Bytes => "bytes_contents",
        DataType::Fp16 | DataType::Bf16 => {
            return Err(Refusal::invalid(format!(
                "input '{input}' is {datatype}, for which there are no typed contents; send raw_input_contents"
            )));
        }
    };
    let lists = [
        ("bool_contents", contents.bools.len()),
        ("int_contents", contents.ints.len()),
        ("int64_contents", contents.int64s.len()),
        ("uint_contents", contents.uints.len()),
        ("uint64_contents", contents.uint64s.len()),
        ("fp32_contents", contents.floats.len()),
        ("fp64_contents", contents.doubles.len()),
        ("bytes_contents", contents.bytes.len()),
    ];
    if let Some((found, _)) = lists.iter().find(|(name, len)| *name != expected && *len > 0) {
        return Err(Refusal::invalid(format!(
            "input '{input}' is {datatype} and has {found}; expected {expected}"
        )));
    }
    let out_of_range = |element: &dyn std::fmt::Display| {
        Refusal::invalid(format!(
            "input '{input}' has an element {element}, which is out of the range of {datatype}"
        ))
    };
    let mut bytes = Vec::new();
    macro_rules! whole {
        ($list:ident as $type:ty) => {
            for element in &contents.$list {
                let narrow = <$type>::try_from(*element).map_err(|_| out_of_range(element))?;
                bytes.extend_from_slice(&narrow.to_le_bytes());
            }
        };
    }
    match datatype {
        DataType::Bool => bytes.extend(contents.bools.iter().map(|element| u8::from(*element))),
        DataType::Int8 => whole!(ints as i8),
        DataType::Int16 => whole!(ints as i16),
        DataType::Uint8 => whole!(uints as u8),
        DataType::Uint16 => whole!(uints as u16),
        DataType::Int32 => {
            bytes.extend(contents.ints.iter().flat_map(|element| element.to_le_bytes()))
        }
        DataType::Uint32 => {
            bytes.extend(contents.uints.iter().flat_map(|element| element.to_le_bytes()))
        }
        DataType::Int64 => {
            bytes.extend(contents.int64s.iter().flat_map(|element| element.to_le_bytes()))
        }
        DataType::Uint64 => {
            bytes.extend(contents.uint64s.iter().flat_map(|element| element.to_le_bytes()))
        }
        DataType::Fp32 => {
            bytes.extend(contents.floats.iter().flat_map(|element| element.to_le_bytes()))
        }
        DataType::Fp64 => {
            bytes.extend(contents.doubles.iter().flat_map(|element| element.to_le_bytes()))
        }
        DataType::Bytes => {
            for element in &contents.bytes {
                let len = u32::try_from(element.len())
                    .map_err(|_| out_of_range(&"of more than 4 GiB"))?;
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.extend_from_slice(element);
            }
        }
        DataType::Fp16 | DataType::Bf16 => unreachable!("refused above"),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_become_bytes_and_what_does_not_fit_is_refused() {
        let ints = Contents { ints: vec![1, -2, 300], ..Default::default() };
        assert_eq!(bytes("X", DataType::Int16, &ints).unwrap(), [1, 0, 254, 255, 44, 1]);
        let refusal = bytes("X", DataType::Int8, &ints).unwrap_err();
        assert!(refusal.message.contains("'X'") && refusal.message.contains("300"), "{refusal}");
        let refusal = bytes("X", DataType::Fp32, &ints).unwrap_err();
        assert!(refusal.message.contains("int_contents; expected fp32_contents"), "{refusal}");
        let refusal = bytes("X", DataType::Fp16, &ints).unwrap_err();
        assert!(refusal.message.contains("raw_input_contents"), "{refusal}");
        let strings = Contents { bytes: vec![b"ab".to_vec(), Vec::new()], ..Default::default() };
        assert_eq!(bytes("X", DataType::Bytes, &strings).unwrap(), b"\x02\0\0\0ab\0\0\0\0");
    }
}
