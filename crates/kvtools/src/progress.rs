//! A line about what is waited for, with the time that is left: on a terminal only, and only where it takes over two seconds.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Time after which the line appears.
const DELAY: Duration = Duration::from_secs(2);

/// Period in which it is drawn anew.
const PERIOD: Duration = Duration::from_millis(500);

/// By what the time left is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// It ends after this time, whether it has succeeded or not.
    AtMost(Duration),
    /// It has so many steps.
    Steps(usize),
}

/// The line, from now until it is dropped. It goes then.
#[derive(Debug)]
pub struct Progress {
    shared: Arc<(Mutex<State>, Condvar)>,
    drawer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    done: usize,
    has_ended: bool,
}

impl Progress {
    /// For a wait for `what`, such as "the requests in flight".
    #[must_use]
    pub fn start(what: &str, measure: Measure) -> Self {
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        if !std::io::stderr().is_terminal() {
            return Self { shared, drawer: None };
        }
        let (its, what) = (Arc::clone(&shared), what.to_owned());
        // Without a thread there is no line.
        let drawer = thread::Builder::new().spawn(move || draw(&its, &what, measure)).ok();
        Self { shared, drawer }
    }

    /// So many steps are done.
    pub fn done(&self, steps: usize) {
        lock(&self.shared.0).done = steps;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        lock(&self.shared.0).has_ended = true;
        self.shared.1.notify_all();
        if let Some(drawer) = self.drawer.take() {
            // A drawer that has panicked has said so.
            drawer.join().unwrap_or_default();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn draw(shared: &(Mutex<State>, Condvar), what: &str, measure: Measure) {
    let begun = Instant::now();
    let mut wait = DELAY;
    let mut is_shown = false;
    let mut state = lock(&shared.0);
    loop {
        (state, _) = shared
            .1
            .wait_timeout_while(state, wait, |state| !state.has_ended)
            .unwrap_or_else(PoisonError::into_inner);
        if state.has_ended {
            break;
        }
        wait = PERIOD;
        is_shown = true;
        show(&line(what, measure, state.done, begun.elapsed()));
    }
    if is_shown {
        show("");
    }
}

/// Puts a text in place of the terminal's last line. The command goes on where the terminal does not take it.
fn show(line: &str) {
    let mut terminal = std::io::stderr();
    let shown = write!(terminal, "\r{line}\x1b[K").and_then(|()| terminal.flush());
    shown.unwrap_or_default();
}

fn line(what: &str, measure: Measure, done: usize, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match measure {
        Measure::AtMost(limit) => {
            format!(
                "waiting for {what}: {seconds} s, at most {} s more",
                limit.saturating_sub(elapsed).as_secs()
            )
        }
        Measure::Steps(steps) => {
            let left = left(steps, done, elapsed)
                .map_or_else(String::new, |left| format!(", about {} s left", left.as_secs().max(1)));
            format!("{what}: {done} of {steps}, {seconds} s{left}")
        }
    }
}

/// The time left, if the steps that are left take as long as those before.
fn left(steps: usize, done: usize, elapsed: Duration) -> Option<Duration> {
    let (done, left) = (u32::try_from(done).ok()?, u32::try_from(steps.saturating_sub(done)).ok()?);
    elapsed.checked_div(done)?.checked_mul(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_by_the_limit_or_by_the_steps_before() {
        let seconds = Duration::from_secs;
        let limit = Measure::AtMost(seconds(60));
        let waiting = "waiting for requests in flight: 3 s, at most 57 s more";
        assert_eq!(line("requests in flight", limit, 0, seconds(3)), waiting);
        assert!(line("requests", limit, 0, seconds(70)).ends_with("70 s, at most 0 s more"));
        assert_eq!(
            line("entries", Measure::Steps(40), 10, seconds(5)),
            "entries: 10 of 40, 5 s, about 15 s left"
        );
        assert_eq!(line("entries", Measure::Steps(40), 0, seconds(5)), "entries: 0 of 40, 5 s");
        assert_eq!(
            line("entries", Measure::Steps(usize::MAX), 1, seconds(5)),
            format!("entries: 1 of {}, 5 s", usize::MAX)
        );
    }

    #[test]
    fn what_is_over_soon_has_no_line_and_ends_at_once() {
        let progress = Progress::start("nothing", Measure::Steps(2));
        progress.done(1);
        drop(progress);
    }
}
