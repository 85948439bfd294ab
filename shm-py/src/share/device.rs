//! Device memory that is given and received.
//!
//! Upholds invariants 6 (whatever shows device memory keeps it, and it is let go where Python allows
//! that) and 8 (memory that was received is passed on as it is).

use crate::cuda::{DeviceTensor, Foreign, Lane, Layout, Source, refused};
use crate::interpreter;
use crate::share::table::{Hold, Table};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use shm_cuda::share::{DeviceStorage, Storage, Tensor};
use shm_cuda::{DeviceSlice, Permission};
use std::any::Any;
use std::sync::Arc;

/// Device memory of share services that tensors of this process lie in.
static TABLE: Table<DeviceStorage> = Table::new();

/// Received memory, for as long as a tensor shows it.
struct Received {
    #[expect(dead_code, reason = "owns the memory, and is found in the table meanwhile")]
    hold: Hold<DeviceStorage>,
}

/// What keeps memory of another library. It may be that library's Python object, so it goes where Python
/// can see to that.
struct Kept {
    owner: Option<(Arc<dyn Any + Send + Sync>, Arc<Lane>)>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut owner = self.owner.take();
        if interpreter::visit(|_| drop(owner.take())).is_none() {
            // The interpreter is gone, and with it whoever could take the memory back.
            core::mem::forget(owner);
        }
    }
}

/// A tensor on a device that is to travel.
pub(super) struct DeviceArray {
    foreign: Foreign,
    lane: Arc<Lane>,
    /// Nobody said on which stream its data comes.
    settles: bool,
}

impl DeviceArray {
    pub(super) fn of(py: Python<'_>, source: Source<'_>) -> PyResult<DeviceArray> {
        let lane = Lane::of(py, source.ordinal())?;
        let settles = matches!(source, Source::Tensor(_));
        let foreign = source.take(py, &lane.device, lane.queue.as_ref())?;
        Ok(DeviceArray { foreign, lane, settles })
    }

    /// Addresses of the first byte and of the end.
    fn extent(&self) -> PyResult<(u64, u64)> {
        let (first, end) = self.foreign.layout.extent()?;
        let at = |offset| self.foreign.address.checked_add_signed(offset);
        at(first)
            .zip(at(end))
            .ok_or_else(|| PyValueError::new_err("its strides reach farther than addresses can"))
    }
}

/// Tensors for `arrays`, in order, whose data is there. Those that overlap stay on one storage.
pub(super) fn pack(py: Python<'_>, arrays: Vec<DeviceArray>) -> PyResult<Vec<Tensor>> {
    for array in &arrays {
        let lane = &array.lane;
        let ready = || match array.settles {
            true => lane.device.synchronize(),
            false => lane.queue.synchronize(),
        };
        py.detach(ready).map_err(refused)?;
    }
    let extents = arrays.iter().map(DeviceArray::extent).collect::<PyResult<Vec<_>>>()?;
    let storages = storages_of(py, &arrays, &extents)?;
    arrays
        .iter()
        .zip(storages)
        .map(|(array, (storage, start))| {
            let layout = &array.foreign.layout;
            let strides: Vec<isize> = layout.strides.iter().map(|&it| it as isize).collect();
            let offset = (array.foreign.address - start) as usize;
            let storage = Storage::Device(storage);
            Tensor::new(storage, layout.dtype, &layout.shape, &strides, offset)
                .map_err(|error| PyValueError::new_err(error.to_string()))
        })
        .collect()
}

type Located = (Arc<DeviceStorage>, u64);

fn storages_of(
    py: Python<'_>,
    arrays: &[DeviceArray],
    extents: &[(u64, u64)],
) -> PyResult<Vec<Located>> {
    let mut found: Vec<Option<Located>> =
        extents.iter().map(|&(start, end)| TABLE.find(start, end)).collect();
    let mut others: Vec<usize> = (0..arrays.len()).filter(|&it| found[it].is_none()).collect();
    others.sort_unstable_by_key(|&index| extents[index]);
    let mut group: Vec<usize> = Vec::new();
    let mut group_end = 0;
    for index in others {
        let (start, end) = extents[index];
        if start >= group_end && !group.is_empty() {
            make(py, arrays, extents, &group, &mut found)?;
            group.clear();
        }
        group_end = end.max(group_end);
        group.push(index);
    }
    make(py, arrays, extents, &group, &mut found)?;
    Ok(found.into_iter().flatten().collect())
}

/// One storage for a group of arrays that overlap, in the order of their addresses.
fn make(
    py: Python<'_>,
    arrays: &[DeviceArray],
    extents: &[(u64, u64)],
    group: &[usize],
    found: &mut [Option<Located>],
) -> PyResult<()> {
    let Some(&first) = group.first() else { return Ok(()) };
    let start = extents[first].0;
    let end = group.iter().map(|&index| extents[index].1).max().unwrap_or(start);
    let owners: Vec<Arc<dyn Any + Send + Sync>> =
        group.iter().map(|&index| arrays[index].foreign.owner.clone()).collect();
    let lane = arrays[first].lane.clone();
    let kept: Arc<dyn Any + Send + Sync> =
        Arc::new(Kept { owner: Some((Arc::new(owners), lane.clone())) });
    // SAFETY: the producers say that each array is memory of the device, to which the driver agreed;
    // together they cover what lies between the first byte and the end, and `kept` keeps all of them.
    let storage = py.detach(|| unsafe {
        let slice = DeviceSlice::from_raw(&lane.device, start, (end - start) as usize);
        DeviceStorage::foreign(slice, kept)
    });
    let storage = Arc::new(storage.map_err(|error| {
        PyRuntimeError::new_err(format!(
            "its memory cannot be given to another process: {}",
            crate::errors::chain(&error)
        ))
    })?);
    for &index in group {
        found[index] = Some((storage.clone(), start));
    }
    Ok(())
}

/// A tensor over received memory.
pub(super) fn tensor(
    py: Python<'_>,
    tensor: &Tensor,
    storage: &Arc<DeviceStorage>,
    writable: bool,
) -> PyResult<DeviceTensor> {
    let lane = Lane::of(py, storage.device().ordinal())?;
    let layout = Layout {
        dtype: tensor.dtype(),
        shape: tensor.shape().to_vec(),
        strides: tensor.strides().iter().map(|&stride| stride as i64).collect(),
    };
    let start = storage.as_slice().address();
    let address = start + tensor.offset() as u64;
    let writable = writable && storage.permission() == Permission::ReadWrite;
    let hold = TABLE.hold(storage.clone(), start, storage.len());
    Ok(DeviceTensor::over(lane, layout, address, writable, Arc::new(Received { hold })))
}
