use std::sync::Once;

use metrics::{Label, Unit, counter, describe_counter, describe_histogram, histogram};

use super::{Decision, Observe, metrics_ids::Ids};
use crate::{client::Identity, rejection::Reason};

/// Counts decisions with the facade `metrics`, with the feature `metrics`.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::Metrics};
///
/// let keys = Keyring::single("12345abcde")?;
/// let layer = ApiKeyLayer::new(header("x-api-key"), keys)
///     .observe(Metrics::new().by_client().by_key_id());
/// # Ok::<(), tower_api_key::error::ConfigError>(())
/// ```
///
/// Any recorder of that facade takes them, such as `metrics-exporter-prometheus`; it should be installed
/// before the first request. Names and units are those that Prometheus recommends.
///
/// | metric | is | labels |
/// |---|---|---|
/// | [`api_key_requests_total`](Self::REQUESTS_TOTAL) | counter: one for every request that was decided | `outcome`, `reason`, `place`; `client` and `key_id` where asked for |
/// | [`api_key_verify_duration_seconds`](Self::VERIFY_DURATION_SECONDS) | histogram, where [`latency`](Self::latency) is asked for: how long the verifier took | `outcome`, `reason` |
///
/// | label | holds | on |
/// |---|---|---|
/// | `outcome` | [`Outcome::as_str`](super::Outcome::as_str) | all |
/// | `reason` | [`Reason::as_str`] | rejected and reported ones |
/// | `place` | where the key stood, such as `header x-api-key` | those with a key |
/// | `client` | [`Identity::id`] | accepted ones |
/// | `key_id` | the key's public id | those with a key whose id is known |
///
/// A label that has nothing to hold is left out, which is the same to Prometheus as an empty one.
///
/// # Cardinality
///
/// No label holds what a caller wrote: a place is a configured one, and an unknown key has no id. There
/// are at most 5 outcomes, 13 reasons and as many places as the layer has. (`insufficient_scope` is not
/// among them: a [`RequireScopeLayer`](crate::RequireScopeLayer) has no observer.) Ids are bounded: the
/// first 1,000 different ones of each kind that are seen get a label of their own, and all further ones
/// share `_other`. (If an id itself reads `_other`, its label has one more underscore.)
/// [`max_ids`](Self::max_ids) sets another bound. It is counted in this value, which is to be shared, as
/// `Arc<Metrics>`, by layers that are to have one bound together.
///
/// # Questions it answers
///
/// ```promql
/// # Is the old key silent, so that its overlap may end?
/// sum by (key_id) (increase(api_key_requests_total{client="mobile-app"}[1d]))
/// # Who is still sending keys in the URL?
/// sum by (client) (rate(api_key_requests_total{place=~"query .*"}[1h]))
/// # Is somebody guessing? Is the store down?
/// sum by (reason) (rate(api_key_requests_total{outcome="rejected"}[5m]))
/// ```
#[derive(Debug)]
#[must_use]
pub struct Metrics {
    clients: Option<Ids>,
    keys: Option<Ids>,
    max_ids: usize,
    latency: bool,
    described: Once,
}

impl Metrics {
    /// The counter's name.
    pub const REQUESTS_TOTAL: &'static str = "api_key_requests_total";

    /// The histogram's name, to give it buckets.
    pub const VERIFY_DURATION_SECONDS: &'static str = "api_key_verify_duration_seconds";

    /// Counts by outcome, reason and place.
    pub fn new() -> Self {
        Self { clients: None, keys: None, max_ids: 1000, latency: false, described: Once::new() }
    }

    /// Counts by client as well.
    pub fn by_client(self) -> Self {
        Self { clients: Some(Ids::default()), ..self }
    }

    /// Counts by the key's public id as well: an old key can be seen to fall silent before its overlap
    /// ends, and a revoked one to be used still.
    pub fn by_key_id(self) -> Self {
        Self { keys: Some(Ids::default()), ..self }
    }

    /// Gives a label of its own to at most so many different clients, and to as many keys. By default
    /// 1,000.
    pub fn max_ids(self, max_ids: usize) -> Self {
        Self { max_ids, ..self }
    }

    /// Measures how long the verifier takes, from the request's arrival to the decision: worth it where
    /// that is asynchronous, since a [`Keyring`](crate::Keyring) answers within a microsecond. Requests
    /// for which no verifier was asked are left out.
    pub fn latency(self) -> Self {
        Self { latency: true, ..self }
    }

    fn describe(&self) {
        describe_counter!(
            Self::REQUESTS_TOTAL,
            Unit::Count,
            "Requests, by what was decided about their API key."
        );
        if self.latency {
            describe_histogram!(
                Self::VERIFY_DURATION_SECONDS,
                Unit::Seconds,
                "How long it took to verify an API key."
            );
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Identity> Observe<C> for Metrics {
    fn decided(&self, event: &Decision<'_, C>) {
        // Not sooner, when the recorder may not be there yet.
        self.described.call_once(|| self.describe());

        let reason = event.rejection().map(|rejection| rejection.reason());
        let mut labels = vec![Label::from_static_parts("outcome", event.outcome().as_str())];
        labels.extend(reason.map(|reason| Label::from_static_parts("reason", reason.as_str())));
        if self.latency && (event.client().is_some() || reason.is_some_and(is_of_a_verifier)) {
            histogram!(Self::VERIFY_DURATION_SECONDS, labels.clone()).record(event.elapsed());
        }
        labels.extend(event.place().map(|place| {
            Label::new("place", format!("{} {}", place.kind().as_str(), place.name()))
        }));
        for (name, ids, id) in [
            ("client", &self.clients, event.client().map(C::id)),
            ("key_id", &self.keys, event.key_id()),
        ] {
            if let (Some(ids), Some(id)) = (ids, id) {
                labels.push(Label::new(name, ids.label(id, self.max_ids)));
            }
        }
        counter!(Self::REQUESTS_TOTAL, labels).increment(1);
    }
}

fn is_of_a_verifier(reason: Reason) -> bool {
    match reason {
        Reason::Missing
        | Reason::NoScheme
        | Reason::OtherScheme
        | Reason::Ambiguous
        | Reason::Malformed
        | Reason::TooLong
        | Reason::Insecure
        | Reason::InsufficientScope => false,
        Reason::Unknown
        | Reason::SchemeInHeader
        | Reason::NotYetValid
        | Reason::Expired
        | Reason::Revoked
        | Reason::Failed => true,
    }
}
