use std::sync::LazyLock;

use redis::{Arg, Cmd, Script, Value};
use tower_api_key::limit::{Ask, Limits};

use crate::{
    counted::{Counted, interval, refill, units},
    key::{keys, kind},
};

/// Takes the cost from all limits, or from none.
pub(crate) static TAKE: LazyLock<Source> = LazyLock::new(|| {
    Source::new(concat!(include_str!("lua/counters.lua"), include_str!("lua/take.lua")))
});

/// Gives the cost of a take back.
pub(crate) static REFUND: LazyLock<Source> = LazyLock::new(|| {
    Source::new(concat!(include_str!("lua/counters.lua"), include_str!("lua/refund.lua")))
});

/// A script, and the digest by which Redis knows it.
pub(crate) struct Source {
    text: &'static str,
    digest: String,
}

impl Source {
    fn new(text: &'static str) -> Self {
        Self { text, digest: Script::new(text).get_hash().to_owned() }
    }
}

/// A call of a script by its digest.
pub(crate) struct Call {
    source: &'static Source,
    pub(crate) by_digest: Cmd,
}

impl Call {
    /// A cost above a burst never passes. It is asked for with the cost 0, for the state alone.
    pub(crate) fn take(prefix: &str, ask: &Ask<'_>, cost: u32) -> Self {
        let mut call = Self::new(&TAKE, prefix, ask);
        let command = &mut call.by_digest;
        command.arg(cost).arg(u8::from(ask.wants_state()));
        for limit in ask.limits() {
            match limit.calendar() {
                None => command.arg(interval(limit)).arg(refill(limit)),
                Some(_) => command.arg(kind(limit)).arg(limit.quota()),
            };
        }
        call
    }

    pub(crate) fn refund(prefix: &str, ask: &Ask<'_>) -> Self {
        let mut call = Self::new(&REFUND, prefix, ask);
        let command = &mut call.by_digest;
        command.arg(ask.age().as_secs());
        for (index, limit) in ask.limits().iter().enumerate() {
            let (size, back) = match limit.calendar() {
                None => (refill(limit), units(ask.refund_of(index))),
                Some(_) => (limit.quota().into(), ask.cost().into()),
            };
            command.arg(size).arg(kind(limit)).arg(back);
        }
        call
    }

    fn new(source: &'static Source, prefix: &str, ask: &Ask<'_>) -> Self {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&source.digest).arg(ask.limits().as_slice().len());
        for key in keys(prefix, ask) {
            command.arg(key);
        }
        Self { source, by_digest: command }
    }

    /// Returns a command with the text of the script, for a server that forgot it.
    pub(crate) fn by_text(&self) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.source.text);
        // Without the first command and the digest.
        for argument in self.by_digest.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}

/// The reply to a take.
pub(crate) enum Reply {
    /// The request passed, and the ask does not want the state.
    Passed,
    /// Whether the request passed, and the counters before.
    Counters(bool, Box<[Counted]>),
}

impl Reply {
    /// Returns `None` if the reply is not that of the script.
    pub(crate) fn read(value: Value, limits: &Limits) -> Option<Self> {
        let items = match value {
            Value::Int(_) => return Some(Self::Passed),
            Value::Array(items) => items,
            _ => return None,
        };
        let mut numbers = items.into_iter().filter_map(|item| match item {
            Value::Int(number) => Some(u64::try_from(number).unwrap_or_default()),
            _ => None,
        });
        let passed = numbers.next()? == 1;
        let counters = limits.iter().map(|limit| Counted::read(limit, &mut numbers));
        Some(Self::Counters(passed, counters.collect::<Option<_>>()?))
    }
}
