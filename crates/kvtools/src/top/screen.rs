//! What the user has chosen to see, and the keys that change it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::tables::{self, Pane};
use super::view::View;
use crate::table::{Side, Table};

/// How a table is shown.
#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    /// Column and whether the largest come first; the order of the view if `None`.
    sort: Option<(usize, bool)>,
    /// Rows above the first one shown.
    skipped: usize,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The newest, while it is not paused.
    view: View,
    has_view: bool,
    /// Why the target does not answer.
    lost: Option<String>,
    focus: Option<Pane>,
    choices: [Choice; 4],
    filter: String,
    /// The text before it was changed.
    edited: Option<String>,
    is_paused: bool,
    shows_help: bool,
    shows_one: bool,
}

/// All keys, for the help.
pub(super) const KEYS: [(&str, &str); 12] = [
    ("q, Ctrl-C", "end"),
    ("Tab, Shift-Tab, 1 to 4", "choose a table: exports, initiators, ports, lcores"),
    ("z", "show only the chosen table, or all"),
    ("s, >", "sort the chosen table by the next column"),
    ("<", "sort it by the column before"),
    ("r", "reverse its order"),
    ("0", "order it as at the start: the busiest exports first"),
    ("/", "show only rows that hold a text; Enter keeps it, Esc drops it"),
    ("p, space", "pause, or go on"),
    ("up, down, j, k", "scroll by a row"),
    ("page up, page down, Home", "scroll by ten rows, or to the first"),
    ("h, ?", "show or hide this help"),
];

/// Rows that a page key scrolls by.
const PAGE: usize = 10;

impl Screen {
    /// At the start.
    pub(super) fn new(filter: String) -> Self {
        Self { filter, ..Self::default() }
    }

    /// Takes over what the sampler has found.
    pub(super) fn update(&mut self, found: Result<View, String>) {
        match found {
            Err(lost) => self.lost = Some(lost),
            Ok(view) => {
                self.lost = None;
                if !self.is_paused {
                    self.view = view;
                    self.has_view = true;
                }
            }
        }
    }

    /// The view, if there was one.
    pub(super) fn view(&self) -> Option<&View> {
        self.has_view.then_some(&self.view)
    }

    pub(super) fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    pub(super) fn focus(&self) -> Pane {
        self.focus.unwrap_or(Pane::Exports)
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) const fn shows_help(&self) -> bool {
        self.shows_help
    }

    /// Whether only the chosen table is shown.
    pub(super) const fn shows_one(&self) -> bool {
        self.shows_one
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Whether the filter is being typed.
    pub(super) const fn is_editing(&self) -> bool {
        self.edited.is_some()
    }

    /// A table as it is to be shown.
    pub(super) fn table(&self, pane: Pane) -> Table {
        let mut table = tables::table(pane, &self.view);
        table.filter(&self.filter);
        if let Some((column, descending)) = self.choice(pane).sort {
            table.sort(column, descending);
        }
        table
    }

    /// The column by which a table is sorted.
    pub(super) fn sorted_by(&self, pane: Pane) -> Option<usize> {
        self.choice(pane).sort.map(|(column, _)| column)
    }

    /// Rows above the first one shown, of so many.
    pub(super) fn skipped(&self, pane: Pane, rows: usize) -> usize {
        self.choice(pane).skipped.min(rows.saturating_sub(1))
    }

    fn choice(&self, pane: Pane) -> Choice {
        self.choices.get(pane.index()).copied().unwrap_or_default()
    }

    fn change(&mut self, change: impl FnOnce(&mut Choice)) {
        let index = self.focus().index();
        if let Some(choice) = self.choices.get_mut(index) {
            change(choice);
        }
    }

    /// Does what a key asks for. False if it is to end.
    pub(super) fn press(&mut self, key: KeyEvent) -> bool {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return !matches!(key.code, KeyCode::Char('c' | 'd'));
        }
        if self.is_editing() {
            self.edit(key.code);
            return true;
        }
        match key.code {
            KeyCode::Char('q' | 'Q') => return false,
            KeyCode::Char('h' | '?') => self.shows_help = !self.shows_help,
            KeyCode::Esc if self.shows_help => self.shows_help = false,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('z') => self.shows_one = !self.shows_one,
            KeyCode::Char('/') => self.edited = Some(self.filter.clone()),
            KeyCode::Tab => self.focus = Some(self.focus().moved(1)),
            KeyCode::BackTab => self.focus = Some(self.focus().moved(Pane::ALL.len() - 1)),
            KeyCode::Char(digit @ '1'..='4') => {
                self.focus =
                    Pane::ALL.into_iter().zip('1'..='4').find(|(_, its)| *its == digit).map(|(pane, _)| pane);
            }
            KeyCode::Char('0') => self.change(|choice| choice.sort = None),
            KeyCode::Char('s' | '>') | KeyCode::Right => self.sort_by_next(1),
            KeyCode::Char('<') | KeyCode::Left => {
                let columns = self.table(self.focus()).columns().len();
                self.sort_by_next(columns.saturating_sub(1));
            }
            KeyCode::Char('r' | 'R') => self.change(|choice| {
                let (column, descending) = choice.sort.unwrap_or_default();
                choice.sort = Some((column, !descending));
            }),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(|skipped| skipped + 1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(|skipped| skipped.saturating_sub(1)),
            KeyCode::PageDown => self.scroll(|skipped| skipped + PAGE),
            KeyCode::PageUp => self.scroll(|skipped| skipped.saturating_sub(PAGE)),
            KeyCode::Home => self.scroll(|_| 0),
            _ => {}
        }
        true
    }

    fn edit(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.edited = None,
            KeyCode::Esc => self.filter = self.edited.take().unwrap_or_default(),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(typed) => self.filter.push(typed),
            _ => {}
        }
    }

