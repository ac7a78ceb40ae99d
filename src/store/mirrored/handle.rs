use super::{MirroredEvent, Shared};
use crate::store::{Change, Changed, StoreError, StoreErrorKind, changes, key_change::Own};

impl Shared {
    /// Commits a change and applies it to memory.
    pub(in crate::store) async fn commit(&self, change: Change) -> Result<Changed, StoreError> {
        let own_change = self.mirror.begin();
        let own = Own { by: change.by(), reason: change.reason() };
        let result = changes::commit(&*self.store, change.clone()).await;
        match &result {
            Ok(changed) => own_change.apply(changed, own),
            Err(error) if error.kind() == StoreErrorKind::OutcomeUnknown => {
                let rejected = own_change.revoke(&change, own);
                let error = error.clone();
                self.mirror.emit(&MirroredEvent::OutcomeUnknown { error, rejected });
            }
            Err(_) => {}
        }
        result
    }
}
