//! All models at once.

use shm_triton::server::Model;

use crate::{Copies, Dynamic, Fail, MultiIo, Slow, Sum};

/// Every model that needs no file: all but the detector.
pub fn all() -> Vec<Box<dyn Model>> {
    let mut models: Vec<Box<dyn Model>> =
        Copies::all().into_iter().map(|copies| -> Box<dyn Model> { Box::new(copies) }).collect();
    models.push(Box::new(MultiIo::new()));
    models.push(Box::new(Slow::new()));
    models.push(Box::new(Fail::new()));
    models.push(Box::new(Dynamic::new()));
    models.push(Box::new(Sum::new()));
    models
}
