//! From creation to the last byte freed: replacing, racing, sweeping, vanishing, outliving.

mod outliving;
mod portable;
mod races;
mod replacing;
mod sweeping;
mod vanishing;
