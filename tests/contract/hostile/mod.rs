//! Bytes that no creator and no writer ever stored: every one of them is an error with a type, or
//! a frame; never a panic, a crash or a hang.

mod files;
mod fuzz;
mod header;
mod scribble;
mod sealed;
mod subject;
mod words;
