//! Reads: the newest complete frame, now or as soon as there is a newer one.
//!
//! Upholds invariants 1 (a read never waits for a writer's progress) and 5 through
//! [`shm_core::Reader`].

use crate::array::{self, Bytes, Mapping};
use crate::cuda::{self, Queue};
use crate::handle::{Attachment, SharedMemory};
use crate::publication::{Numbers, Publication};
use crate::recycling::WORTH_KEEPING;
use crate::view::FrameView;
use crate::{errors, wait};
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use shm_core::{Deadline, FrameInfo, ReadError, Reader};
use std::time::Instant;

/// From this size on a copy runs with the interpreter released: it takes longer than that costs.
pub(crate) const WORTH_RELEASING: usize = 128 << 10;

impl SharedMemory {
    /// The newest frame in `out` or a new array; zeros, and no numbers, before the first.
    fn take<'py>(
        &self,
        py: Python<'py>,
        attachment: &Attachment,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyUntypedArray>, Option<FrameInfo>)> {
        let array = match out {
            Some(out) => self.form.check_out(out)?,
            None if self.form.byte_len >= WORTH_KEEPING => {
                attachment.shelf.array(py, &self.form)?
            }
            None => self.form.empty(py)?,
        };
        let bytes = Bytes::of(&array, self.form.byte_len);
        let outcome = match attachment.reader.try_lock() {
            Some(mut reader) => copy_out(py, &mut reader, bytes),
            // Another thread is copying with the interpreter released.
            None => copy_out(py, &mut attachment.stream.reader(), bytes),
        };
        match outcome {
            Ok(info) => Ok((array, Some(info))),
            Err(ReadError::Empty { .. }) => {
                // SAFETY: `array` is alive, and new or checked to be writable.
                unsafe { bytes.clear() };
                Ok((array, None))
            }
            Err(error) => Err(errors::read(py, error)),
        }
    }

    /// A read-only array over the newest frame, which stays while this thread holds the lock.
    fn borrow<'py>(
        &self,
        py: Python<'py>,
        attachment: &Attachment,
    ) -> PyResult<(Bound<'py, PyUntypedArray>, Option<FrameInfo>)> {
        self.require_lock_to_borrow(py, attachment)?;
        match attachment.stream.reader().view() {
            Ok(view) => {
                let base = Mapping::of(py, &attachment.stream)?;
                // SAFETY: the payload lies in the mapping, which `base` owns.
                let array = unsafe { self.form.over(py, view.as_ptr().cast_mut(), false, base) }?;
                Ok((array, Some(*view.info())))
            }
            Err(ReadError::Empty { .. }) => {
                let (array, info) = self.take(py, attachment, None)?;
                array::make_read_only(&array);
                Ok((array, info))
            }
            Err(error) => Err(errors::read(py, error)),
        }
    }

    fn require_lock_to_borrow(&self, py: Python<'_>, attachment: &Attachment) -> PyResult<()> {
        match attachment.lock.as_ref().map(|lock| lock.depth()) {
            None => Err(errors::read_only(py, "take an unsafe shared view from", &self.name)),
            Some(0) => Err(PyRuntimeError::new_err(
                "safe=False requires an active 'with handle.locked()' block of this thread",
            )),
            Some(_) => Ok(()),
        }
    }

    #[inline]
    fn read_now<'py>(
        &self,
        py: Python<'py>,
        attachment: &Attachment,
        safe: bool,
        out: Option<&Bound<'py, PyAny>>,
        queue: Option<Queue>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<FrameInfo>, u64)> {
        if !safe && out.is_some() {
            return Err(PyValueError::new_err(
                "out is supported only for safe reads; leave out safe=False",
            ));
        }
        let (array, info) = match (&attachment.device, safe) {
            (None, true) => {
                let (array, info) = self.take(py, attachment, out)?;
                (array.into_any(), info)
            }
            (None, false) => {
                let (array, info) = self.borrow(py, attachment)?;
                (array.into_any(), info)
            }
            (Some(device), true) => {
                let (tensor, info) = device.take(py, &self.form, out, queue)?;
                (tensor.into_any(), info)
            }
            (Some(device), false) => {
                self.require_lock_to_borrow(py, attachment)?;
                let (tensor, info) = device.borrow(py, &self.form)?;
                (tensor.into_any(), info)
            }
        };
        let missed = info.map_or(0, |info| self.place.note(info.count));
        Ok((array, info, missed))
    }

    fn publication<'py>(
        &self,
        py: Python<'py>,
        attachment: &Attachment,
        safe: bool,
        out: Option<&Bound<'py, PyAny>>,
        queue: Option<Queue>,
    ) -> PyResult<Publication> {
        let (array, info, missed) = self.read_now(py, attachment, safe, out, queue)?;
        let numbers = info.as_ref().map(Numbers::from).unwrap_or_default();
        Ok(Publication::new(array.unbind(), numbers, missed))
    }

    /// Waits until the count is above `after`; returns it.
    fn wait_after(
        &self,
        py: Python<'_>,
        attachment: &Attachment,
        after: u64,
        deadline: Deadline,
    ) -> PyResult<u64> {
        let newest = attachment.observer.count();
        if newest > after {
            return Ok(newest);
        }
        let (begun, mut naps) = (Instant::now(), attachment.observer.naps_after(after));
        loop {
            let longest = wait::nap(deadline);
            let waited = py.detach(|| naps.sleep(longest));
            match waited {
                Ok(Some(count)) => return Ok(count),
                Ok(None) => {}
                Err(error) => return Err(errors::read(py, error)),
            }
            py.check_signals()?;
            if attachment.is_closing() {
                return Err(errors::closed_while_waiting(&self.name));
            }
            if attachment.device.is_some() && attachment.stream.creator_alive() == Some(false) {
                // The next frame would have nowhere to be.
                return Err(cuda::creator_gone(&self.name));
            }
            if deadline.has_passed() {
                let (name, waited) = (self.name.clone(), begun.elapsed());
                let timeout = ReadError::Timeout { name, after, waited, writer_alive: None };
                return Err(errors::read(py, timeout));
            }
        }
    }

    fn refuse_unsafe_before_waiting(&self, py: Python<'_>, safe: bool) -> PyResult<()> {
        match safe || !self.readonly {
            true => Ok(()),
            false => Err(errors::read_only(py, "take an unsafe shared view from", &self.name)),
        }
    }
}