    /// Numbers begin with the largest, words with the first.
    fn sort_by_next(&mut self, by: usize) {
        let columns = self.table(self.focus()).columns();
        self.change(|choice| {
            let column =
                choice.sort.map_or(if by == 1 { 0 } else { by }, |(column, _)| (column + by) % columns.len());
            let side = columns.get(column).map(|(_, side)| *side);
            choice.sort = Some((column, side == Some(Side::Right)));
        });
    }

    fn scroll(&mut self, to: impl FnOnce(usize) -> usize) {
        let rows = self.table(self.focus()).rows().len();
        self.change(|choice| choice.skipped = to(choice.skipped.min(rows)).min(rows.saturating_sub(1)));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::sample::tests::{example, later};
    use super::*;
    use crate::table::Cell;

    /// A screen after two samples.
    pub(crate) fn example_screen() -> Screen {
        let first = example(100);
        let mut screen = Screen::new(String::new());
        screen.update(Ok(View::between(Some(&first), &later(600, &first, 5))));
        screen
    }

    pub(crate) fn press(screen: &mut Screen, keys: &str) -> bool {
        keys.chars().all(|key| {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\x1b' => KeyCode::Esc,
                key => KeyCode::Char(key),
            };
            screen.press(KeyEvent::from(code))
        })
    }

    fn first_column(screen: &Screen, pane: Pane) -> Vec<String> {
        let cell = |row: &Vec<Cell>| row[0].shown().to_owned();
        screen.table(pane).rows().iter().map(cell).collect()
    }

    #[test]
    fn q_and_control_c_end_it_and_others_do_not() {
        let mut screen = example_screen();
        assert!(press(&mut screen, "hp sx\t\x1b"));
        assert!(!press(&mut screen, "q"));
        assert!(!screen.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        // Where a filter is typed, q is a letter.
        assert!(press(&mut screen, "/q"));
        assert_eq!(screen.filter(), "q");
    }

    #[test]
    fn columns_are_chosen_forwards_and_backwards() {
        let mut screen = example_screen();
        assert_eq!(screen.sorted_by(Pane::Exports), None);
        press(&mut screen, "s");
        assert_eq!(screen.sorted_by(Pane::Exports), Some(0));
        press(&mut screen, "r");
        assert_eq!(first_column(&screen, Pane::Exports), ["1.2", "1.1"]);
        press(&mut screen, ">>>");
        assert_eq!(screen.sorted_by(Pane::Exports), Some(3));
        press(&mut screen, "<<<<");
        assert_eq!(screen.sorted_by(Pane::Exports), Some(12));
        press(&mut screen, "04s");
        assert_eq!((screen.sorted_by(Pane::Exports), screen.sorted_by(Pane::Lcores)), (None, Some(0)));
        assert_eq!(first_column(&screen, Pane::Lcores), ["3", "0"], "numbers begin with the largest");
    }

    #[test]
    fn a_filter_is_kept_by_enter_and_dropped_by_escape() {
        let mut screen = example_screen();
        press(&mut screen, "/other");
        assert!(screen.is_editing());
        assert_eq!(first_column(&screen, Pane::Exports), ["1.2"]);
        press(&mut screen, "\n");
        assert!(!screen.is_editing());
        press(&mut screen, "/x\x1b");
        assert_eq!(screen.filter(), "other");
        press(&mut screen, "\x1b");
        assert_eq!(first_column(&screen, Pane::Exports).len(), 2);
    }

    #[test]
    fn a_paused_screen_stays_and_a_lost_target_is_told_and_found_again() {
        let mut screen = example_screen();
        let before = screen.view().cloned();
        press(&mut screen, "p");
        screen.update(Ok(View::default()));
        assert_eq!(screen.view().cloned(), before);
        press(&mut screen, " ");
        screen.update(Err("nobody is there".into()));
        assert_eq!((screen.lost(), screen.view().cloned()), (Some("nobody is there"), before));
        screen.update(Ok(View::default()));
        assert_eq!((screen.lost(), screen.view().cloned()), (None, Some(View::default())));
    }

    #[test]
    fn scrolling_ends_at_the_last_row() {
        let mut screen = example_screen();
        press(&mut screen, "jjjjk");
        assert_eq!(screen.skipped(Pane::Exports, 2), 0);
        press(&mut screen, "jj");
        assert_eq!((screen.skipped(Pane::Exports, 2), screen.skipped(Pane::Exports, 1)), (1, 0));
    }
}
