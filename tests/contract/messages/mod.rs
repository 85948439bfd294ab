//! Every variant of every error, provoked for real, with its exact text.

mod creating;
mod describing;
mod locking;
mod opening;
mod publishing;
mod reading;
mod unlinking;

/// The texts of an error and of all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
