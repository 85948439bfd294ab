//! The keyed store.

mod arrays;
mod handle;
mod key;
mod layout;
mod reservation;
mod retrieved;
mod trouble;
mod upkeep;
mod waiting;

pub(crate) use handle::Store;
pub(crate) use reservation::Reservation;
pub(crate) use retrieved::Retrieved;
