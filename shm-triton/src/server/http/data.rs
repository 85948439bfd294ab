//! Tensor elements as JSON numbers, truth values and texts.

use crate::datatype::DataType;
use crate::server::strings;
use half::{bf16, f16};
use serde::de::{DeserializeSeed, SeqAccess, Unexpected, Visitor};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// The bytes of an array of elements, nested or flat.
pub(super) fn parse(datatype: DataType, array: &RawValue) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut json = serde_json::Deserializer::from_str(array.get());
    Elements { datatype, bytes: &mut bytes, outermost: true }.deserialize(&mut json)?;
    json.end()?;
    Ok(bytes)
}

/// Reads an array, or one element of it.
struct Elements<'b> {
    datatype: DataType,
    bytes: &'b mut Vec<u8>,
    outermost: bool,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.outermost {
            deserializer.deserialize_seq(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.outermost, self.datatype) {
            (true, datatype) => write!(f, "an array of {datatype}"),
            (false, DataType::Bool) => f.write_str("true or false"),
            (false, DataType::Bytes) => f.write_str("a text"),
            (false, datatype) => write!(f, "a number in the range of {datatype}"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Elements { datatype, bytes, .. } = self;
        while seq.next_element_seed(Elements { datatype, bytes, outermost: false })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        if self.datatype != DataType::Bool {
            return Err(E::invalid_type(Unexpected::Bool(value), &self));
        }
        self.bytes.push(value.into());
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(mut self, value: i64) -> Result<(), E> {
        self.whole(value.into())
            .ok_or(Unexpected::Signed(value))
            .or_else(|found| self.refuse(found))
    }

    fn visit_u64<E: serde::de::Error>(mut self, value: u64) -> Result<(), E> {
        self.whole(value.into())
            .ok_or(Unexpected::Unsigned(value))
            .or_else(|found| self.refuse(found))
    }

    fn visit_f64<E: serde::de::Error>(mut self, value: f64) -> Result<(), E> {
        self.number(value).ok_or(Unexpected::Float(value)).or_else(|found| self.refuse(found))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        if self.datatype != DataType::Bytes {
            return Err(E::invalid_type(Unexpected::Str(value), &self));
        }
        let len =
            u32::try_from(value.len()).map_err(|_| E::custom("a text is longer than 4 GiB"))?;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        Ok(())
    }
}

impl Elements<'_> {
    /// Writes a whole number; `None` if the datatype cannot hold it.
    fn whole(&mut self, value: i128) -> Option<()> {
        macro_rules! put {
            ($type:ty) => {
                self.bytes.extend_from_slice(&<$type>::try_from(value).ok()?.to_le_bytes())
            };
        }
        match self.datatype {
            DataType::Uint8 => put!(u8),
            DataType::Uint16 => put!(u16),
            DataType::Uint32 => put!(u32),
            DataType::Uint64 => put!(u64),
            DataType::Int8 => put!(i8),
            DataType::Int16 => put!(i16),
            DataType::Int32 => put!(i32),
            DataType::Int64 => put!(i64),
            _ => return self.number(value as f64),
        }
        Some(())
    }

    /// Writes a number; `None` if the datatype is not one of numbers with a fraction.
    fn number(&mut self, value: f64) -> Option<()> {
        match self.datatype {
            DataType::Fp16 => self.bytes.extend_from_slice(&f16::from_f64(value).to_le_bytes()),
            DataType::Bf16 => self.bytes.extend_from_slice(&bf16::from_f64(value).to_le_bytes()),
            DataType::Fp32 => self.bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            DataType::Fp64 => self.bytes.extend_from_slice(&value.to_le_bytes()),
            _ => return None,
        }
        Some(())
    }

    fn refuse<E: serde::de::Error>(&self, found: Unexpected<'_>) -> Result<(), E> {
        Err(E::invalid_value(found, self))
    }
}

/// A tensor's elements, to be written as a flat array.
pub(super) struct Array<'a> {
    /// Named in errors.
    pub output: &'a str,
    pub datatype: DataType,
    pub bytes: &'a [u8],
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        macro_rules! array {
            ($type:ty) => {
                serializer.collect_seq(
                    self.bytes.as_chunks().0.iter().map(|bytes| <$type>::from_le_bytes(*bytes)),
                )
            };
        }
        match self.datatype {
            DataType::Bool => serializer.collect_seq(self.bytes.iter().map(|byte| *byte != 0)),
            DataType::Uint8 => serializer.collect_seq(self.bytes),
            DataType::Uint16 => array!(u16),
            DataType::Uint32 => array!(u32),
            DataType::Uint64 => array!(u64),
            DataType::Int8 => array!(i8),
            DataType::Int16 => array!(i16),
            DataType::Int32 => array!(i32),
            DataType::Int64 => array!(i64),
            DataType::Fp16 => self.finite(serializer, |bytes| f16::from_le_bytes(bytes).to_f32()),
            DataType::Bf16 => self.finite(serializer, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            DataType::Fp32 => self.finite(serializer, f32::from_le_bytes),
            DataType::Fp64 => self.finite(serializer, f64::from_le_bytes),
            DataType::Bytes => self.texts(serializer),
        }
    }
}

