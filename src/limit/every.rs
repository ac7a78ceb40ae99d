use super::calendar::CalendarWindow;

/// The window of a limit.
#[derive(Clone, Copy)]
pub(super) struct Every {
    pub(super) window_secs: u32,
    pub(super) calendar: Option<CalendarWindow>,
}

impl Every {
    pub(super) const SECOND: Self = Self { window_secs: 1, calendar: None };
    pub(super) const MINUTE: Self = Self { window_secs: 60, calendar: None };
    pub(super) const HOUR: Self = Self { window_secs: 3_600, calendar: None };
    pub(super) const DAY: Self = Self { window_secs: 86_400, calendar: Some(CalendarWindow::Day) };
    pub(super) const MONTH: Self =
        Self { window_secs: 31 * 86_400, calendar: Some(CalendarWindow::Month) };
}
