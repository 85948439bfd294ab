//! The response to a request.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::ptr::null_mut;

use crate::fault::{Fault, told};
use crate::ffi;
use crate::memory::Space;
use crate::request::Request;

/// A response that was begun; it is sent once.
pub struct Response<'a> {
    response: *mut ffi::Response,
    request: PhantomData<&'a Request>,
}

impl<'a> Response<'a> {
    pub fn new(request: &'a Request) -> Result<Self, Fault> {
        let mut response = null_mut();
        // SAFETY: the request is alive, the place is ours.
        unsafe { told(ffi::TRITONBACKEND_ResponseNew(&mut response, request.as_ptr()))? };
        Ok(Self { response, request: PhantomData })
    }

    /// Adds an output and lends its memory, which with shared memory is the client's own.
    pub fn output(
        &mut self,
        name: &CStr,
        data_type: u32,
        shape: &[i64],
        bytes: u64,
    ) -> Result<Space<'_>, Fault> {
        let dimensions = u32::try_from(shape.len())
            .map_err(|_| Fault::internal("an output has too many dimensions"))?;
        let (mut output, mut start) = (null_mut(), null_mut());
        let (mut memory, mut memory_id) = (ffi::MEMORY_CPU, 0);
        // SAFETY: the response was begun and not sent, name and shape live through the call, which
        // copies them, and the place is ours.
        unsafe {
            told(ffi::TRITONBACKEND_ResponseOutput(
                self.response,
                &mut output,
                name.as_ptr(),
                data_type,
                shape.as_ptr(),
                dimensions,
            ))?;
        }
        // SAFETY: the output was just made, the places are ours.
        unsafe {
            told(ffi::TRITONBACKEND_OutputBuffer(
                output,
                &mut start,
                bytes,
                &mut memory,
                &mut memory_id,
            ))?;
        }
        if memory == ffi::MEMORY_GPU {
            return Err(Fault::invalid("the model writes outputs in main memory only"));
        }
        // SAFETY: the server says that this much is writable there, in main memory, until the
        // response is sent, for which it must be borrowed no longer.
        Ok(unsafe { Space::new(start.cast(), bytes as usize) })
    }

    /// Ends the request with what was added, or with an error.
    pub fn send(self, error: Option<&Fault>) -> Result<(), Fault> {
        let error = error.map_or(null_mut(), Fault::as_ptr);
        // SAFETY: the response was begun and, taken by value, is not used after this; the error
        // stays ours.
        unsafe { told(ffi::TRITONBACKEND_ResponseSend(self.response, ffi::RESPONSE_FINAL, error)) }
    }
}
