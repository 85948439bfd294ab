//! A request, its inputs and its parameters.

use core::ffi::{CStr, c_char, c_void};
use core::marker::PhantomData;
use core::ptr::{null, null_mut};

use crate::fault::{Fault, told};
use crate::ffi;
use crate::memory::Piece;

/// A request that the server has handed over. It is given back with [`Request::release`].
pub struct Request(*mut ffi::Request);

/// The value of a request parameter.
#[derive(Debug)]
pub enum Parameter {
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

/// Whose sequence a request is part of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Correlation {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl Request {
    /// # Safety
    ///
    /// The request was handed to this backend by the server and was not given back.
    pub unsafe fn new(request: *mut ffi::Request) -> Self {
        Self(request)
    }

    pub fn as_ptr(&self) -> *mut ffi::Request {
        self.0
    }

    /// The input of that name.
    pub fn input(&self, name: &CStr) -> Result<Input<'_>, Fault> {
        let mut input = null_mut();
        // SAFETY: the request is alive, the name ends with a NUL, the pointer is ours.
        unsafe { told(ffi::TRITONBACKEND_RequestInput(self.0, name.as_ptr(), &mut input))? };
        Input::of(input)
    }

    /// Whether the client asked for that output. One that names none asks for all, which is how
    /// the server lists it.
    pub fn wants(&self, output: &CStr) -> Result<bool, Fault> {
        let mut count = 0;
        // SAFETY: the request is alive, the counter is ours.
        unsafe { told(ffi::TRITONBACKEND_RequestOutputCount(self.0, &mut count))? };
        for index in 0..count {
            let mut name = null();
            // SAFETY: the request is alive, the index below the count, the pointer is ours.
            unsafe { told(ffi::TRITONBACKEND_RequestOutputName(self.0, index, &mut name))? };
            // SAFETY: the server's name ends with a NUL and lives as long as the request.
            if unsafe { CStr::from_ptr(name) } == output {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The request parameter of that name.
    pub fn parameter(&self, wanted: &CStr) -> Result<Option<Parameter>, Fault> {
        let mut count = 0;
        // SAFETY: the request is alive, the counter is ours.
        unsafe { told(ffi::TRITONBACKEND_RequestParameterCount(self.0, &mut count))? };
        for index in 0..count {
            let (mut key, mut kind, mut value) = (null::<c_char>(), 0, null::<c_void>());
            // SAFETY: the request is alive, the index below the count, the places are ours.
            unsafe {
                told(ffi::TRITONBACKEND_RequestParameter(
                    self.0, index, &mut key, &mut kind, &mut value,
                ))?;
            }
            // SAFETY: the server's key ends with a NUL and lives as long as the request.
            if unsafe { CStr::from_ptr(key) } == wanted {
                // SAFETY: kind and value came together from the call above.
                return unsafe { parameter(wanted, kind, value) }.map(Some);
            }
        }
        Ok(None)
    }

    /// The flags of a sequence.
    pub fn flags(&self) -> Result<u32, Fault> {
        let mut flags = 0;
        // SAFETY: the request is alive, the place is ours.
        unsafe { told(ffi::TRITONBACKEND_RequestFlags(self.0, &mut flags))? };
        Ok(flags)
    }

    /// The sequence that it is part of.
    pub fn correlation(&self) -> Result<Correlation, Fault> {
        let mut number = 0;
        // SAFETY: the request is alive, the place is ours.
        let asked = unsafe { told(ffi::TRITONBACKEND_RequestCorrelationId(self.0, &mut number)) };
        // The call fails where the client has named its sequence by a text.
        if asked.is_ok() {
            return Ok(Correlation::Number(number));
        }
        let mut id = null();
        // SAFETY: as above.
        unsafe { told(ffi::TRITONBACKEND_RequestCorrelationIdString(self.0, &mut id))? };
        // SAFETY: the server's text ends with a NUL and lives as long as the request.
        Ok(Correlation::Text(unsafe { CStr::from_ptr(id) }.to_string_lossy().into_owned()))
    }

    /// Gives the request back to the server.
    pub fn release(self) -> Result<(), Fault> {
        // SAFETY: the request is alive and, taken by value, not used after this.
        unsafe { told(ffi::TRITONBACKEND_RequestRelease(self.0, ffi::RELEASE_ALL)) }
    }
}

/// # Safety
///
/// `value` is a request parameter of the type that `kind` says.
unsafe fn parameter(name: &CStr, kind: u32, value: *const c_void) -> Result<Parameter, Fault> {
    match kind {
        // SAFETY: a parameter of this type is an integer of 64 bits, alive as long as the request.
        ffi::PARAMETER_INT => Ok(Parameter::Int(unsafe { value.cast::<i64>().read() })),
        ffi::PARAMETER_STRING => {
            // SAFETY: a parameter of this type is a C text, alive as long as the request.
            let text = unsafe { CStr::from_ptr(value.cast()) };
            Ok(Parameter::Text(text.to_string_lossy().into_owned()))
        }
        _ => Err(Fault::invalid(&format!(
            "request parameter '{}' must be an integer or a string",
            name.to_string_lossy()
        ))),
    }
}

/// An input of a request.
pub struct Input<'a> {
    input: *mut ffi::Input,
    data_type: u32,
    shape: *const i64,
    dimensions: u32,
    bytes: u64,
    buffers: u32,
    request: PhantomData<&'a Request>,
}

impl<'a> Input<'a> {
    fn of(input: *mut ffi::Input) -> Result<Self, Fault> {
        let mut this = Self {
            input,
            data_type: 0,
            shape: null(),
            dimensions: 0,
            bytes: 0,
            buffers: 0,
            request: PhantomData,
        };
        // SAFETY: the input came from a request that is alive as long as the lifetime, the places
        // are ours, and the name may be left out.
        unsafe {
            told(ffi::TRITONBACKEND_InputProperties(
                input,
                null_mut(),
                &mut this.data_type,
                &mut this.shape,
                &mut this.dimensions,
                &mut this.bytes,
                &mut this.buffers,
            ))?;
        }
        Ok(this)
    }

    pub fn data_type(&self) -> u32 {
        self.data_type
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn shape(&self) -> &'a [i64] {
        if self.dimensions == 0 {
            return &[];
        }
        // SAFETY: the server's shape has that many dimensions, which nobody changes while the
        // request lives.
        unsafe { core::slice::from_raw_parts(self.shape, self.dimensions as usize) }
    }

    /// Its memory, part by part: what came by the network need not be in one.
    pub fn pieces(&self) -> impl Iterator<Item = Result<Piece<'a>, Fault>> {
        let input = self.input;
        (0..self.buffers).map(move |index| {
            let (mut start, mut bytes) = (null::<c_void>(), 0);
            let (mut memory, mut memory_id) = (ffi::MEMORY_CPU, 0);
            // SAFETY: the input is alive, the index below the count, the places are ours.
            unsafe {
                told(ffi::TRITONBACKEND_InputBuffer(
                    input,
                    index,
                    &mut start,
                    &mut bytes,
                    &mut memory,
                    &mut memory_id,
                ))?;
            }
            if memory == ffi::MEMORY_GPU {
                return Err(Fault::invalid("the model reads inputs in main memory only"));
            }
            // SAFETY: the server says that this much is readable there, in main memory, as long
            // as the request lives.
            Ok(unsafe { Piece::new(start.cast(), bytes as usize) })
        })
    }

    /// Bytes from `skip` on, as a copy; fewer where the input ends before.
    pub fn read(&self, mut skip: usize, count: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        for piece in self.pieces() {
            let piece = piece?;
            filled += piece.read(skip, &mut bytes[filled..]);
            skip = skip.saturating_sub(piece.bytes());
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}
