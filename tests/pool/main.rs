//! Pools between real processes that are killed, stopped, forked and lied to: nothing leaks, nothing is
//! granted twice, and nobody who lives is robbed or hung.

mod acknowledgements;
mod attacks;
mod clearing;
mod crash;
mod fork;
mod geometry;
mod hostile;
mod namespaces;
mod ownership;
mod queues;
mod random;
mod rig;
mod stop;
mod storage;
mod stores;
mod together;
mod unpublished;
mod words;
