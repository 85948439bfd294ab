//! What happens when processes die, stop, fork and live in other namespaces: everybody else goes
//! on, with every complete frame and without a torn one.

mod announced;
mod backlog;
mod crash;
mod fork;
mod names;
mod namespaces;
mod random;
mod rig;
mod several;
mod stop;
mod wake;
