//! Draws the screen: lines about the target, the tables, and a line about the keys.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::screen::{KEYS, Screen};
use super::tables::{self, Pane};
use crate::table::{Table, Tone, aligned};

/// Lines above the tables.
const HEADER: u16 = 3;

/// Height below which only the chosen table is shown.
const ALL_PANES: u16 = 18;

/// What does not change while it runs.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// The target's socket.
    pub(super) socket: String,
    pub(super) interval: Duration,
    /// Whether there are colours.
    pub(super) has_colours: bool,
}

impl Frame {
    /// Draws the screen as it is at the time `now`.
    pub(super) fn draw(&self, screen: &Screen, now: SystemTime, buffer: &mut Buffer) {
        let area = buffer.area;
        let pen = &mut Pen { buffer, area };
        self.draw_header(screen, now, pen);
        let footer = area.height.saturating_sub(1);
        let body = footer.saturating_sub(HEADER);
        if screen.shows_help() {
            self.draw_help(body, pen);
        } else if screen.view().is_some() {
            let mut y = HEADER;
            for (pane, height) in heights(screen, body) {
                self.draw_table(screen, pane, y, height, pen);
                y += height + 1;
            }
        }
        let (text, style) = if screen.is_editing() {
            (format!("filter: {}_", screen.filter()), Style::new())
        } else {
            let filter = match screen.filter() {
                "" => String::new(),
                filter => format!("filter '{filter}' (Esc drops it)   "),
            };
            let keys = "q end  Tab table  s sort  r reverse  / filter  p pause  h help";
            (format!("{filter}{keys}"), self.style(Tone::Faint))
        };
        pen.write(0, footer, &text, style);
    }

    fn draw_header(&self, screen: &Screen, now: SystemTime, pen: &mut Pen<'_>) {
        let paused = if screen.is_paused() { "   PAUSED" } else { "" };
        let (time, every) = (clock(now), self.interval.as_secs_f64());
        let title = format!("kv top   {}   {time} UTC   every {every} s{paused}", self.socket);
        pen.write(0, 0, &title, Style::new().add_modifier(Modifier::BOLD));
        if let Some(lost) = screen.lost() {
            pen.write(0, 1, &format!("no answer, connecting again: {lost}"), self.style(Tone::Bad));
        } else if let Some(view) = screen.view() {
            pen.write(0, 1, &tables::verdict(view), self.style(tables::tone(view)));
        } else {
            pen.write(0, 1, "waiting for the first answer", self.style(Tone::Faint));
        }
        if let Some(view) = screen.view() {
            let style = if screen.lost().is_some() { self.style(Tone::Faint) } else { Style::new() };
            pen.write(0, 2, &tables::sums(view), style);
        }
    }

    fn draw_help(&self, height: u16, pen: &mut Pen<'_>) {
        let width = KEYS.iter().map(|(keys, _)| keys.len()).max().unwrap_or_default();
        for ((keys, what), y) in KEYS.iter().zip(0..height) {
            pen.write(0, HEADER + y, &format!("{keys:<width$}   {what}"), Style::new());
        }
    }

    fn draw_table(&self, screen: &Screen, pane: Pane, y: u16, height: u16, pen: &mut Pen<'_>) {
        let table = screen.table(pane);
        let widths = table.widths();
        let gap = gap(&widths, pen.area.width);
        let head = Style::new().add_modifier(Modifier::REVERSED);
        let head = if pane == screen.focus() {
            head.add_modifier(Modifier::BOLD)
        } else {
            head.add_modifier(Modifier::DIM)
        };
        pen.fill(y, head);
        let mut x = 0;
        for (index, ((name, side), width)) in table.columns().iter().zip(&widths).enumerate() {
            let is_sorted = screen.sorted_by(pane) == Some(index);
            let style = if is_sorted { head.add_modifier(Modifier::UNDERLINED) } else { head };
            pen.write(x, y, &aligned(name, *side, *width), style);
            x = x.saturating_add(size(*width)).saturating_add(gap);
        }
        self.draw_rows(screen, pane, &table, &widths, (y + 1, height.saturating_sub(1)), pen);
    }

