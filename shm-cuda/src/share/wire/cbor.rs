//! The profile of CBOR that bodies are written in: definite lengths, doubles, fixed order.
//!
//! Upholds invariant 2: what an array or text announces is held against the bytes that are left before
//! anything is allocated.

use super::decode::DecodeError;
use minicbor::data::{Int, Tag, Type};
use minicbor::{Decoder, Encoder};

/// Reads one body.
pub(super) struct CborReader<'b> {
    decoder: Decoder<'b>,
}

impl<'b> CborReader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> CborReader<'b> {
        CborReader { decoder: Decoder::new(bytes) }
    }

    /// What kind of item comes next.
    pub(super) fn next(&mut self, field: &'static str) -> Result<Type, DecodeError> {
        self.take(field, "more", |decoder| decoder.datatype().ok())
    }

    /// An array of any definite length that the remaining bytes can hold.
    pub(super) fn array(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count = self
            .take(field, "an array of definite length", |decoder| decoder.array().ok().flatten())?;
        self.bounded(field, count, 1)
    }

    /// An array of exactly `len` items.
    pub(super) fn array_of(&mut self, field: &'static str, len: usize) -> Result<(), DecodeError> {
        match self.array(field)? {
            found if found == len => Ok(()),
            found => Err(DecodeError::new(field, format!("{len} items"), found)),
        }
    }

    /// A map of any definite length that the remaining bytes can hold.
    pub(super) fn map(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let count =
            self.take(field, "a map of definite length", |decoder| decoder.map().ok().flatten())?;
        self.bounded(field, count, 2)
    }

    pub(super) fn tag(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.take(field, "a tag", |decoder| decoder.tag().ok().map(|tag| tag.as_u64()))
    }

    pub(super) fn null(&mut self, field: &'static str) -> Result<(), DecodeError> {
        self.take(field, "null", |decoder| decoder.null().ok())
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        self.take(field, "true or false", |decoder| decoder.bool().ok())
    }

    pub(super) fn int(&mut self, field: &'static str) -> Result<i128, DecodeError> {
        self.take(field, "an integer", |decoder| decoder.int().ok().map(i128::from))
    }

    /// An integer that `T` can hold.
    pub(super) fn integer<T: TryFrom<i128>>(
        &mut self,
        field: &'static str,
    ) -> Result<T, DecodeError> {
        let found = self.int(field)?;
        T::try_from(found).map_err(|_| {
            DecodeError::new(field, format!("an integer of {}", std::any::type_name::<T>()), found)
        })
    }

    /// A number in double precision; shorter ones are not of the profile.
    pub(super) fn float(&mut self, field: &'static str) -> Result<f64, DecodeError> {
        self.take(field, "a float of 8 bytes", |decoder| {
            (decoder.datatype().ok()? == Type::F64).then(|| decoder.f64().ok())?
        })
    }

    pub(super) fn text(&mut self, field: &'static str) -> Result<&'b str, DecodeError> {
        self.take(field, "text of definite length in UTF-8", |decoder| decoder.str().ok())
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'b [u8], DecodeError> {
        self.take(field, "bytes of definite length", |decoder| decoder.bytes().ok())
    }

    pub(super) fn bytes_of<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let bytes = self.bytes(field)?;
        bytes.try_into().map_err(|_| {
            DecodeError::new(field, format!("{N} bytes"), format!("{} bytes", bytes.len()))
        })
    }

    /// What `read` gives, or nothing if null comes next.
    pub(super) fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self, &'static str) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.next(field)? == Type::Null {
            self.null(field)?;
            return Ok(None);
        }
        read(self, field).map(Some)
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'b [u8] {
        self.decoder.input().get(self.decoder.position()..).unwrap_or_default()
    }

    /// That nothing is left.
    pub(super) fn finish(&self, field: &'static str) -> Result<(), DecodeError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(DecodeError::new(field, "the end", format!("{left} more bytes"))),
        }
    }

    /// An error about the item that comes next.
    pub(super) fn unexpected(&self, field: &'static str, expected: &str) -> DecodeError {
        let found = match self.decoder.datatype() {
            Ok(found) => found.to_string(),
            Err(_) => "the end of the body".to_owned(),
        };
        DecodeError::new(field, expected, found)
    }

    fn take<T>(
        &mut self,
        field: &'static str,
        expected: &str,
        read: impl FnOnce(&mut Decoder<'b>) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let at = self.decoder.position();
        read(&mut self.decoder).ok_or_else(|| {
            self.decoder.set_position(at);
            self.unexpected(field, expected)
        })
    }

    fn bounded(&self, field: &'static str, count: u64, least: usize) -> Result<usize, DecodeError> {
        let room = self.rest().len() / least;
        usize::try_from(count).ok().filter(|&count| count <= room).ok_or_else(|| {
            DecodeError::new(field, format!("at most {room} items in what is left"), count)
        })
    }
}

/// Writes one body.
pub(super) struct CborWriter {
    encoder: Encoder<Vec<u8>>,
}

macro_rules! writes {
    ($($(#[$doc:meta])* $name:ident($($value:ident: $kind:ty)?);)*) => {
        $($(#[$doc])* pub(super) fn $name(&mut self $(, $value: $kind)?) -> &mut CborWriter {
            self.encoder.$name($($value)?).expect("a Vec takes all bytes");
            self
        })*
    };
}

impl CborWriter {
    pub(super) fn new() -> CborWriter {
        CborWriter { encoder: Encoder::new(Vec::new()) }
    }

    writes! {
        array(len: u64);
        map(len: u64);
        null();
        bool(value: bool);
        u64(value: u64);
        i64(value: i64);
        int(value: Int);
        f64(value: f64);
        str(value: &str);
        bytes(value: &[u8]);
        tag(value: Tag);
    }

    /// What `write` writes, or null.
    pub(super) fn optional<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut CborWriter, T),
    ) -> &mut CborWriter {
        match value {
            Some(value) => write(self, value),
            None => {
                self.null();
            }
        }
        self
    }

    /// Bytes that are CBOR already.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut CborWriter {
        self.encoder.writer_mut().extend_from_slice(bytes);
        self
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.encoder.into_writer()
    }
}