/// The caller keeps the array of `out` alive, which is new or was checked to be writable.
fn copy_out(py: Python<'_>, reader: &mut Reader, out: Bytes) -> Result<FrameInfo, ReadError> {
    // SAFETY: see above; the payload is one frame, as long as the array.
    let take = move |payload: *const u8| unsafe { out.take(payload) };
    match out.len() >= WORTH_RELEASING {
        true => py.detach(|| reader.read_with(take)),
        false => reader.read_with(take),
    }
}

#[pymethods]
impl SharedMemory {
    /// The newest complete frame, at once: a new C-contiguous writable array of the stream's dtype
    /// and shape, or `out`, which must have exactly both, be C-contiguous and writable. Zeros before
    /// the first frame. Never waits for a writer, so `timeout` and `poll_interval` (seconds) are
    /// accepted for compatibility only.
    ///
    /// With safe=False, inside `with handle.locked()`, a read-only array over the frame itself,
    /// without a copy; it shows later frames once the lock is released.
    ///
    /// On a device it is a DeviceTensor, which holds the frame when the call returns; so must `out` be.
    /// `stream` is the caller's stream of work, after whose work so far the frame is copied, as for
    /// write(); use it if work that is queued there still uses `out`.
    ///
    /// Raises ValueError or TypeError for an unfit `out`, RuntimeError for safe=False without the
    /// lock, StaleStreamError once the stream was unlinked and its last frame was read,
    /// InconsistentStreamError if writers lapped the read for a second; of streams on a device,
    /// RuntimeError if the process that created it has ended, or for a handle without a device if there
    /// is no cpu_mirror.
    #[pyo3(signature = (
        *, safe = true, poll_interval = 1e-6, out = None, timeout = None, stream = None
    ))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'py, PyAny>>,
        timeout: Option<f64>,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        check_times(poll_interval, timeout)?;
        let attachment = self.attached(py, "read from")?;
        let queue = self.queue_argument(&attachment, stream)?;
        Ok(self.read_now(py, &attachment, safe, out, queue)?.0)
    }

    /// Waits for a frame published after this call began, and returns the newest, as read() does.
    /// For request and reply use read_after(), which cannot miss what was published just before.
    ///
    /// Raises TimeoutError after `timeout` seconds (None: never), StaleStreamError as soon as the
    /// stream is unlinked, RuntimeError when the handle is closed meanwhile; else as read() does.
    #[pyo3(signature = (
        *, timeout = None, safe = true, poll_interval = 1e-5, out = None, stream = None
    ))]
    fn read_new<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let attachment = self.attached(py, "read from")?;
        let queue = self.queue_argument(&attachment, stream)?;
        let after = attachment.observer.count();
        self.wait(py, &attachment, after, timeout, poll_interval, (safe, out))?;
        Ok(self.read_now(py, &attachment, safe, out, queue)?.0)
    }

    /// Waits until there is a frame with a count above `after`, and returns the newest, as read()
    /// does. What was published before the call counts.
    ///
    /// Raises ValueError for a negative or non-integer `after`; else as read_new() does.
    #[pyo3(signature = (
        after, *, timeout = None, safe = true, poll_interval = 1e-5, out = None, stream = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn read_after<'py>(
        &self,
        py: Python<'py>,
        after: &Bound<'py, PyAny>,
        timeout: Option<f64>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'py, PyAny>>,
        stream: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let attachment = self.attached(py, "read from")?;
        let queue = self.queue_argument(&attachment, stream)?;
        self.wait(py, &attachment, wait::count(after)?, timeout, poll_interval, (safe, out))?;
        Ok(self.read_now(py, &attachment, safe, out, queue)?.0)
    }

    /// Waits until the count is above `after`; returns the newest count and reads nothing.
    ///
    /// Raises as read_after() does.
    #[pyo3(signature = (*, after, timeout = None, poll_interval = 1e-5))]
    fn wait_for_count(
        &self,
        py: Python<'_>,
        after: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        poll_interval: f64,
    ) -> PyResult<u64> {
        let attachment = self.attached(py, "wait for a write on")?;
        self.wait(py, &attachment, wait::count(after)?, timeout, poll_interval, (true, None))
    }

    /// As read(), with the frame's count, id and times, all of the same publish.
    ///
    /// Raises as read() does.
    #[pyo3(signature = (
        *, safe = true, poll_interval = 1e-6, out = None, timeout = None, stream = None
    ))]
    fn read_publication(
        &self,
        py: Python<'_>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'_, PyAny>>,
        timeout: Option<f64>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Publication> {
        check_times(poll_interval, timeout)?;
        let attachment = self.attached(py, "read a publication from")?;
        let queue = self.queue_argument(&attachment, stream)?;
        self.publication(py, &attachment, safe, out, queue)
    }

    /// As read_new(), with the frame's count, id and times.
    ///
    /// Raises as read_new() does.
    #[pyo3(signature = (
        *, timeout = None, safe = true, poll_interval = 1e-5, out = None, stream = None
    ))]
    fn read_new_publication(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'_, PyAny>>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Publication> {
        let attachment = self.attached(py, "read a publication from")?;
        let queue = self.queue_argument(&attachment, stream)?;
        let after = attachment.observer.count();
        self.wait(py, &attachment, after, timeout, poll_interval, (safe, out))?;
        self.publication(py, &attachment, safe, out, queue)
    }

    /// As read_after(), with the frame's count, id and times.
    ///
    /// Raises as read_after() does.
    #[pyo3(signature = (
        after, *, timeout = None, safe = true, poll_interval = 1e-5, out = None, stream = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "Python's keywords")]
    fn read_after_publication(
        &self,
        py: Python<'_>,
        after: &Bound<'_, PyAny>,
        timeout: Option<f64>,
        safe: bool,
        poll_interval: f64,
        out: Option<&Bound<'_, PyAny>>,
        stream: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Publication> {
        let attachment = self.attached(py, "read a publication from")?;
        let queue = self.queue_argument(&attachment, stream)?;
        self.wait(py, &attachment, wait::count(after)?, timeout, poll_interval, (safe, out))?;
        self.publication(py, &attachment, safe, out, queue)
    }

    /// The newest frames that are still there, oldest first and without gaps: at most `n`, and at
    /// most `cells` - 1 of them stay readable while the next is written. None for all. Does not
    /// count as reading. Empty before the first frame.
    ///
    /// Raises ValueError for a negative `n`, StaleStreamError as read() does.
    #[pyo3(signature = (n = None))]
    fn history(&self, py: Python<'_>, n: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Publication>> {
        let attachment = self.attached(py, "read from")?;
        let most = match n {
            None => u64::MAX,
            Some(n) => n.extract::<u64>().map_err(|_| {
                PyValueError::new_err(format!("n is {n}; expected an integer from 0 on"))
            })?,
        };
        match &attachment.device {
            Some(device) => device.history(py, &self.form, most),
            None => self.past_frames(py, &attachment, most),
        }
    }

    /// The newest frame where it lies, without a copy. The writer may use its cell again `cells` - 1
    /// frames later: compute first, validate, and only then believe the result, which leaving the
    /// `with` block does for you. Counts as reading.
    ///
    /// Raises RuntimeError before the first frame; StaleStreamError as read() does.
    fn view(&self, py: Python<'_>) -> PyResult<FrameView> {
        let attachment = self.attached(py, "read from")?;
        if let Some(device) = &attachment.device {
            let (view, tensor) = device.view(py, &self.form)?;
            self.place.note(view.info().count);
            return FrameView::on_device(py, view, tensor);
        }
        let view = match attachment.reader.try_lock() {
            Some(mut reader) => reader.view(),
            None => attachment.stream.reader().view(),
        };
        let view = view.map_err(|error| errors::read(py, error))?;
        self.place.note(view.info().count);
        FrameView::new(py, &self.form, &attachment.stream, view)
    }
}

