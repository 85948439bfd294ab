//! Parameters in JSON.

use super::error::{Failure, failure};
use crate::wire::{Parameter, Parameters, SharedBytes};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Parameters as they were read: a few, so a list.
#[derive(Debug, Default)]
pub(super) struct Read(Vec<(String, Value)>);

/// The value of a parameter.
#[derive(Debug)]
enum Value {
    Bool(bool),
    Int(i64),
    /// Above the largest `i64`.
    Large(u64),
    Float(f64),
    Text(String),
}

impl Read {
    /// Takes out where a tensor lies in shared memory, if it does. `owner` is named in errors.
    pub fn shared(&mut self, owner: &str) -> Result<Option<SharedBytes>, Failure> {
        let region = match self.take("shared_memory_region") {
            None => None,
            Some(Value::Text(region)) => Some(region),
            Some(other) => return Err(wrong(owner, "shared_memory_region", "a text", &other)),
        };
        let byte_size = self.take_size(owner, "shared_memory_byte_size")?;
        let offset = self.take_size(owner, "shared_memory_offset")?;
        match (region, byte_size) {
            (Some(region), Some(byte_size)) => {
                Ok(Some(SharedBytes { region, offset: offset.unwrap_or(0), byte_size }))
            }
            (Some(_), None) => Err(failure(format!(
                "{owner} has 'shared_memory_region' without 'shared_memory_byte_size'"
            ))),
            (None, None) if offset.is_none() => Ok(None),
            (None, _) => Err(failure(format!(
                "{owner} has 'shared_memory_byte_size' or 'shared_memory_offset' without 'shared_memory_region'"
            ))),
        }
    }

    /// Takes out a number of bytes.
    pub fn take_size(&mut self, owner: &str, name: &str) -> Result<Option<u64>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Int(size)) if size >= 0 => Ok(Some(size as u64)),
            Some(Value::Large(size)) => Ok(Some(size)),
            Some(other) => Err(wrong(owner, name, "a whole number, at least 0", &other)),
        }
    }

    /// Takes out a truth value.
    pub fn take_bool(&mut self, owner: &str, name: &str) -> Result<Option<bool>, Failure> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(owner, name, "true or false", &other)),
        }
    }

    /// What is left.
    pub fn rest(self, owner: &str) -> Result<Parameters, Failure> {
        self.0
            .into_iter()
            .map(|(name, value)| {
                let value = match value {
                    Value::Bool(value) => Parameter::Bool(value),
                    Value::Int(value) => Parameter::Int(value),
                    // The bits are what tells sequences apart.
                    Value::Large(value) if name == "sequence_id" => Parameter::Int(value as i64),
                    Value::Large(_) => {
                        return Err(wrong(owner, &name, "a whole number of 63 bits", &value));
                    }
                    Value::Float(value) => Parameter::Float(value),
                    Value::Text(value) => Parameter::Text(value),
                };
                Ok((name, value))
            })
            .collect()
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(other, _)| other == name)?;
        Some(self.0.swap_remove(at).1)
    }
}

fn wrong(owner: &str, name: &str, expected: &str, found: &Value) -> Failure {
    failure(format!("parameter '{name}' of {owner} must be {expected}, got {found:?}"))
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Read, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Read;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
                let mut read = Vec::with_capacity(4);
                while let Some(entry) = map.next_entry()? {
                    read.push(entry);
                }
                Ok(Read(read))
            }
        }
        deserializer.deserialize_map(Reading)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a truth value, a number or a text")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
                Ok(i64::try_from(value).map_or(Value::Large(value), Value::Int))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Float(value))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}
