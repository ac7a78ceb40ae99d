//! Which case a figure belongs to.

use std::fmt;

/// The names that ratios are taken to.
pub const BY_HAND: &str = "by hand: the same job";
pub const FROM_FN: &str = "`from_fn` with `==`";
pub const OAUTH: &str = "oauth-resource-server";
pub const GOVERNOR: &str = "governor, keyed";
pub const OURS: &str = "**ours**";
/// A public method's default: the peers write no such headers.
pub const OURS_CACHED: &str = "ours, cache headers";

#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    pub stack: &'static str,
    pub who: &'static str,
    pub keys: usize,
    pub asked: Asked,
    pub threads: usize,
}

/// The key in the requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// One good key, again and again.
    Hot,
    /// Any of the good keys.
    Random,
    /// A key that nobody has.
    Wrong,
    /// None.
    Missing,
}

impl Row {
    /// One thread, one key, and that is asked with.
    pub fn new(stack: &'static str, who: &'static str) -> Self {
        Self { stack, who, keys: 1, asked: Asked::Hot, threads: 1 }
    }

    pub fn keys(self, keys: usize) -> Self {
        Self { keys, ..self }
    }

    pub fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// The same case of somebody else.
    pub fn of(&self, who: &'static str) -> Self {
        Self { who, ..self.clone() }
    }

    pub fn is_accepted(&self) -> bool {
        matches!(self.asked, Asked::Hot | Asked::Random)
    }
}

/// The first cells of a line of the table; words of the command line are looked for in them.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, who, keys, asked, threads } = self;
        write!(f, "{stack} | {who} | {} | {asked} | {threads}", thousands(*keys))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hot => "hot",
            Self::Random => "random",
            Self::Wrong => "wrong",
            Self::Missing => "none",
        })
    }
}

fn thousands(number: usize) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1000), number % 1000),
    }
}