impl SharedMemory {
    fn wait(
        &self,
        py: Python<'_>,
        attachment: &Attachment,
        after: u64,
        timeout: Option<f64>,
        poll_interval: f64,
        (safe, out): (bool, Option<&Bound<'_, PyAny>>),
    ) -> PyResult<u64> {
        wait::check_poll_interval(poll_interval)?;
        self.refuse_unsafe_before_waiting(py, safe)?;
        if let Some(out) = out {
            self.check_out(attachment, out)?;
        }
        self.wait_after(py, attachment, after, wait::deadline(timeout)?)
    }

    /// Checks what is to receive a frame, before anything is waited for.
    pub(crate) fn check_out(
        &self,
        attachment: &Attachment,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        match &attachment.device {
            Some(device) => device.check_out(&self.form, out).map(drop),
            None => self.form.check_out(out).map(drop),
        }
    }

    fn past_frames(
        &self,
        py: Python<'_>,
        attachment: &Attachment,
        most: u64,
    ) -> PyResult<Vec<Publication>> {
        let newest = attachment.observer.count();
        let wanted = most.min(attachment.stream.cells() as u64).min(newest);
        let mut found = Vec::new();
        for count in (newest - wanted + 1..=newest).rev() {
            let array = self.form.empty(py)?;
            let bytes = Bytes::of(&array, self.form.byte_len);
            // SAFETY: a new array, alive here, and a payload of its length.
            let take = move |payload: *const u8| unsafe { bytes.take(payload) };
            let copied = py.detach(|| attachment.observer.frame_with(count, take));
            match copied {
                Ok(info) => {
                    let payload = array.into_any().unbind();
                    found.push(Publication::new(payload, Numbers::from(&info), 0));
                }
                Err(ReadError::Overwritten { .. }) => break,
                Err(error) => return Err(errors::read(py, error)),
            }
        }
        if found.is_empty() && wanted > 0 {
            // Lapped already: the newest frame can always be had.
            let (array, info) = self.take(py, attachment, None)?;
            if let Some(info) = info {
                found.push(Publication::new(array.into_any().unbind(), Numbers::from(&info), 0));
            }
        }
        found.reverse();
        Ok(found)
    }
}

#[inline]
fn check_times(poll_interval: f64, timeout: Option<f64>) -> PyResult<()> {
    wait::check_poll_interval(poll_interval)?;
    match timeout {
        Some(timeout) => wait::deadline(Some(timeout)).map(drop),
        None => Ok(()),
    }
}
