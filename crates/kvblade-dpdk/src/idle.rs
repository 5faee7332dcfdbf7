//! `--idle`: the behaviour of lcores without work.

use std::time::Duration;

use datapath::idle::RestBy;
use datapath::{Idle, Lcore, PortQueue};
use nix::sys::epoll::{Epoll, EpollCreateFlags};

/// Longest `sleep=`, in microseconds. The reactor's other work, RPCs among it, waits as long.
const MAX_SLEEP: u64 = 10_000;

/// `--idle`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum IdleOption {
    #[default]
    Poll,
    Pause,
    Sleep(Duration),
    Interrupt,
}

impl IdleOption {
    /// Parses the option's value.
    ///
    /// # Errors
    /// The allowed values.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "poll" => Ok(Self::Poll),
            "pause" => Ok(Self::Pause),
            "interrupt" => Ok(Self::Interrupt),
            _ => match text.strip_prefix("sleep=") {
                Some(time) => time
                    .parse()
                    .ok()
                    .filter(|time| (1..=MAX_SLEEP).contains(time))
                    .map(|time| Self::Sleep(Duration::from_micros(time)))
                    .ok_or_else(|| format!("a sleep is 1 to {MAX_SLEEP} microseconds long")),
                None => Err("the ways are poll, pause, sleep=MICROSECONDS and interrupt".into()),
            },
        }
    }

    /// The behaviour of an lcore with these port queues.
    ///
    /// # Errors
    /// One sentence, if one of its ports has no interrupts.
    pub(crate) fn on(self, core: u32, queues: &[PortQueue]) -> Result<Idle, String> {
        let rest = match self {
            Self::Poll => return Ok(Idle::Poll),
            Self::Pause => RestBy::Pause,
            Self::Sleep(time) => RestBy::Sleep(time),
            // A frame that another lcore hands over causes no interrupt.
            Self::Interrupt if queues.iter().any(PortQueue::is_distributed) => {
                tracing::info!(lcore = core, "pauses when idle: other lcores hand it frames");
                RestBy::Pause
            }
            Self::Interrupt => {
                let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
                    .map_err(|error| format!("lcore {core}: epoll_create1: {error}"))?;
                let interrupts = Lcore::interrupts(queues, epoll.0).map_err(|error| {
                    format!(
                        "--idle interrupt: a port of lcore {core} has no interrupts of rx queues ({error}): pause and \
                         sleep=MICROSECONDS do without"
                    )
                })?;
                RestBy::Interrupt(interrupts)
            }
        };
        Ok(Idle::resting(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_rest_are_read() {
        assert_eq!(IdleOption::parse("poll"), Ok(IdleOption::Poll));
        assert_eq!(IdleOption::parse("pause"), Ok(IdleOption::Pause));
        assert_eq!(IdleOption::parse("interrupt"), Ok(IdleOption::Interrupt));
        for microseconds in [1, 50, 10_000] {
            let parsed = IdleOption::parse(&format!("sleep={microseconds}"));
            assert_eq!(parsed, Ok(IdleOption::Sleep(Duration::from_micros(microseconds))));
        }
        for text in ["sleep=0", "sleep=10001", "sleep=", "sleep=1ms", "sleep=-1"] {
            assert!(IdleOption::parse(text).is_err_and(|refused| refused.contains("1 to 10000")), "{text}");
        }
        for text in ["", "sleep", "Poll", "pause=1"] {
            assert!(IdleOption::parse(text).is_err_and(|refused| refused.contains("sleep=MICRO")), "{text}");
        }
    }

    #[test]
    fn an_lcore_without_ports_can_rest_in_every_way() {
        assert!(matches!(IdleOption::Poll.on(0, &[]), Ok(Idle::Poll)));
        for option in [IdleOption::Pause, IdleOption::Sleep(Duration::from_micros(1)), IdleOption::Interrupt]
        {
            assert!(matches!(option.on(0, &[]), Ok(Idle::Rest(_))), "{option:?}");
        }
    }
}
