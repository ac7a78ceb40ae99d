use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::SharedString;

/// The first ids that occurred, up to a limit. All labels of an id share its text.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: papaya::HashSet<Arc<str>>,
    /// Counted before an id is added, so that threads that add at the same time never exceed the limit.
    count: AtomicUsize,
}

impl Ids {
    pub(super) const OTHER: &str = "_other";

    pub(super) fn label(&self, id: &str, max: usize) -> SharedString {
        let escaped = is_other(id).then(|| format!("_{id}"));
        let id = escaped.as_deref().unwrap_or(id);
        let known = self.known.pin();
        if let Some(id) = known.get(id) {
            return Arc::clone(id).into();
        }
        let one_more = |count| (count < max).then_some(count + 1);
        if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Self::OTHER.into();
        }
        let id: Arc<str> = id.into();
        if !known.insert(Arc::clone(&id)) {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        id.into()
    }
}

/// Returns whether an id equals the label of all further ids, with any number of underscores.
fn is_other(id: &str) -> bool {
    id.starts_with('_') && id.trim_start_matches('_') == "other"
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn threads_never_exceed_the_limit() {
        let ids = Ids::default();
        let seen: HashSet<String> = thread::scope(|scope| {
            let add = || {
                let ids = (0..200).map(|id| ids.label(&id.to_string(), 50).to_string());
                ids.collect::<HashSet<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(add)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((ids.known.len(), ids.count.into_inner()), (50, 50));
        assert_eq!(seen.len(), 51);
        assert!(seen.contains(Ids::OTHER));
    }
}
