use tower_api_key::limit::{Ask, Limits, Subject};

/// A subject with an id of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnedSubject {
    kind: &'static str,
    id: Box<str>,
}

impl OwnedSubject {
    pub(crate) fn new(subject: Subject<'_>) -> Self {
        Self { kind: subject.kind(), id: subject.id().into() }
    }

    pub(crate) fn borrow(&self) -> Subject<'_> {
        match self.kind {
            "key" => Subject::Key(&self.id),
            "peer" => Subject::Peer(&self.id),
            _ => Subject::Client(&self.id),
        }
    }
}

/// An ask without borrowed parts.
pub(crate) struct OwnedAsk {
    pub(crate) subject: OwnedSubject,
    pub(crate) limits: Limits,
    pub(crate) cost: u32,
    pub(crate) wants_state: bool,
}

impl OwnedAsk {
    pub(crate) fn new(ask: &Ask<'_>) -> Self {
        Self {
            subject: OwnedSubject::new(ask.subject()),
            limits: ask.limits().clone(),
            cost: ask.cost(),
            wants_state: ask.wants_state(),
        }
    }

    pub(crate) fn borrow(&self) -> Ask<'_> {
        let ask = Ask::new(self.subject.borrow(), &self.limits).with_cost(self.cost);
        if self.wants_state { ask.with_state() } else { ask }
    }
}