impl Array<'_> {
    fn finite<S: Serializer, T: Copy + Into<f64> + Serialize, const N: usize>(
        &self,
        serializer: S,
        element: impl Fn([u8; N]) -> T,
    ) -> Result<S::Ok, S::Error> {
        let elements = self.bytes.as_chunks().0;
        let mut seq = serializer.serialize_seq(Some(elements.len()))?;
        for bytes in elements {
            let value = element(*bytes);
            if !value.into().is_finite() {
                return Err(self.not_json("a value that is not finite"));
            }
            seq.serialize_element(&value)?;
        }
        seq.end()
    }

    fn texts<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for string in strings::split(self.bytes) {
            let string = string
                .map_err(|error| S::Error::custom(format!("output '{}': {error}", self.output)))?;
            let text = std::str::from_utf8(string)
                .map_err(|_| self.not_json("a string that is no UTF-8"))?;
            seq.serialize_element(text)?;
        }
        seq.end()
    }

    fn not_json<E: serde::ser::Error>(&self, what: &str) -> E {
        E::custom(format!(
            "output '{}' has {what}, which JSON cannot hold; ask for it with 'binary_data'",
            self.output
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through text and back.
    fn round_trip(datatype: DataType, json: &str) -> String {
        let array = serde_json::from_str::<&RawValue>(json).unwrap();
        let bytes = parse(datatype, array).unwrap();
        serde_json::to_string(&Array { output: "Y", datatype, bytes: &bytes }).unwrap()
    }

    #[test]
    fn every_datatype_comes_back_as_it_went() {
        let whole = "[0,1,100]";
        for &datatype in DataType::ALL {
            let json = match datatype {
                DataType::Bool => "[true,false]",
                DataType::Bytes => r#"["","a\"b","\u0000"]"#,
                DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64 => "[0.5,-2.0]",
                _ => whole,
            };
            assert_eq!(round_trip(datatype, json), json, "{datatype}");
        }
        assert_eq!(round_trip(DataType::Int32, "[[1,[2]],[],[3]]"), "[1,2,3]");
        assert_eq!(round_trip(DataType::Fp32, "[1]"), "[1.0]");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (datatype, json) in [
            (DataType::Uint8, "[256]"),
            (DataType::Uint8, "[-1]"),
            (DataType::Uint64, "[18446744073709551616]"),
            (DataType::Int64, "[0.5]"),
            (DataType::Bool, "[1]"),
            (DataType::Fp32, "[true]"),
            (DataType::Bytes, "[1]"),
            (DataType::Int8, "7"),
            (DataType::Int8, "[null]"),
        ] {
            let array = serde_json::from_str::<&RawValue>(json).unwrap();
            let error = parse(datatype, array).unwrap_err().to_string();
            assert!(error.contains("expected"), "{datatype} {json}: {error}");
        }
    }
}