    fn draw_rows(
        &self,
        screen: &Screen,
        pane: Pane,
        table: &Table,
        widths: &[usize],
        (top, height): (u16, u16),
        pen: &mut Pen<'_>,
    ) {
        let gap = gap(widths, pen.area.width);
        let rows = table.rows();
        let skipped = screen.skipped(pane, rows.len());
        let left = rows.len().saturating_sub(skipped);
        let fits = usize::from(height);
        let shown = if left > fits { fits.saturating_sub(1) } else { left };
        for (row, y) in rows.iter().skip(skipped).take(shown).zip(top..) {
            let mut x = 0;
            for ((cell, (_, side)), width) in row.iter().zip(table.columns()).zip(widths) {
                // What was before the target was lost is old.
                let tone = if screen.lost().is_some() { Tone::Faint } else { cell.tone() };
                pen.write(x, y, &aligned(cell.shown(), *side, *width), self.style(tone));
                x = x.saturating_add(size(*width)).saturating_add(gap);
            }
        }
        if left > fits && height > 0 {
            pen.write(0, top + height - 1, &format!("... {} more", left - shown), self.style(Tone::Faint));
        }
    }

    fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        let (colour, modifier) = match tone {
            Tone::Plain => return style,
            Tone::Good => (Color::Green, Modifier::empty()),
            Tone::Warning => (Color::Yellow, Modifier::BOLD),
            Tone::Bad => (Color::Red, Modifier::BOLD),
            Tone::Faint => return style.add_modifier(Modifier::DIM),
        };
        let style = style.add_modifier(modifier);
        if self.has_colours { style.fg(colour) } else { style }
    }
}

/// Writes into the screen, as far as it reaches.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

impl Pen<'_> {
    fn write(&mut self, x: u16, y: u16, text: &str, style: Style) {
        if x < self.area.width && y < self.area.height {
            self.buffer.set_stringn(x, y, text, usize::from(self.area.width - x), style);
        }
    }

    fn fill(&mut self, y: u16, style: Style) {
        if y < self.area.height {
            self.buffer.set_style(Rect { x: 0, y, width: self.area.width, height: 1 }, style);
        }
    }
}

fn size(width: usize) -> u16 {
    u16::try_from(width).unwrap_or(u16::MAX)
}

/// Room between columns: less where all would not fit.
fn gap(widths: &[usize], width: u16) -> u16 {
    let all: usize = widths.iter().map(|width| width + 2).sum();
    if all <= usize::from(width) + 2 { 2 } else { 1 }
}

/// The tables that are shown, each with its height, out of so many lines, with one between two of them.
fn heights(screen: &Screen, lines: u16) -> Vec<(Pane, u16)> {
    if lines < ALL_PANES || screen.shows_one() {
        return vec![(screen.focus(), lines)];
    }
    let wanted = |pane: Pane| size(screen.table(pane).rows().len()).saturating_add(1).max(2);
    let lines = lines - 3;
    let all: u32 = Pane::ALL.into_iter().map(|pane| u32::from(wanted(pane))).sum();
    if all <= u32::from(lines) {
        return Pane::ALL.into_iter().map(|pane| (pane, wanted(pane))).collect();
    }
    // The chosen one has what the others leave.
    let most = lines / 6 + 1;
    let others = Pane::ALL.into_iter().filter(|pane| *pane != screen.focus());
    let taken: u16 = others.map(|pane| wanted(pane).min(most)).sum();
    let height = |pane| {
        if pane == screen.focus() {
            lines.saturating_sub(taken).min(wanted(pane))
        } else {
            wanted(pane).min(most)
        }
    };
    Pane::ALL.into_iter().map(|pane| (pane, height(pane))).collect()
}

