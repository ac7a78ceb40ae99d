use super::{AtOnce, PresentedKey, Verification, Verify, verification::sealed::Absurd as _};
use crate::rejection::Reason;

/// A verifier that asks a second one about unknown keys. Created by [`Verify::or`].
#[derive(Clone, Debug)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B> Or<A, B> {
    pub(super) fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A, B> Verify for Or<A, B>
where
    A: Verify<Future: AtOnce>,
    B: Verify<Client = A::Client>,
{
    type Client = A::Client;
    type Future = B::Future;

    fn verify(&self, key: &PresentedKey<'_>) -> Verification<Self::Client, Self::Future> {
        match self.first.verify(key) {
            Verification::Ready(Err(error)) if error.reason() == Reason::Unknown => {
                self.second.verify(key)
            }
            Verification::Ready(result) => result.into(),
            Verification::Pending(never) => never.absurd(),
        }
    }
}
