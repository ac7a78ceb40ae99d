use super::{Ask, Taking};

/// A store of counters, for a limit that several processes share.
///
/// A counter belongs to the kind and the id of the subject, to the name of the limit, and to its kind of window. Give
/// a store to [`Limiter::new`](super::Limiter::new).
///
/// # Example: a store that is always down
///
/// ```
/// use tower_api_key::limit::{Ask, LimitStore, Limiter, Taken, Taking};
///
/// struct Down;
///
/// impl LimitStore for Down {
///     fn take(&self, _: &Ask<'_>) -> Taking {
///         Taking::Pending(Box::pin(async { Taken::failed() }))
///     }
///
///     fn refund(&self, _: &Ask<'_>) {}
/// }
///
/// let limiter = Limiter::new(Down);
/// # let _ = limiter;
/// ```
pub trait LimitStore: Send + Sync + 'static {
    /// Takes the cost from each limit, if each limit allows it.
    ///
    /// Otherwise it changes no counter. If the cost is 0, it changes none either, and the result is
    /// [`Taken::passed`](super::Taken::passed). If the ask wants the state, the result has the state of each
    /// limit. If the store does not answer, the result is [`Taken::failed`](super::Taken::failed).
    fn take(&self, ask: &Ask<'_>) -> Taking;

    /// Gives the cost of an earlier take back to each limit.
    ///
    /// A counter is the time at which its limit is full again. Move it back by
    /// [`ask.refund_of(index)`](Ask::refund_of), so that a part that time returned is not returned twice. A limit
    /// never holds more than its burst.
    ///
    /// If the limit is a [calendar window](super::Limit::calendar), subtract the cost from its count, unless the
    /// take was [so long ago](Ask::age) that it was in an earlier window.
    ///
    /// This must not wait. If the store is remote, send the refund in the
    /// background.
    fn refund(&self, ask: &Ask<'_>);
}
