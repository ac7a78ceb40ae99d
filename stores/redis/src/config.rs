use std::time::Duration;

use crate::{address::Address, fallback::OnFailure};

/// The settings of a store.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) address: Address,
    pub(crate) prefix: String,
    pub(crate) deadline: Duration,
    pub(crate) on_failure: OnFailure,
}
