//! The watchdog: the service manager is notified only while every lcore turns, and its status line has the state.

use std::time::{Duration, Instant};

use spdk::Poller;

use super::lcores::Lcores;
use crate::notify::{ServiceManager, service_manager};

/// Period of the look at lcores, unless the service manager's watchdog needs a shorter one.
const PERIOD: Duration = Duration::from_secs(1);

/// Looks within the time that the watchdog waits, so that one of them may come late.
const LOOKS: u32 = 4;

/// Looks without a turn after which an lcore counts as stuck: a single look may fall into a moment in which the machine did
/// something else.
const STUCK_LOOKS: u32 = 2;

/// Looks at the lcores again and again.
pub(super) struct Watchdog {
    lcores: Vec<Watched>,
    notified: Notified,
    /// The poller that looks.
    _poller: Poller,
}

/// The state that the service manager has.
#[derive(Default)]
struct Notified {
    ready: bool,
    status: String,
}

/// An lcore, as it was at the last look.
#[derive(Debug, PartialEq, Eq)]
struct Watched {
    core: u32,
    turns: u64,
    last_turned: Instant,
    still_looks: u32,
}

impl Watched {
    fn new(core: u32, turns: u64, now: Instant) -> Self {
        Self { core, turns, last_turned: now, still_looks: 0 }
    }

    fn is_stuck(&self) -> bool {
        self.still_looks >= STUCK_LOOKS
    }

    /// Takes note of the turns it has made. True if it has made some since the last look. Logs when it gets stuck, and
    /// when it goes on.
    fn look(&mut self, turns: u64, now: Instant) -> bool {
        let (lcore, seconds) = (self.core, now.duration_since(self.last_turned).as_secs_f32());
        if turns == self.turns {
            self.still_looks = self.still_looks.saturating_add(1);
            if self.still_looks == STUCK_LOOKS {
                tracing::error!(lcore, seconds, "this lcore does not turn: the watchdog is not fed");
            }
            return false;
        }
        if self.is_stuck() {
            tracing::warn!(lcore, seconds, "this lcore turns again");
        }
        *self = Self::new(self.core, turns, now);
        true
    }
}

impl Watchdog {
    /// Has `look` called again and again, which is to call [`Self::look`]. On the app's thread.
    pub(super) fn start(lcores: &Lcores, look: impl Fn() + 'static) -> spdk::Result<Self> {
        let now = Instant::now();
        let watched = lcores.iter().map(|lcore| Watched::new(lcore.core(), lcore.turns(), now)).collect();
        let period = service_manager().watchdog().map_or(PERIOD, |time| PERIOD.min(time / LOOKS));
        let poller = Poller::register(period, move || {
            look();
            false
        })?;
        Ok(Self { lcores: watched, notified: Notified::default(), _poller: poller })
    }

    /// The lcores that do not turn.
    pub(super) fn stuck(&self) -> Vec<u32> {
        self.lcores.iter().filter(|watched| watched.is_stuck()).map(|watched| watched.core).collect()
    }

    /// Looks at every lcore once, and reports to the service manager.
    pub(super) fn look(&mut self, lcores: &Lcores, exports: usize, ports: usize) {
        let now = Instant::now();
        let mut all_turn = true;
        for (watched, lcore) in self.lcores.iter_mut().zip(lcores.iter()) {
            all_turn &= watched.look(lcore.turns(), now);
        }
        let status = status(exports, ports, lcores.count(), &self.stuck());
        self.notified.update(service_manager(), &status, all_turn);
    }
}

impl Notified {
    fn update(&mut self, manager: &ServiceManager, status: &str, all_turn: bool) {
        let mut lines = Vec::new();
        if !self.ready {
            lines.push("READY=1".to_owned());
        }
        if self.status != status {
            lines.push(format!("STATUS={status}"));
        }
        // One that is lost is missing until the next look: the time for it holds several.
        if all_turn && manager.watchdog().is_some() {
            lines.push("WATCHDOG=1".to_owned());
        }
        if !lines.is_empty() && manager.tell(&lines.join("\n")) {
            self.ready = true;
            status.clone_into(&mut self.status);
        }
    }
}

fn status(exports: usize, ports: usize, lcores: usize, stuck: &[u32]) -> String {
    let counted = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let mut status = format!(
        "serving {} on {} by {}",
        counted(exports, "export"),
        counted(ports, "port"),
        counted(lcores, "lcore")
    );
    if !stuck.is_empty() {
        let stuck: Vec<String> = stuck.iter().map(u32::to_string).collect();
        status.push_str(&format!("; these lcores do not turn: {}", stuck.join(", ")));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lcore_without_a_turn_in_two_looks_is_stuck_until_it_turns() {
        let now = Instant::now();
        let mut lcore = Watched::new(3, 10, now);
        assert!(lcore.look(11, now) && !lcore.is_stuck());
        assert!(!lcore.look(11, now) && !lcore.is_stuck(), "one look may fall into a bad moment");
        assert!(!lcore.look(11, now) && lcore.is_stuck());
        assert!(!lcore.look(11, now) && lcore.is_stuck());
        assert!(lcore.look(12, now) && !lcore.is_stuck());
        assert_eq!(lcore, Watched::new(3, 12, now));
    }

    #[test]
    fn the_status_counts_what_is_served_and_names_stuck_lcores() {
        assert_eq!(status(1, 1, 1, &[]), "serving 1 export on 1 port by 1 lcore");
        assert_eq!(
            status(0, 2, 4, &[1, 3]),
            "serving 0 exports on 2 ports by 4 lcores; these lcores do not turn: 1, 3"
        );
    }
}
