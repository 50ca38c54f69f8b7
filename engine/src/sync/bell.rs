//! Waking who sleeps.
//!
//! [`Bell`] wakes the application: a thread that waits, or a task of any executor, by the same [`Waker`]. [`Doorbell`] wakes a worker
//! that sleeps on descriptors, by one more of them. Both follow one rule, and that is why no ring is slept through:
//!
//! ```text
//!   sleeper   says "asleep"     fence     looks once more     sleeps
//!   ringer    does its work     fence     looks for "asleep"  wakes
//! ```
//!
//! With both fences sequentially consistent, either the sleeper sees the work or the ringer sees the sleeper. To ring costs a fence and a
//! load as long as nobody sleeps; a ring for nobody leaves no trace, so that whoever sleeps looks first. Waking once too often is allowed
//! everywhere: who wakes looks again.

use core::task::{Context, Poll, Waker};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::PoisonError;
use std::task::Wake;
use std::time::Instant;

use super::atomic::{AtomicBool, Ordering, fence};
use super::{Mutex, thread};

/// Wakes one waiter: a thread or a task.
#[derive(Debug)]
pub(crate) struct Bell {
    /// Whether there is a sleeper; changed under its lock.
    asleep: AtomicBool,
    sleeper: Mutex<Option<Waker>>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { asleep: AtomicBool::new(false), sleeper: Mutex::new(None) }
    }
}

impl Bell {
    /// A bell that nobody listens to yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Wakes the waiter, if there is one. Call it after what the waiter waits for was done.
    #[inline]
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // Out of the lock first: a waker is foreign code.
        if let Some(waker) = self.replace(None) {
            waker.wake();
        }
    }

    /// Sets who sleeps; returns who did.
    fn replace(&self, waker: Option<Waker>) -> Option<Waker> {
        let mut sleeper = self.sleeper.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.store(waker.is_some(), Ordering::Relaxed);
        core::mem::replace(&mut *sleeper, waker)
    }

    /// Blocks the calling thread until `ready` has something, but not beyond `until`: `None` then.
    pub(crate) fn wait<T>(&self, mut ready: impl FnMut() -> Option<T>, until: Option<Instant>) -> Option<T> {
        if let Some(value) = ready() {
            return Some(value);
        }
        let waker = this_thread();
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(value) = self.poll(&mut context, &mut ready) {
                return Some(value);
            }
            if !sleep_until(until) {
                self.replace(None);
                return ready();
            }
        }
    }

    /// As a future's `poll`: asks for the task to be woken unless `ready` has something.
    pub(crate) fn poll<T>(&self, context: &mut Context<'_>, mut ready: impl FnMut() -> Option<T>) -> Poll<T> {
        if let Some(value) = ready() {
            return Poll::Ready(value);
        }
        self.replace(Some(context.waker().clone()));
        fence(Ordering::SeqCst);
        match ready() {
            Some(value) => {
                self.replace(None);
                Poll::Ready(value)
            }
            None => Poll::Pending,
        }
    }
}

/// Wakes a thread by its unpark token.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

fn unpark_this_thread() -> Waker {
    Waker::from(std::sync::Arc::new(Unpark(thread::current())))
}

/// The waker of the calling thread: made once, so that waiting again allocates nothing.
#[cfg(not(loom))]
fn this_thread() -> Waker {
    thread_local!(static WAKER: Waker = unpark_this_thread());
    // While a thread ends, its own are gone already.
    WAKER.try_with(Waker::clone).unwrap_or_else(|_| unpark_this_thread())
}

/// Under loom a thread belongs to one play of the model.
#[cfg(loom)]
fn this_thread() -> Waker {
    unpark_this_thread()
}

/// Sleeps until unparked or for no reason at all; false when the time is over.
#[cfg(not(loom))]
fn sleep_until(until: Option<Instant>) -> bool {
    let Some(until) = until else {
        thread::park();
        return true;
    };
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    thread::park_timeout(left);
    true
}

/// Under loom there is no time: a deadline is over at once.
#[cfg(loom)]
fn sleep_until(until: Option<Instant>) -> bool {
    if until.is_none() {
        thread::park();
    }
    until.is_none()
}

/// Wakes a worker that sleeps on descriptors.
#[derive(Debug)]
pub(crate) struct Doorbell {
    /// Set by the worker, cleared by whichever side is first.
    asleep: AtomicBool,
    wire: Wire,
}

impl Doorbell {
    /// A doorbell of its own descriptor.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { asleep: AtomicBool::new(false), wire: Wire::new()? })
    }

    /// Wakes the worker, if it sleeps. Call it after what it should see was done. One system call for each sleep, whoever else rings.
    #[inline]
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::Relaxed) {
            self.wire.signal();
        }
    }

    /// Lets the worker sleep in `block`, which ends when the descriptor that it is given can be read from; not at all unless there is
    /// `nothing_to_do`. For the worker alone.
    pub(crate) fn sleep(&self, nothing_to_do: impl Fn() -> bool, block: impl FnOnce(BorrowedFd<'_>)) {
        self.sleep_on(nothing_to_do, |wire| block(wire.event.as_fd()));
    }

    fn sleep_on(&self, nothing_to_do: impl Fn() -> bool, block: impl FnOnce(&Wire)) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if nothing_to_do() {
            block(&self.wire);
            // Always: the signal may be of a ringer that was late for the sleep before this one, and would end every sleep to come.
            self.wire.clear();
        }
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// An event of the kernel that is either signalled or not.
#[derive(Debug)]
struct Wire {
    event: OwnedFd,
    /// What the kernel does, for models.
    #[cfg(loom)]
    model: (Mutex<bool>, loom::sync::Condvar),
}

impl Wire {
    fn new() -> io::Result<Self> {
        // SAFETY: takes two numbers and returns a descriptor or -1.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if event < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the descriptor was made just now and is nobody else's.
            event: unsafe { OwnedFd::from_raw_fd(event) },
            #[cfg(loom)]
            model: (Mutex::new(false), loom::sync::Condvar::new()),
        })
    }

    fn signal(&self) {
        #[cfg(loom)]
        {
            *self.model.0.lock().expect("no panic under it") = true;
            self.model.1.notify_one();
        }
        let one = 1_u64.to_ne_bytes();
        // SAFETY: the kernel reads eight octets, which are there. It can only refuse when the count is full, and is signalled then.
        let _ = unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn clear(&self) {
        #[cfg(loom)]
        {
            *self.model.0.lock().expect("no panic under it") = false;
        }
        let mut count = [0_u8; 8];
        // SAFETY: the kernel writes eight octets, for which there is room. Nothing to read is no failure: it does not block.
        let _ = unsafe { libc::read(self.event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

#[cfg(test)]
mod tests;
