use std::sync::Once;

use metrics::{Label, Unit, counter, describe_counter, describe_histogram, histogram};

use super::{Decision, Observe, metrics_ids::Ids};
use crate::{
    client::Identity,
    rejection::{Reason, Rejection},
};

/// Counts decisions with the facade `metrics`, with the feature `metrics`.
///
/// Any recorder of that facade works, such as `metrics-exporter-prometheus`. Install the recorder before the
/// first request. Names and units follow the advice of Prometheus.
///
/// ```
/// use tower_api_key::{ApiKeyLayer, Keyring, extract::header, observe::Metrics};
///
/// let keys = Keyring::single("12345abcde")?;
/// let layer = ApiKeyLayer::new(header("x-api-key"), keys)
///     .observe(Metrics::new().by_client().by_key_id());
/// # Ok::<(), tower_api_key::error::KeyringError>(())
/// ```
///
/// | metric | type | labels |
/// |---|---|---|
/// | [`api_key_requests_total`](Self::REQUESTS_TOTAL) | counter of decisions, one for each request | `outcome`, `reason`, `location`, and `client` and `key_id` if you ask for them |
/// | [`api_key_guard_rejections_total`](Self::GUARD_REJECTIONS_TOTAL) | counter of rejections by guards | `outcome`, `reason`, `limit`, and `client` and `key_id` if you ask for them |
/// | [`api_key_verify_duration_seconds`](Self::VERIFY_DURATION_SECONDS) | histogram of the verifier's time, if you ask for [`latency`](Self::latency) | `outcome`, `reason` |
///
/// | label | value | present for |
/// |---|---|---|
/// | `outcome` | [`Outcome::as_str`](super::Outcome::as_str) | all |
/// | `reason` | [`Reason::as_str`] | rejections |
/// | `guard` | [`Rejection::guard`] | rejections by guards that set their name |
/// | `location` | kind and name, such as `header x-api-key` | requests with a key |
/// | `limit` | the first of [`Rejection::violated_limits`] | rejections by a limit with a name |
/// | `client` | [`Identity::id`] | accepted requests, and rejections by guards |
/// | `key_id` | public id of the key | keys whose id is known |
///
/// A label without a value is left out. Prometheus treats that as an empty label.
///
/// A request that a guard inside the layer rejects is in both counters. `api_key_requests_total` counts it
/// once, as `accepted`, because authentication succeeded. A request that a guard outside rejects, such as
/// `FailureLimitLayer`, never reaches the layer. It is in `api_key_guard_rejections_total` alone.
///
/// If the request has no client, the first counter has it as `anonymous`, `reported` or `exempt`. If the guard
/// then calls [`Anonymous::reject`](crate::Anonymous::reject), the second counter has it as `rejected` with the
/// reason of the layer, such as `missing`.
///
/// # Cardinality
///
/// No label holds text from the caller, because locations and limits are configured and an unknown key has no
/// id. There are at most 7 outcomes, 19 reasons, and as many locations as the layer has. The first 1,000 clients and the
/// first 1,000 ids get a label each, and all further ones share `_other`. If an id itself reads `_other`, its
/// label has one more underscore. [`max_ids`](Self::max_ids) sets another limit. The limit applies to one
/// `Metrics`. Share it in an `Arc` if several layers share the limit.
///
/// # Example: questions for Prometheus
///
/// ```promql
/// # Is the old key unused, so that its overlap may end?
/// sum by (key_id) (increase(api_key_requests_total{client="mobile-app"}[1d]))
/// # Which clients still send keys in the URL?
/// sum by (client) (rate(api_key_requests_total{location=~"query .*"}[1h]))
/// # Does an attacker guess keys? Is the store down?
/// sum by (reason) (rate(api_key_requests_total{outcome="rejected"}[5m]))
/// # Which clients exceed which limits?
/// sum by (client, limit) (rate(api_key_guard_rejections_total{outcome="limited"}[5m]))
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
    /// The name of the counter of decisions.
    pub const REQUESTS_TOTAL: &'static str = "api_key_requests_total";

    /// The name of the counter of rejections by guards.
    pub const GUARD_REJECTIONS_TOTAL: &'static str = "api_key_guard_rejections_total";

    /// The name of the histogram, for the configuration of its buckets.
    pub const VERIFY_DURATION_SECONDS: &'static str = "api_key_verify_duration_seconds";

    /// Counts by outcome, reason and location.
    pub fn new() -> Self {
        Self { clients: None, keys: None, max_ids: 1000, latency: false, described: Once::new() }
    }

    /// Counts by client as well.
    pub fn by_client(self) -> Self {
        Self { clients: Some(Ids::default()), ..self }
    }

    /// Counts by the public id of the key as well.
    ///
    /// Use it to see that an old key is unused before its overlap ends, or that a client still sends a
    /// revoked key.
    pub fn by_key_id(self) -> Self {
        Self { keys: Some(Ids::default()), ..self }
    }

    /// Sets how many clients, and how many keys, get a label of their own. The default is 1,000.
    pub fn max_ids(self, max_ids: usize) -> Self {
        Self { max_ids, ..self }
    }

    /// Measures the time from the arrival of the request to the decision, if the verifier was asked.
    ///
    /// Use it for an asynchronous verifier. A [`Keyring`](crate::Keyring) answers within a microsecond.
    pub fn latency(self) -> Self {
        Self { latency: true, ..self }
    }

    /// Describes the metrics, at the first event, because the recorder may be installed late.
    fn describe_once(&self) {
        self.described.call_once(|| {
            describe_counter!(
                Self::REQUESTS_TOTAL,
                Unit::Count,
                "Requests, by what was decided about their API key."
            );
            describe_counter!(
                Self::GUARD_REJECTIONS_TOTAL,
                Unit::Count,
                "Rejections by guards beside the verification of API keys."
            );
            if self.latency {
                describe_histogram!(
                    Self::VERIFY_DURATION_SECONDS,
                    Unit::Seconds,
                    "How long it took to verify an API key."
                );
            }
        });
    }

    fn push_ids<C: Identity>(&self, labels: &mut Vec<Label>, decision: &Decision<'_, C>) {
        for (name, ids, id) in [
            ("client", &self.clients, decision.client().map(C::id)),
            ("key_id", &self.keys, decision.key_id()),
        ] {
            if let (Some(ids), Some(id)) = (ids, id) {
                labels.push(Label::new(name, ids.label(id, self.max_ids)));
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The labels that every metric has.
fn labels_of<C>(decision: &Decision<'_, C>) -> Vec<Label> {
    let reason = decision.rejection().map(|rejection| rejection.reason().as_str());
    let guard = decision.rejection().and_then(Rejection::guard);
    let outcome = Label::from_static_parts("outcome", decision.outcome().as_str());
    let reason = reason.map(|reason| Label::from_static_parts("reason", reason));
    let guard = guard.map(|guard| Label::from_static_parts("guard", guard));
    [outcome].into_iter().chain(reason).chain(guard).collect()
}

impl<C: Identity> Observe<C> for Metrics {
    fn on_decision(&self, decision: &Decision<'_, C>) {
        self.describe_once();
        let mut labels = labels_of(decision);
        let reason = decision.rejection().map(Rejection::reason);
        if self.latency && (decision.client().is_some() || reason.is_some_and(is_of_a_verifier)) {
            let histogram = histogram!(Self::VERIFY_DURATION_SECONDS, labels.clone());
            histogram.record(decision.elapsed());
        }
        labels.extend(decision.location().map(|location| {
            Label::new("location", format!("{} {}", location.kind().as_str(), location.name()))
        }));
        self.push_ids(&mut labels, decision);
        counter!(Self::REQUESTS_TOTAL, labels).increment(1);
    }

    fn on_guard(&self, decision: &Decision<'_, C>) {
        self.describe_once();
        let mut labels = labels_of(decision);
        let limit = decision.rejection().and_then(|it| it.violated_limits().next());
        labels.extend(limit.map(|name| Label::new("limit", name.to_owned())));
        self.push_ids(&mut labels, decision);
        counter!(Self::GUARD_REJECTIONS_TOTAL, labels).increment(1);
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
        | Reason::InsufficientScope
        | Reason::Forbidden
        | Reason::Limited
        | Reason::CostAboveLimit
        | Reason::TooManyFailures => false,
        Reason::Unknown
        | Reason::SchemeInHeader
        | Reason::NotYetValid
        | Reason::Expired
        | Reason::Revoked
        | Reason::Paused
        | Reason::Failed => true,
    }
}
