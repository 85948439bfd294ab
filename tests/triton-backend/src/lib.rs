//! A native Triton backend: the models that the tests and benches of this workspace call on a real
//! server.
//!
//! A backend is a shared library with a handful of C functions. The server loads it by the name
//! that a model's `config.pbtxt` gives, and the library finds the server's own functions in the
//! process that loaded it. Tensors in shared memory arrive here as pointers into the client's
//! pages, so that one copy is all that a request costs the server.
//!
//! The models are chosen by name; [`behaviour`] says what each of them does, and the folder
//! `models` beside the sources holds their configurations.

pub mod behaviour;
pub mod entry;
mod fault;
mod ffi;
mod memory;
mod request;
mod response;
mod sequences;
