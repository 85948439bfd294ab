//! The bytes of a proxy.
//!
//! ```text
//!   0        4         6      7       8       9      10  12            then, by kind               last 8
//!   │ magic  │ version │ kind │ where │ dtype │ dims │ 0 │ dims × 8  │ bytes | descriptor, place… │ checksum │
//!   place: length of the name (2), name, ticket (40).  All numbers are little-endian.
//! ```
//!
//! Upholds invariant 2: lengths are checked before anything is taken, and a proxy is believed only if all
//! of it makes sense.

use super::proxy::{Body, Place, Proxy};
use crate::ipc::{DESCRIPTOR_LEN, MemoryDescriptor};
use shm_core::{Dtype, MAX_DIMS, MAX_NAME_BYTES, TensorDesc};
use shm_pool::Ticket;

const MAGIC: [u8; 4] = *b"SHTP";
const VERSION: u16 = 1;

/// Bytes that are no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the proxy is damaged or of another version: {field} is {found}, expected {expected}; pass its bytes \
     on unchanged, between processes of the same version"
)]
pub struct ProxyError {
    /// Which field.
    pub field: &'static str,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub found: String,
}

pub(super) fn encode(proxy: &Proxy) -> Vec<u8> {
    let kind = match proxy.body {
        Body::Inline(_) => 0,
        Body::Legacy { .. } => 1,
        Body::Pool(_) => 2,
        Body::HostPool(_) => 3,
    };
    let desc = &proxy.desc;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([kind, u8::from(proxy.on_device), desc.dtype().code()]);
    bytes.extend([desc.shape().len() as u8, 0, 0]);
    desc.shape().iter().for_each(|&dim| bytes.extend((dim as u64).to_le_bytes()));
    match &proxy.body {
        Body::Inline(data) => bytes.extend(data),
        Body::Legacy { descriptor, ledger } => {
            bytes.extend(descriptor.to_bytes());
            put_place(&mut bytes, ledger);
        }
        Body::Pool(place) | Body::HostPool(place) => put_place(&mut bytes, place),
    }
    let sum = sum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Proxy, ProxyError> {
    let Some((body, last)) = bytes.split_last_chunk::<8>() else {
        return Err(wrong("length", "at least 20 bytes", bytes.len()));
    };
    let mut rest = Rest(body);
    let magic = rest.take::<4>("magic")?;
    if magic != MAGIC {
        return Err(wrong("magic", format!("{MAGIC:?}"), format!("{magic:?}")));
    }
    let version = u16::from_le_bytes(rest.take("version")?);
    if version != VERSION {
        return Err(wrong("version", VERSION, version));
    }
    let (expected, found) = (sum(body), u64::from_le_bytes(*last));
    if expected != found {
        return Err(wrong("checksum", expected, found));
    }
    let [kind, on_device, code, dims, ..] = rest.take::<6>("header")?;
    if on_device > 1 {
        return Err(wrong("where", "0 or 1", on_device));
    }
    let dtype =
        Dtype::from_code(code).ok_or_else(|| wrong("dtype", "the code of a dtype", code))?;
    if usize::from(dims) > MAX_DIMS {
        return Err(wrong("dims", format!("at most {MAX_DIMS}"), dims));
    }
    let mut shape = Vec::new();
    for _ in 0..dims {
        let dim = u64::from_le_bytes(rest.take("shape")?);
        shape.push(usize::try_from(dim).map_err(|_| wrong("shape", "a size", dim))?);
    }
    let desc = TensorDesc::new(dtype, &shape)
        .map_err(|error| wrong("shape", "a shape that can be", error))?;
    let body = match kind {
        0 => Body::Inline(core::mem::take(&mut rest.0).to_vec()),
        1 => {
            let descriptor = MemoryDescriptor::from_bytes(&rest.take::<DESCRIPTOR_LEN>("memory")?);
            let descriptor =
                descriptor.map_err(|error| wrong("memory", "a memory descriptor", error))?;
            Body::Legacy { descriptor: Box::new(descriptor), ledger: rest.place()? }
        }
        2 => Body::Pool(rest.place()?),
        3 => Body::HostPool(rest.place()?),
        found => return Err(wrong("kind", "0 to 3", found)),
    };
    if !rest.0.is_empty() {
        return Err(wrong("length", "nothing behind the last field", rest.0.len()));
    }
    let expected = desc.byte_len();
    let found = match &body {
        Body::Inline(data) => data.len(),
        Body::Legacy { descriptor, .. } => descriptor.len(),
        Body::Pool(place) | Body::HostPool(place) => place.ticket.byte_len as usize,
    };
    if found != expected {
        return Err(wrong("bytes", format!("{expected}, as the shape has"), found));
    }
    Ok(Proxy { desc, on_device: on_device == 1, body })
}

fn put_place(bytes: &mut Vec<u8>, place: &Place) {
    bytes.extend((place.name.len() as u16).to_le_bytes());
    bytes.extend(place.name.as_bytes());
    bytes.extend(place.ticket.to_bytes());
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ProxyError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| wrong(field, format!("{N} bytes"), self.0.len()))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn place(&mut self) -> Result<Place, ProxyError> {
        let len = usize::from(u16::from_le_bytes(self.take("name")?));
        if len == 0 || len > MAX_NAME_BYTES || len > self.0.len() {
            return Err(wrong("name", format!("1 to {MAX_NAME_BYTES} bytes"), len));
        }
        let (name, rest) = self.0.split_at(len);
        let name = core::str::from_utf8(name).map_err(|error| wrong("name", "text", error))?;
        self.0 = rest;
        let ticket = self.take::<{ Ticket::LEN }>("ticket")?;
        let ticket =
            Ticket::from_bytes(&ticket).map_err(|error| wrong("ticket", "a ticket", error))?;
        Ok(Place { name: name.to_owned(), ticket })
    }
}

