use std::fmt;

pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |tenths: usize| values[(values.len() - 1) * tenths / 10];
        Self { low: at(1), median: at(5), high: at(9) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { low, median, high } = self;
        let digits = match median {
            ..0.01 => 4,
            ..0.1 => 3,
            100.0.. => 0,
            _ => 2,
        };
        write!(f, "{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}
