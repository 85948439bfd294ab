//! How a server runs.

use super::super::limits::Limits;
use super::super::service::ServiceConfig;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// How a server runs.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where clients find it. Its folder must be this user's alone.
    pub path: PathBuf,
    /// Threads that build.
    pub workers: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Users that may connect besides this one, by number. If there are any, the mode of the socket is
    /// 0666, and the folder has to let them through; whoever is not named here is refused all the same.
    pub allow_users: Vec<u32>,
    /// What a client may ask of it, and what a value may be: also those of `service`.
    pub limits: Limits,
    /// What it keeps.
    pub service: ServiceConfig,
}

impl ServerConfig {
    /// The usual configuration at a path: 1024 connections; as many workers as there are processors, at
    /// least 2 and at most 16; 1024 cached results of 16 GiB that nobody holds, of any age; 1024 tasks whose
    /// results are kept for an hour; 1024 builds that wait.
    pub fn new(path: impl Into<PathBuf>) -> ServerConfig {
        let processors = thread::available_parallelism().map_or(2, usize::from);
        ServerConfig {
            path: path.into(),
            workers: processors.clamp(2, 16),
            connections: 1024,
            allow_users: Vec::new(),
            limits: Limits::default(),
            service: ServiceConfig {
                cache_entries: 1024,
                cache_bytes: 16 << 30,
                cache_age: None,
                tasks: 1024,
                result_age: Duration::from_secs(3600),
                queue: 1024,
                limits: Limits::default(),
            },
        }
    }
}