fn wrong(field: &'static str, expected: impl ToString, found: impl ToString) -> ProxyError {
    ProxyError { field, expected: expected.to_string(), found: found.to_string() }
}

/// FNV-1a over everything before the sum: against damage, not against an enemy. Eight bytes at a step, so
/// that a tensor in the proxy does not cost a millisecond per megabyte.
fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum =
        words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| step(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(step(sum, bytes.len() as u64), |sum, &byte| step(sum, byte.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Proxy> {
        let desc = TensorDesc::new(Dtype::F32, &[2, 3]).unwrap();
        let ticket = Ticket { instance: [7; 16], generation: 9, index: 3, parts: 1, byte_len: 24 };
        let place = || Place { name: "images".into(), ticket };
        [Body::Inline(vec![5; 24]), Body::Pool(place()), Body::HostPool(place())]
            .map(|body| Proxy { desc: desc.clone(), on_device: true, body })
            .into()
    }

    #[test]
    fn a_proxy_survives_the_way() {
        for proxy in samples() {
            assert_eq!(Proxy::from_bytes(&proxy.to_bytes()), Ok(proxy));
        }
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        for proxy in samples() {
            let bytes = proxy.to_bytes();
            for len in 0..bytes.len() {
                assert!(Proxy::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
            }
            for index in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[index] ^= 0x10;
                assert!(Proxy::from_bytes(&damaged).is_err(), "byte {index}");
            }
        }
    }

    #[test]
    fn fields_that_lie_are_named() {
        let signed = |mut bytes: Vec<u8>| {
            let end = bytes.len() - 8;
            let sum = sum(&bytes[..end]).to_le_bytes();
            bytes[end..].copy_from_slice(&sum);
            Proxy::from_bytes(&bytes).unwrap_err().field
        };
        let bytes = samples()[1].to_bytes();
        for (at, value, field) in [
            (4, 9, "version"),
            (6, 9, "kind"),
            (7, 2, "where"),
            (8, 99, "dtype"),
            (9, 200, "dims"),
            (12, 0, "shape"),
            (12, 5, "bytes"),
            (28, 200, "name"),
            (30, 0xFF, "name"),
        ] {
            let mut lying = bytes.clone();
            lying[at] = value;
            assert_eq!(signed(lying), field, "byte {at}");
        }
    }
}
