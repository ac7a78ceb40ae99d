use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// Counts requests and outcomes. Its size does not grow with time.
#[derive(Default)]
pub struct Tally {
    pub requests: AtomicU64,
    pub connections: AtomicU64,
    counts: Mutex<BTreeMap<(Table, &'static str, &'static str), u64>>,
    odd: Mutex<(u64, Vec<String>)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Key,
    Route,
    Shape,
    CutOff,
}

const SHOWN: usize = 20;

impl Tally {
    pub fn count(&self, table: Table, row: &'static str, outcome: &'static str) {
        *self.counts.lock().unwrap().entry((table, row, outcome)).or_default() += 1;
    }

    /// Records an unexpected event. The text must name no key.
    pub fn odd(&self, what: String) {
        let mut odd = self.odd.lock().unwrap();
        odd.0 += 1;
        if odd.1.len() < SHOWN {
            odd.1.push(what);
        }
    }

    pub fn oddities(&self) -> u64 {
        self.odd.lock().unwrap().0
    }

    pub fn print_oddities(&self) {
        for what in &self.odd.lock().unwrap().1 {
            println!("- {what}");
        }
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Prints a table of rows and outcomes.
    pub fn print(&self, table: Table, what: &str) {
        let counts = self.counts.lock().unwrap();
        let mut rows = BTreeMap::<_, BTreeMap<_, _>>::new();
        let mut outcomes = BTreeMap::new();
        for ((_, row, outcome), count) in counts.iter().filter(|((of, ..), _)| *of == table) {
            rows.entry(*row).or_default().insert(*outcome, *count);
            outcomes.insert(*outcome, ());
        }
        let columns: Vec<_> = outcomes.into_keys().collect();
        println!("| {what} | {} |", columns.join(" | "));
        println!("|---|{}", "--:|".repeat(columns.len()));
        for (row, counts) in rows {
            let cell = |outcome| counts.get(outcome).map_or(String::new(), u64::to_string);
            let cells: Vec<_> = columns.iter().map(cell).collect();
            println!("| {row} | {} |", cells.join(" | "));
        }
        println!();
    }
}
