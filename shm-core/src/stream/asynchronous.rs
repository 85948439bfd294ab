//! Awaiting frames on any executor.
//!
//! Upholds invariants 5 (nothing polls: one thread sleeps in the kernel, and only while a future is
//! pending) and 10 (that thread belongs to the [`AsyncReader`] and ends with it).

use super::error::ReadError;
use super::frame::Frame;
use super::{Reader, Shared};
use crate::deadline::Deadline;
use crate::dtype::Element;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A reader whose waits are futures; made by [`Reader::into_async`].
///
/// It owns one thread, which sleeps in the kernel and wakes the task. Dropping a future cancels its
/// wait; dropping the reader ends the thread.
///
/// ```
/// # use std::{future::Future, pin::pin, sync::Arc, task::{Context, Poll, Wake}};
/// # struct Unpark(std::thread::Thread);
/// # impl Wake for Unpark { fn wake(self: Arc<Self>) { self.0.unpark() } }
/// # fn block_on<F: Future>(future: F) -> F::Output {
/// #     let waker = Arc::new(Unpark(std::thread::current())).into();
/// #     let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
/// #     loop {
/// #         if let Poll::Ready(output) = future.as_mut().poll(&mut context) { return output }
/// #         std::thread::park();
/// #     }
/// # }
/// use shm_core::{Deadline, Stream, StreamConfig};
/// use std::time::Duration;
/// let stream = Stream::process_local("doc", &StreamConfig::of::<u8>(&[3])?)?;
/// let mut writer = stream.writer(Deadline::NOW)?;
/// let mut reader = stream.reader().into_async();
///
/// let producer = std::thread::spawn(move || writer.publish(b"abc"));
/// let frame = block_on(reader.read_after::<u8>(0, Duration::from_secs(5)))?;
/// assert_eq!(frame.data, b"abc");
/// # producer.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncReader {
    reader: Reader,
    desk: Arc<Desk>,
    sleeper: Option<JoinHandle<()>>,
}

/// Where the future leaves its wish and the thread finds it.
#[derive(Debug, Default)]
struct Desk {
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wish {
    waker: Option<Waker>,
    after: u64,
    until: Option<Instant>,
    /// True while the thread sleeps for the wish above, or for one that was replaced since.
    asleep: bool,
    closed: bool,
}

impl AsyncReader {
    pub(crate) fn new(reader: Reader) -> AsyncReader {
        AsyncReader { reader, desk: Arc::default(), sleeper: None }
    }

    /// Resolves to the newest frame once there is one that was published after this call.
    pub fn read_new<T: Element>(&mut self, deadline: impl Into<Deadline>) -> ReadFuture<'_, T> {
        self.read_after(self.reader.count(), deadline)
    }

    /// Resolves to the newest frame once there is one with a count above `count`.
    pub fn read_after<T: Element>(
        &mut self,
        count: u64,
        deadline: impl Into<Deadline>,
    ) -> ReadFuture<'_, T> {
        let (deadline, begun) = (deadline.into(), Instant::now());
        ReadFuture { reader: self, after: count, deadline, begun, element: PhantomData }
    }

    /// Looks whether there is a frame with a count above `count`, for executors that are not Rust's;
    /// otherwise keeps the waker of `context`, in place of an earlier one, and wakes it once when
    /// there is one, at the deadline, or when the stream is unlinked. Resolves to the newest count.
    ///
    /// # Errors
    /// As for [`Reader::wait_after`].
    pub fn poll_after(
        &mut self,
        count: u64,
        deadline: impl Into<Deadline>,
        context: &mut Context<'_>,
    ) -> Poll<Result<u64, ReadError>> {
        let deadline = deadline.into();
        match self.reader.wait_after(count, Deadline::NOW) {
            Err(ReadError::Timeout { .. }) if !deadline.has_passed() => {
                self.sleep_for(count, deadline, context.waker());
                Poll::Pending
            }
            outcome => Poll::Ready(outcome),
        }
    }

    /// The reader, for everything that does not wait.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    fn sleep_for(&mut self, after: u64, deadline: Deadline, waker: &Waker) {
        let until = deadline.remaining().and_then(|left| Instant::now().checked_add(left));
        let replaced = {
            let mut wish = self.desk.wish.lock();
            let replaced = wish.asleep && (wish.after, wish.until) != (after, until);
            (wish.after, wish.until) = (after, until);
            match &mut wish.waker {
                Some(present) => present.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
            replaced
        };
        self.desk.changed.notify_one();
        if replaced {
            self.reader.stream().shared().rouse();
        }
        let (shared, desk) = (self.reader.stream().shared().clone(), self.desk.clone());
        self.sleeper.get_or_insert_with(|| std::thread::spawn(move || desk.serve(&shared)));
    }
}

impl Drop for AsyncReader {
    fn drop(&mut self) {
        if let Some(sleeper) = self.sleeper.take() {
            self.desk.wish.lock().closed = true;
            self.desk.changed.notify_one();
            self.reader.stream().shared().rouse();
            // It runs nothing of the user's but a waker; a panic there is the executor's.
            let _ = sleeper.join();
        }
    }
}

impl Desk {
    /// The thread: take a wish, sleep until it comes true, wake the task.
    fn serve(&self, shared: &Shared) {
        while let Some((after, until)) = self.next_wish() {
            let deadline = until.map_or(Deadline::NEVER, Deadline::at);
            let changed = || {
                let wish = self.wish.lock();
                wish.closed || wish.waker.is_none() || wish.after != after || wish.until != until
            };
            // However it ended, the future looks for itself.
            let _ = shared.wait_for_frame(after, deadline, Duration::ZERO, changed);
            let mut wish = self.wish.lock();
            wish.asleep = false;
            let current = (wish.after, wish.until) == (after, until);
            if let Some(waker) = wish.waker.take_if(|_| current) {
                drop(wish);
                waker.wake();
            }
        }
    }

    fn next_wish(&self) -> Option<(u64, Option<Instant>)> {
        let mut wish = self.wish.lock();
        while wish.waker.is_none() && !wish.closed {
            self.changed.wait(&mut wish);
        }
        wish.asleep = !wish.closed;
        wish.asleep.then_some((wish.after, wish.until))
    }
}

impl Shared {
    /// Makes every waiter of the segment look again.
    fn rouse(&self) {
        if self.segment.access() != crate::os::Access::ReadOnly {
            self.segment.wake_event().ring_all(self.segment.backing().parker());
        }
    }
}

/// A pending read; resolves like the blocking call of the same name.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ReadFuture<'a, T> {
    reader: &'a mut AsyncReader,
    after: u64,
    deadline: Deadline,
    begun: Instant,
    element: PhantomData<fn() -> T>,
}

impl<T: Element> Future for ReadFuture<'_, T> {
    type Output = Result<Frame<T>, ReadError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.reader.reader.check_payload()?;
        match this.reader.reader.wait_after(this.after, Deadline::NOW) {
            Ok(_) => Poll::Ready(this.reader.reader.read()),
            Err(ReadError::Timeout { name, after, writer_alive, .. })
                if this.deadline.has_passed() =>
            {
                let waited = this.begun.elapsed();
                Poll::Ready(Err(ReadError::Timeout { name, after, waited, writer_alive }))
            }
            Err(ReadError::Timeout { .. }) => {
                this.reader.sleep_for(this.after, this.deadline, context.waker());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<T> Drop for ReadFuture<'_, T> {
    fn drop(&mut self) {
        self.reader.desk.wish.lock().waker = None;
    }
}
