//! Parameters of requests, which clients may write as numbers or as texts.

use shm_triton::server::{Call, ModelError};
use shm_triton::wire::{Code, Parameter};

/// A parameter as a text, if the request has it.
pub fn text(call: &Call<'_>, name: &str) -> Option<String> {
    Some(match call.parameters().get(name)? {
        Parameter::Text(text) => text.clone(),
        Parameter::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// A parameter as a whole number from 0 on, if the request has it.
pub fn number(call: &Call<'_>, name: &str) -> Result<Option<u64>, ModelError> {
    let Some(text) = text(call, name) else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ModelError::new(
            Code::InvalidArgument,
            format!("request parameter '{name}' must be a whole number from 0 on, not '{text}'"),
        )),
    }
}
