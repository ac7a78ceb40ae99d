use super::{Answer, Presented, Refusal, Verify};
use crate::rejection::Reason;

/// Two verifiers, one after the other. Made by [`Verify::or`].
#[derive(Clone, Debug)]
pub struct Or<A, B> {
    first: A,
    next: B,
}

impl<A, B> Or<A, B> {
    pub(super) fn new(first: A, next: B) -> Self {
        Self { first, next }
    }
}

impl<A, B, C> Verify for Or<A, B>
where
    A: Verify<Answer = Result<C, Refusal>>,
    B: Verify,
    B::Answer: Answer<Client = C>,
    C: Clone + Send + Sync + 'static,
{
    type Answer = B::Answer;

    fn verify(&self, key: Presented<'_>) -> B::Answer {
        match self.first.verify(key) {
            Err(refusal) if refusal.reason() == Reason::Unknown => self.next.verify(key),
            answer => Answer::at_once(answer),
        }
    }
}
