//! What the driver knows of an address.

use crate::address::{Kind, Region};
use crate::driver::driver;
use crate::status::{Result, Status};

/// The value of an attribute, in the width that C callers expect.
pub enum Answer {
    Word(u64),
    Int(u32),
    Bool(bool),
}

/// `cuPointerGetAttribute`.
pub fn attribute(attribute: i32, address: u64) -> Result<Answer> {
    let state = driver()?.state();
    let region = state.map.at(address).ok_or(Status::INVALID_VALUE)?;
    answer(region, attribute, address)
}

/// What `cuPointerGetAttributes` gives for an address that the driver does not know.
pub fn nothing(attribute: i32) -> Option<Answer> {
    match attribute {
        1 | 3 | 4 | 7 | 11 | 12 | 14 | 17..=19 => Some(Answer::Word(0)),
        2 | 16 => Some(Answer::Int(0)),
        9 => Some(Answer::Int(-2i32 as u32)),
        6 | 8 | 10 | 13 | 15 => Some(Answer::Bool(false)),
        _ => None,
    }
}

/// `cuPointerSetAttribute`: the only one that can be set changes nothing here, since copies that
/// callers may rely on to be synchronous are.
pub fn set(attribute: i32, address: u64) -> Result {
    let state = driver()?.state();
    let region = state.map.at(address).ok_or(Status::INVALID_VALUE)?;
    if attribute == 6 && !region.is_host() { Ok(()) } else { Err(Status::INVALID_VALUE) }
}

fn answer(region: &Region, attribute: i32, address: u64) -> Result<Answer> {
    Ok(match attribute {
        1 => Answer::Word(region.context as u64),
        2 => Answer::Int(if region.is_host() { 1 } else { 2 }),
        3 => Answer::Word(address),
        4 if region.is_seen_by_host() => Answer::Word(address),
        6 => Answer::Bool(false),
        7 => Answer::Word(region.id),
        8 => Answer::Bool(region.kind == Kind::Managed),
        9 => Answer::Int(region.device as u32),
        10 => Answer::Bool(region.kind == Kind::Device),
        11 => Answer::Word(region.base),
        12 => Answer::Word(region.bytes),
        13 => Answer::Bool(true),
        14 => Answer::Word(if region.kind == Kind::Mapped { region.flags.into() } else { 0 }),
        15 => Answer::Bool(false),
        16 => Answer::Int(3),
        17 => Answer::Word(u64::from(region.kind == Kind::Pool)),
        18 => Answer::Word(region.bytes),
        19 => Answer::Word(region.base),
        _ => return Err(Status::INVALID_VALUE),
    })
}
