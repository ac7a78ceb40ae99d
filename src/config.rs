use std::{fmt, sync::Arc};

use crate::{error::ConfigError, extract::Extract, policy::Policy, verify::Verify};

/// All that a layer was told. Its services share one; its parts are shared by the layers that are
/// made from it, whether or not they are `Clone`.
pub(crate) struct Config<E, V, O> {
    pub(crate) extract: Arc<E>,
    pub(crate) verify: Arc<V>,
    pub(crate) observe: Arc<O>,
    pub(crate) policy: Arc<Policy>,
}

impl<E: Extract, V: Verify> Config<E, V, ()> {
    pub(crate) fn new(extract: E, verify: V) -> Result<Self, ConfigError> {
        let policy = Arc::new(Policy::new(extract.places())?);
        let (extract, verify) = (Arc::new(extract), Arc::new(verify));
        Ok(Self { extract, verify, observe: Arc::new(()), policy })
    }
}

impl<E, V, O> Config<E, V, O> {
    pub(crate) fn observed_by<O2>(&self, observe: O2) -> Config<E, V, O2> {
        Config {
            extract: Arc::clone(&self.extract),
            verify: Arc::clone(&self.verify),
            observe: Arc::new(observe),
            policy: Arc::clone(&self.policy),
        }
    }

    /// What was configured, and nothing that could hold a key.
    pub(crate) fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &*self.policy;
        let mut shown = f.debug_struct(name);
        if policy.report_only {
            shown.field("DANGEROUS_report_only", &true);
        }
        shown
            .field("places", &policy.places)
            .field("realm", &policy.realm)
            .field("optional", &policy.optional)
            .field("exempt_paths", &policy.exempt_paths)
            .field("exempt_if", &policy.exempt_if.len())
            .field("require_secure", &!policy.secure_if.is_empty())
            .field("pass_preflight", &policy.pass_preflight)
            .field("forward_key", &policy.forward_key)
            .field("max_key_len", &policy.max_key_len)
            .field("cache_headers", &policy.cache_headers)
            .field("retry_after", &policy.retry_after)
            .finish_non_exhaustive()
    }
}

impl<E, V, O> Clone for Config<E, V, O> {
    fn clone(&self) -> Self {
        Self {
            extract: Arc::clone(&self.extract),
            verify: Arc::clone(&self.verify),
            observe: Arc::clone(&self.observe),
            policy: Arc::clone(&self.policy),
        }
    }
}
