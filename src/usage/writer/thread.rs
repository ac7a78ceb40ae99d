//! Runs the background work of a writer in a thread, without a runtime.

use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Instant,
};

use super::{Driver, UsageSink};

/// The time at which the thread wakes up by itself.
type Deadline = Arc<Mutex<Option<Instant>>>;

pub(super) fn spawn<S: UsageSink>(driver: Driver<S>) -> io::Result<()> {
    let run = move || {
        let deadline = Deadline::default();
        let sleep =
            |duration| Alarm { at: Instant::now() + duration, deadline: Arc::clone(&deadline) };
        block_on(driver.run(sleep), &deadline);
    };
    thread::Builder::new().name("usage".to_owned()).spawn(run).map(drop)
}

/// Waits until a time. A thread waits for one alarm at a time.
struct Alarm {
    at: Instant,
    deadline: Deadline,
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let is_over = Instant::now() >= self.at;
        set(&self.deadline, (!is_over).then_some(self.at));
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        set(&self.deadline, None);
    }
}

fn set(deadline: &Deadline, at: Option<Instant>) {
    *deadline.lock().unwrap_or_else(PoisonError::into_inner) = at;
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(future: impl Future<Output = ()>, deadline: &Deadline) {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    while future.as_mut().poll(&mut cx).is_pending() {
        let at = *deadline.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            Some(at) => thread::park_timeout(at.saturating_duration_since(Instant::now())),
            None => thread::park(),
        }
    }
}
