use std::hint::black_box;

use super::{Keyring, index::Slot};
use crate::{
    key::KeyId,
    rejection::Reason,
    verify::{Never, PresentedKey, Verification, Verify, VerifyError},
};

impl<C: Clone + Send + Sync + 'static> Verify for Keyring<C> {
    type Client = C;
    type Future = Never<C>;

    #[inline]
    fn verify(&self, key: &PresentedKey<'_>) -> Verification<C> {
        self.look_up(key).into()
    }
}

impl<C: Clone + Send + Sync + 'static> Keyring<C> {
    fn look_up(&self, key: &PresentedKey<'_>) -> Result<C, VerifyError> {
        if !self.shared.formats.is_empty() && self.check_form(key.expose()).is_err() {
            return Err(VerifyError::unknown());
        }
        let digest = key.digest();
        let keys = self.shared.keys.pin();
        let found = keys.get_key_value(&Slot::of(&digest));
        // From here on all rejections take the same steps, except for those of the clock. So an unknown
        // key is a dummy with a validity of its own. `benches/counts/run equal` counts the steps.
        let (dummy_digest, dummy) = &self.shared.dummy;
        let (stored, id, validity) = match found {
            Some((stored, key)) => (stored, key.id, &key.entry.validity),
            None => (dummy_digest, KeyId::NONE, dummy),
        };
        let is_it = digest == *stored;
        // The compiler cannot see through the box, and otherwise skips these steps for an unknown key.
        let unknown = Some(Reason::Unknown);
        let cases = black_box([unknown, validity.rejects(|| self.now().into())]);
        let reason = cases.get(usize::from(is_it)).copied().unwrap_or(unknown);
        let id = id.or_none(is_it);
        match (reason, found) {
            (None, Some((_, key))) => Ok(key.entry.client.clone()),
            (reason, _) => Err(VerifyError::new(reason.unwrap_or(Reason::Unknown), id)),
        }
    }
}
