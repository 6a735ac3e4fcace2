//! The operation: one thing to wait for, in a thread or in a task.
//!
//! Invariants
//! - The call that returned the operation has started its effect; waiting only watches it, dropping the
//!   operation only stops watching.
//! - An operation whose time ran out is unchanged and can be waited for again.
//! - The result is given once; who asks again gets an error, not a panic.
//!
//! ```text
//!   started -- poll: Pending --> started          (wait_timeout may give up and be called again)
//!      +------ poll: Ready ----> result given     (then InvalidArgument)
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The environment's monotonic clock, as operations carry it.
pub(crate) type Now = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Gives a type that is a `Future<Output = Result<T>> + Unpin` the two verbs for threads, so that they need
/// no trait in scope. The expression over `this: &Self` gives the clock, an `Fn() -> Duration` that does not
/// borrow from `this`:
///
/// ```text
/// waitable!(impl[] Delivery, |this| { let clock = Arc::clone(&this.clock); move || clock.monotonic() });
/// ```
macro_rules! waitable {
    (impl[$($generics:tt)*] $operation:ty, |$this:ident| $now:expr) => {
        impl<$($generics)*> $operation {
            /// Waits in this thread until the operation has finished. No runtime is needed; in a task
            /// `.await` it instead.
            ///
            /// # Errors
            /// Those of the operation.
            pub fn wait(mut self) -> <Self as ::std::future::Future>::Output {
                $crate::sync::block_on(&mut self)
            }

            /// Waits in this thread until the operation has finished, for at most `timeout`.
            ///
            /// # Errors
            /// `TimedOut` if it has not; it goes on, and can be waited for again. Else those of the operation.
            pub fn wait_timeout(
                &mut self,
                timeout: ::std::time::Duration,
            ) -> <Self as ::std::future::Future>::Output {
                let now = {
                    let $this = &*self;
                    $now
                };
                match $crate::sync::block_on_for(self, timeout, &now) {
                    Some(result) => result,
                    None => Err($crate::sync::timed_out(timeout)),
                }
            }
        }
    };
}

/// The error of a wait that took too long.
#[cold]
pub(crate) fn timed_out(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!("not finished after {timeout:?}; it goes on and can be waited for again"),
    )
}

/// Something that was started and finishes later: wait for it in a thread, or await it in a task.
///
/// Dropping an operation only stops waiting; what it stands for goes on.
///
/// ```
/// use millpond::{ErrorKind, Operation};
/// use std::time::Duration;
///
/// fn flush() -> Operation<u64> {
///     Operation::finished(Ok(7)) // as a call of this library would return it
/// }
///
/// // In a thread:
/// assert_eq!(flush().wait()?, 7);
///
/// // In a thread that has something else to do meanwhile:
/// let mut flushing = flush();
/// loop {
///     match flushing.wait_timeout(Duration::from_millis(10)) {
///         Err(error) if error.kind() == ErrorKind::TimedOut => { /* something else; then wait again */ }
///         result => break assert_eq!(result?, 7),
///     }
/// }
///
/// // In a task:
/// async fn task() -> millpond::Result<u64> {
///     flush().await
/// }
/// # drop(task());
/// # Ok::<(), millpond::Error>(())
/// ```
#[must_use = "whether an operation succeeded is known only to who waits for it"]
pub struct Operation<T> {
    /// `None` once the result was given.
    poll: Option<PollResult<T>>,
    now: Now,
}

type PollResult<T> = Box<dyn FnMut(&mut Context<'_>) -> Poll<Result<T>> + Send>;

impl<T> Operation<T> {
    /// An operation that is watched by `poll` and timed by `now`. `poll` is not called again after it has
    /// answered `Ready`, and is dropped then.
    pub(crate) fn new(
        now: Now,
        poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T>> + Send + 'static,
    ) -> Operation<T> {
        Operation { poll: Some(Box::new(poll)), now }
    }

    /// An operation that has already finished, for tests and for wrappers of this library.
    ///
    /// ```
    /// use millpond::Operation;
    /// assert_eq!(Operation::finished(Ok("flushed")).wait()?, "flushed");
    /// # Ok::<(), millpond::Error>(())
    /// ```
    pub fn finished(result: Result<T>) -> Operation<T>
    where
        T: Send + 'static,
    {
        let mut ready = std::future::ready(result);
        Operation::new(Arc::new(|| Duration::ZERO), move |context| Pin::new(&mut ready).poll(context))
    }
}

waitable!(impl[T] Operation<T>, |this| {
    let now = Arc::clone(&this.now);
    move || now()
});

impl<T> Future for Operation<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(poll) = &mut self.poll else {
            return Poll::Ready(Err(Error::invalid_argument(
                "the result of this operation was already given",
            )));
        };
        let result = poll(context);
        if result.is_ready() {
            self.poll = None;
        }
        result
    }
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("result_given", &self.poll.is_none()).finish_non_exhaustive()
    }
}