/// `HH:MM:SS`.
fn clock(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::screen::tests::{example_screen, press};
    use super::*;

    fn drawn(screen: &Screen, width: u16, height: u16, has_colours: bool) -> Buffer {
        let frame = Frame { socket: "/run/rpc.sock".into(), interval: Duration::from_secs(2), has_colours };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(86_400 + 3661);
        terminal.draw(|its| frame.draw(screen, now, its.buffer_mut())).unwrap();
        terminal.backend().buffer().clone()
    }

    fn lines(buffer: &Buffer) -> Vec<String> {
        let line = |y: u16| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(|y| line(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn all_tables_stand_below_verdict_and_sums() {
        let expected = "\
kv top   /run/rpc.sock   01:01:01 UTC   every 2 s
failure: 1.2: its bdev is missing
2 exports: 100 reads/s, 200 writes/s, 0.4 MB/s read, 0.8 MB/s written, 2 in flight
EXPORT  STATE    READ/S  WRITE/S  RD-MB/S  WR-MB/S  P50  P99  MAX  QUEUE  ERRORS  DROPS  BDEV
1.1     online      100      200      0.4      0.8    -    -    -     16       6     60  disk
1.2     waiting       0        0      0.0      0.0    -    -    -      0       0      0  other

INITIATOR          EXPORT  REQ/S  QUEUE  RETRANS  DROPS  FRAME  SEEN
02:00:00:00:00:01  1.1       300      8        1      5   4132    4s
02:00:00:00:00:02  1.1       300      8        1      5   4132    4s

PORT            INTERFACE  RX/S  TX/S  RX-MB/S  TX-MB/S  DROPS
net_af_packet0  eth1        300   300      0.9      0.5  not_aoe 300 (+250), ring_full 7

LCORE   BUSY  TURNS/S  IN-FLIGHT  RX/S  TX/S  HANDED/S
    0  25.0%     100k          2   300     0         0
    3   0.0%     100k          0     0     0         0




q end  Tab table  s sort  r reverse  / filter  p pause  h help";
        let shown = lines(&drawn(&example_screen(), 100, 22, false)).join("\n");
        assert_eq!(shown, expected, "\n{shown}");
    }

    #[test]
    fn a_small_terminal_has_the_chosen_table_only_and_no_size_is_too_small() {
        let mut screen = example_screen();
        let small = lines(&drawn(&screen, 80, 12, false));
        assert!(small[3].starts_with("EXPORT STATE") && small[5].starts_with("1.2"), "{small:?}");
        press(&mut screen, "4");
        assert!(lines(&drawn(&screen, 80, 12, false))[3].starts_with("LCORE"));
        for (width, height) in [(1, 1), (3, 4), (10, 5), (200, 2), (20, 60)] {
            drawn(&screen, width, height, true);
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_counted() {
        let shown = lines(&drawn(&example_screen(), 80, 6, false));
        assert_eq!(shown[4], "... 2 more", "{shown:?}");
        let mut screen = example_screen();
        press(&mut screen, "j");
        assert!(lines(&drawn(&screen, 80, 6, false))[4].starts_with("1.2"));
    }

    #[test]
    fn colours_are_used_only_where_they_are_allowed() {
        let colours = |has_colours: bool| {
            let buffer = drawn(&example_screen(), 100, 24, has_colours);
            buffer.content.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
        };
        assert_eq!((colours(true), colours(false)), (true, false));
        let plain = drawn(&example_screen(), 100, 24, false);
        assert!(plain[(0, 1)].modifier.contains(Modifier::BOLD), "a failure stands out without them");
    }

    #[test]
    fn a_lost_target_help_pause_and_the_filter_are_shown() {
        let mut screen = Screen::new(String::new());
        assert!(lines(&drawn(&screen, 80, 12, false))[1].contains("first answer"));
        screen = example_screen();
        screen.update(Err("nobody is there".into()));
        press(&mut screen, "p/eth");
        let shown = lines(&drawn(&screen, 100, 24, false));
        assert_eq!(shown[1], "no answer, connecting again: nobody is there");
        assert!(shown[0].ends_with("PAUSED") && shown[23] == "filter: eth_", "{shown:?}");
        press(&mut screen, "\nh");
        let shown = lines(&drawn(&screen, 100, 24, false));
        assert!(
            shown[3].starts_with("q, Ctrl-C") && shown[23].starts_with("filter 'eth' (Esc drops it)"),
            "{shown:?}"
        );
    }
}
