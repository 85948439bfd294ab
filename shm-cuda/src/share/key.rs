//! What makes two calls the same call.
//!
//! Upholds invariant 2: a key is made of every byte that makes a difference, in an encoding in which no two
//! different calls look alike. What has no such encoding has no key; it is never guessed.

mod bind;
mod digest;
mod template;
mod text;

#[cfg(test)]
mod tests;

pub(super) use bind::Bound;
pub(super) use digest::Content;
pub(super) use template::Template;

use super::endpoint::KeyFunction;
#[cfg(test)]
use super::endpoint::Parameter;
use super::failure::{Failure, FailureKind};
use super::value::Arguments;
#[cfg(test)]
use super::value::Value;

/// Names a call among all calls of a server.
pub type Key = [u8; 32];

/// Arguments by their names, defaults filled in; by Python's rules.
///
/// What a parameter of kind `Rest` takes is a tuple, what one of kind `Others` takes a map.
#[cfg(test)]
fn bind(
    endpoint: &str,
    parameters: &[Parameter],
    arguments: &Arguments,
) -> Result<Vec<(String, Value)>, Failure> {
    Ok(Bound::of(endpoint, parameters, arguments)?.to_arguments().named)
}

/// Hash of an endpoint's name and all arguments. `None` if they hold device tensors or opaque bytes.
#[cfg(test)]
fn canonical(endpoint: &str, bound: &[(String, Value)], rest: &[Value]) -> Option<Key> {
    Bound::loose(rest, bound).digest().map(|digest| of_endpoint(endpoint, &digest))
}

/// Hash of an endpoint's name and the text that `format` makes of its arguments.
#[cfg(test)]
fn formatted(endpoint: &str, format: &str, bound: &[(String, Value)]) -> Result<Key, Failure> {
    let text = Template::parse(endpoint, format)?.fill(endpoint, &Bound::loose(&[], bound))?;
    Ok(of_endpoint(endpoint, &of_text(&text)))
}

/// Carries out [`Work::Key`](super::service::Work::Key): for [`Service::keyed`](super::service::Service::keyed),
/// which adds the name of the endpoint.
pub fn of_work(arguments: &Arguments, function: Option<&KeyFunction>) -> Result<Key, Failure> {
    match function {
        Some(function) => Ok(of_text(&function(arguments)?)),
        None => Bound::loose(&arguments.positional, &arguments.named).digest().ok_or_else(|| {
            Failure::new(
                FailureKind::Value,
                "the arguments hold device tensors or opaque bytes, which have no key; \
                 give the endpoint a key format or a key function",
            )
        }),
    }
}

/// The key of a call of `endpoint` whose arguments or text have that digest.
pub(super) fn of_endpoint(endpoint: &str, digest: &Key) -> Key {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(endpoint.len() as u64).to_le_bytes());
    hasher.update(endpoint.as_bytes());
    hasher.update(digest);
    hasher.finalize().into()
}

/// The digest of a text that somebody made of arguments.
pub(super) fn of_text(text: &str) -> Key {
    blake3::hash(text.as_bytes()).into()
}
