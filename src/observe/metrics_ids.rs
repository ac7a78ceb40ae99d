use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::SharedString;

/// The first so many different ids that came, each shared by all its labels.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: papaya::HashSet<Arc<str>>,
    /// Counted before an id is added, so that there are never more, whoever adds meanwhile.
    taken: AtomicUsize,
}

impl Ids {
    pub(super) const OTHER: &str = "_other";

    pub(super) fn label(&self, id: &str, most: usize) -> SharedString {
        let apart = is_other(id).then(|| format!("_{id}"));
        let id = apart.as_deref().unwrap_or(id);
        let known = self.known.pin();
        if let Some(id) = known.get(id) {
            return Arc::clone(id).into();
        }
        let one_more = |taken| (taken < most).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Self::OTHER.into();
        }
        let id: Arc<str> = id.into();
        if !known.insert(Arc::clone(&id)) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        id.into()
    }
}

/// Whether an id reads as the label of all further ones does, or as one that was told apart from it.
fn is_other(id: &str) -> bool {
    id.starts_with('_') && id.trim_start_matches('_') == "other"
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn there_are_never_more_however_many_threads_bring_some() {
        let ids = Ids::default();
        let seen: HashSet<String> = thread::scope(|scope| {
            let bring = || {
                let ids = (0..200).map(|id| ids.label(&id.to_string(), 50).to_string());
                ids.collect::<HashSet<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(bring)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((ids.known.len(), ids.taken.into_inner()), (50, 50));
        assert_eq!(seen.len(), 51);
        assert!(seen.contains(Ids::OTHER));
    }
}
