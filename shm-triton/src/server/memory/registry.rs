//! Which regions of clients' memory are registered.

use super::guard::TABLE_SIZE;
use super::key;
use super::mapping::{MapError, Mapping};
use super::region::{Lent, Region};
use crate::server::Refusal;
use crate::wire::{Code, RegionStatus, SharedBytes};
use parking_lot::RwLock;
use rustix::fs::fstat;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The registered regions by name.
#[derive(Debug)]
pub(in crate::server) struct Registry {
    regions: RwLock<BTreeMap<String, Arc<Region>>>,
    max_regions: usize,
    /// Mappings are known to the SIGBUS handler.
    guarded: bool,
}

impl Registry {
    pub fn new(max_regions: usize, guarded: bool) -> Registry {
        Registry { regions: RwLock::default(), max_regions, guarded }
    }

    /// Maps `byte_size` bytes of the object `key`, from `offset`, under `name`.
    pub fn register(
        &self,
        name: &str,
        key: &str,
        offset: u64,
        byte_size: u64,
    ) -> Result<(), Refusal> {
        let invalid = |why: String| {
            Refusal::invalid(format!(
                "failed to register shared memory region '{name}': invalid args: {why}"
            ))
        };
        if name.is_empty() {
            return Err(invalid("the name is empty".into()));
        }
        let mut regions = self.regions.write();
        if regions.contains_key(name) {
            return Err(Refusal::new(
                Code::AlreadyExists,
                format!("shared memory region '{name}' already in manager"),
            ));
        }
        if regions.len() >= self.max_regions {
            return Err(Refusal::new(
                Code::ResourceExhausted,
                format!(
                    "cannot register shared memory region '{name}': {} are registered, which is the server's limit; unregister one first",
                    regions.len()
                ),
            ));
        }
        let page = rustix::param::page_size() as u64;
        if !offset.is_multiple_of(page) {
            return Err(invalid(format!(
                "offset {offset} is no multiple of the page size, {page}"
            )));
        }
        if byte_size == 0 {
            return Err(invalid("byte_size is 0".into()));
        }
        let end = offset.checked_add(byte_size).filter(|&end| i64::try_from(end).is_ok());
        let (Some(end), Ok(len)) = (end, usize::try_from(byte_size)) else {
            return Err(invalid(format!("offset {offset} + byte_size {byte_size} overflows")));
        };
        let object = key::open(key)?;
        let stat = fstat(&object).map_err(|error| {
            Refusal::internal(format!("Unable to open shared memory region: '{key}': {error}"))
        })?;
        if u64::try_from(stat.st_size).unwrap_or(0) < end {
            return Err(invalid(format!(
                "offset {offset} + byte_size {byte_size} is beyond the end of '{key}', which has {} bytes",
                stat.st_size
            )));
        }
        let identity = (stat.st_dev, stat.st_ino);
        if let Some(other) = regions.values().find(|region| region.identity == identity) {
            return Err(invalid(format!(
                "the object '{key}' is already registered as '{}'; use that name, or unregister it first",
                other.status.name
            )));
        }
        let mapping = Mapping::new(&object, offset, len, self.guarded).map_err(|error| match error {
            MapError::System(errno) => {
                invalid(format!("it cannot be mapped: {}", std::io::Error::from(errno)))
            }
            MapError::TooMany => Refusal::new(
                Code::ResourceExhausted,
                format!(
                    "cannot register shared memory region '{name}': this process has {TABLE_SIZE} mapped, over all its servers; unregister one first"
                ),
            ),
        })?;
        let status = RegionStatus { name: name.to_owned(), key: key.to_owned(), offset, byte_size };
        regions.insert(name.to_owned(), Arc::new(Region::new(status, identity, object, mapping)));
        Ok(())
    }

    /// Forgets a region that no request uses. One that is not known is no error.
    pub fn unregister(&self, name: &str) -> Result<(), Refusal> {
        let mut regions = self.regions.write();
        if regions.get(name).is_some_and(|region| region.is_lent()) {
            return Err(in_use(&format!("'{name}'")));
        }
        let removed = regions.remove(name);
        drop(regions);
        // Unmapping takes long for a large region, and needs no lock.
        drop(removed);
        Ok(())
    }

    /// Forgets all regions that no request uses, and names the others.
    pub fn unregister_all(&self) -> Result<(), Refusal> {
        let mut regions = self.regions.write();
        let (stay, go) =
            std::mem::take(&mut *regions).into_iter().partition(|(_, region)| region.is_lent());
        *regions = stay;
        let names: Vec<String> = regions.keys().map(|name| format!("'{name}'")).collect();
        drop(regions);
        drop::<BTreeMap<_, _>>(go);
        if names.is_empty() { Ok(()) } else { Err(in_use(&names.join(", "))) }
    }

    /// The region of that name, or all if the name is empty.
    pub fn status(&self, name: &str) -> Result<Vec<RegionStatus>, Refusal> {
        let regions = self.regions.read();
        if name.is_empty() {
            return Ok(regions.values().map(|region| region.status.clone()).collect());
        }
        match regions.get(name) {
            Some(region) => Ok(vec![region.status.clone()]),
            None => Err(unknown(name)),
        }
    }

    /// Lends bytes of a region for one tensor.
    pub fn lend(&self, bytes: &SharedBytes) -> Result<Lent, Refusal> {
        let regions = self.regions.read();
        let region = regions.get(&bytes.region).ok_or_else(|| unknown(&bytes.region))?;
        Lent::new(region, bytes.offset, bytes.byte_size)
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::not_found(format!("Unable to find shared memory region: '{name}'"))
}

fn in_use(names: &str) -> Refusal {
    Refusal::invalid(format!(
        "Cannot unregister shared memory region {names}, it is currently in use; try again when its requests have been answered"
    ))
}
