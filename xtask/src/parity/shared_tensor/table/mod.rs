//! What shared-tensor 0.2.16 documents and its own tests check, named one by one.

mod providers;
mod services;

/// One behaviour.
pub struct Behaviour {
    pub what: &'static str,
    pub shown: Shown,
}

/// How it is shown, or why it is not.
pub enum Shown {
    /// By a test of ours in shm-py/tests/share.
    By(&'static str),
    /// Not here: it needs a GPU.
    NeedsGpu(&'static str),
    /// It is otherwise on purpose.
    Differs(&'static str),
    /// It is about the inside of shared-tensor.
    Inside(&'static str),
}

/// All of them.
pub fn all() -> Vec<&'static Behaviour> {
    providers::TABLE.iter().chain(services::TABLE).collect()
}

/// The files with the tests.
pub fn files() -> impl Iterator<Item = &'static str> {
    [SERVED, LOCAL].into_iter()
}

const LOCAL: &str = "test_parity.py";
const SERVED: &str = "test_parity_served.py";

const fn by(what: &'static str, test: &'static str) -> Behaviour {
    Behaviour { what, shown: Shown::By(test) }
}

const fn gpu(what: &'static str, why: &'static str) -> Behaviour {
    Behaviour { what, shown: Shown::NeedsGpu(why) }
}

const fn differs(what: &'static str, why: &'static str) -> Behaviour {
    Behaviour { what, shown: Shown::Differs(why) }
}

const fn inside(what: &'static str, why: &'static str) -> Behaviour {
    Behaviour { what, shown: Shown::Inside(why) }
}
