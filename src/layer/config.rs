use std::{fmt, sync::Arc};

use super::{conditions::Conditions, locations::Locations, vary::Vary};
use crate::{
    error::ConfigError, extract::Extract, key::DEFAULT_MAX_LEN, respond::RejectionWriter,
    verify::Verify,
};

/// The configuration of a layer, which all its services share.
///
/// Each part has its own pointer, because derived layers share parts even without `Clone`.
pub(super) struct Config<E, V, O> {
    pub(super) extract: Arc<E>,
    pub(super) verify: Arc<V>,
    pub(super) observe: Arc<O>,
    pub(super) settings: Arc<Settings>,
}

/// The settings apart from extractor, verifier and observer.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) locations: Locations,
    pub(super) conditions: Conditions,
    pub(super) optional: bool,
    pub(super) max_key_len: usize,
    pub(super) report_only: bool,
    pub(super) cache_headers: bool,
    pub(super) vary: Vary,
    pub(super) writer: RejectionWriter,
}

impl<E: Extract, V: Verify> Config<E, V, ()> {
    pub(super) fn new(extract: E, verify: V) -> Result<Self, ConfigError> {
        let locations = Locations::new(extract.locations())?;
        let settings = Arc::new(Settings {
            conditions: Conditions::default(),
            optional: false,
            max_key_len: DEFAULT_MAX_LEN,
            report_only: false,
            cache_headers: true,
            vary: Vary::new(locations.list()),
            writer: RejectionWriter::new(locations.list()),
            locations,
        });
        let (extract, verify) = (Arc::new(extract), Arc::new(verify));
        Ok(Self { extract, verify, observe: Arc::new(()), settings })
    }
}

impl Settings {
    pub(super) fn writer_mut(&mut self) -> &mut RejectionWriter {
        &mut self.writer
    }

    pub(super) fn set_realm(&mut self, realm: String) {
        self.writer.set_realm(self.locations.list(), realm);
    }
}

impl<E, V, O> Config<E, V, O> {
    pub(super) fn with_observer<O2>(&self, observe: O2) -> Config<E, V, O2> {
        Config {
            extract: Arc::clone(&self.extract),
            verify: Arc::clone(&self.verify),
            observe: Arc::new(observe),
            settings: Arc::clone(&self.settings),
        }
    }

    /// Shows the settings, because no setting can hold a key.
    pub(super) fn fmt(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &*self.settings;
        let mut shown = f.debug_struct(name);
        if settings.report_only {
            shown.field("DANGEROUS_report_only", &true);
        }
        let conditions = &settings.conditions;
        shown
            .field("locations", &settings.locations.list())
            .field("realm", &settings.writer.realm())
            .field("optional", &settings.optional)
            .field("exempt_paths", &conditions.exempt_paths)
            .field("exempt_if", &conditions.exempt_if.len())
            .field("require_secure", &!conditions.secure_if.is_empty())
            .field("pass_preflight", &conditions.pass_preflight)
            .field("forward_key", &settings.locations.forward_key)
            .field("max_key_len", &settings.max_key_len)
            .field("cache_headers", &settings.cache_headers)
            .field("retry_after", &settings.writer.retry_after())
            .finish_non_exhaustive()
    }
}

impl<E, V, O> Clone for Config<E, V, O> {
    fn clone(&self) -> Self {
        Self {
            extract: Arc::clone(&self.extract),
            verify: Arc::clone(&self.verify),
            observe: Arc::clone(&self.observe),
            settings: Arc::clone(&self.settings),
        }
    }
}
