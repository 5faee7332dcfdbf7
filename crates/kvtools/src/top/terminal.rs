//! The live view: a thread that takes samples, and this one, which draws and reads keys.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::draw::Frame;
use super::sampler::Sampler;
use super::screen::Screen;
use super::view::View;
use rpc_client::command::{CommandError, Outcome};

/// Time in which signals and new samples are noticed while no key is pressed.
const PERIOD: Duration = Duration::from_millis(50);

/// Period in which the clock is drawn.
const CLOCK: Duration = Duration::from_secs(1);

/// Shows the view until a key or a signal ends it. The terminal is as before then, also after a panic.
///
/// # Errors
/// If the terminal can't be used.
pub(super) fn run(
    sampler: Sampler,
    interval: Duration,
    filter: String,
    socket: &Path,
) -> Result<Outcome, CommandError> {
    let failed = |error: io::Error| CommandError::Refused(format!("the terminal can't be used: {error}"));
    let is_ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_ended)).map_err(failed)?;
    }
    let frame = Frame {
        socket: socket.display().to_string(),
        interval,
        has_colours: allows_colours(std::env::var_os("NO_COLOR")),
    };
    let (sender, views) = mpsc::channel();
    thread::Builder::new().spawn(move || sample(sampler, interval, &sender)).map_err(failed)?;
    // It has the terminal restored when a thread panics.
    let mut terminal = match ratatui::try_init() {
        Ok(terminal) => terminal,
        Err(error) => {
            // It may be changed in part. The first error is the one to report.
            ratatui::try_restore().unwrap_or_default();
            return Err(failed(error));
        }
    };
    let shown = show(&mut terminal, &frame, Screen::new(filter), &views, &is_ended);
    let restored = ratatui::try_restore();
    // A terminal that has gone can't be restored, and needs not.
    let gone = is_ended.load(Ordering::Relaxed);
    match shown.and(restored) {
        Err(error) if !gone => Err(failed(error)),
        _ => Ok(String::new().into()),
    }
}

/// By the convention, whatever its value, if it has one.
fn allows_colours(no_color: Option<std::ffi::OsString>) -> bool {
    no_color.is_none_or(|value| value.is_empty())
}

/// Takes samples until nobody looks at them.
fn sample(mut sampler: Sampler, interval: Duration, sender: &Sender<Result<View, String>>) {
    let mut before = None;
    loop {
        let begun = Instant::now();
        let view = match sampler.take() {
            Ok(now) => {
                let view = View::between(before.as_ref(), &now);
                before = Some(now);
                Ok(view)
            }
            Err(error) => {
                before = None;
                Err(error.to_string())
            }
        };
        if sender.send(view).is_err() {
            return;
        }
        thread::sleep(interval.saturating_sub(begun.elapsed()));
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    frame: &Frame,
    mut screen: Screen,
    views: &Receiver<Result<View, String>>,
    is_ended: &AtomicBool,
) -> io::Result<()> {
    let mut drawn: Option<Instant> = None;
    while !is_ended.load(Ordering::Relaxed) {
        let mut has_changed = drawn.is_none_or(|drawn| drawn.elapsed() >= CLOCK);
        for view in views.try_iter() {
            screen.update(view);
            has_changed = true;
        }
        if has_changed {
            terminal.draw(|its| frame.draw(&screen, SystemTime::now(), its.buffer_mut()))?;
            drawn = Some(Instant::now());
        }
        if !event::poll(PERIOD)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if !screen.press(key) {
                    break;
                }
                drawn = None;
            }
            Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_given_up_where_no_color_has_a_value() {
        let allowed = [None, Some("".into()), Some("1".into()), Some("0".into())].map(allows_colours);
        assert_eq!(allowed, [true, true, false, false]);
    }
}
