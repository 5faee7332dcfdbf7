//! The ports' links and interfaces, which the control plane looks at while it waits for them and while it serves.

use std::time::{Duration, Instant};

use aoe_target::{PortId, ShelfSlot};
use spdk::{Initialized, Poller};

use super::control_plane::{Target, with};
use super::start_state::has_failed;
use crate::ports::Started;

/// How long the start waits for links: NICs negotiate, and Linux reports the links of its interfaces up to a second late.
/// A port without a link is served when it gets one.
const LINK_PATIENCE: Duration = Duration::from_secs(5);

/// Period of the look at ports. Replies that are too large for an MTU that was lowered are lost until then.
const PERIOD: Duration = Duration::from_millis(100);

/// Completes `done` when every lcore has started and every link that will come up by itself is up, or the patience for links is
/// over; fails it when an lcore has failed to start.
pub(super) fn wait_for_start(done: Initialized) -> Result<(), String> {
    let deadline = Instant::now() + LINK_PATIENCE;
    let mut done = Some(done);
    let poller = Poller::register(Duration::from_millis(10), move || {
        let starting = with(|target| target.starting).unwrap_or_default() > 0;
        let waits = with(|target| target.ports.iter().any(Started::is_worth_waiting_for)).unwrap_or(false);
        if !has_failed() && (starting || waits && Instant::now() <= deadline) {
            // The next look comes in 10 ms.
            return false;
        }
        let Some(done) = done.take() else {
            tracing::error!("links are waited for after the start");
            return false;
        };
        // The poller ends first, because completing may start the next subsystem and everything after it.
        with(|target| {
            target.watch = None;
            target.ports.iter_mut().for_each(Started::note_start);
        });
        if has_failed() {
            done.fail(100);
        } else {
            watch();
            done.succeed();
        }
        true
    })
    .map_err(|error| error.to_string())?;
    with(|target| target.watch = Some(poller));
    Ok(())
}

/// Looks at the ports from now on.
fn watch() {
    let poller = Poller::register(PERIOD, || {
        with(Target::look_at_ports);
        false
    });
    match poller {
        Ok(poller) => with(|target| target.watch = Some(poller)),
        Err(error) => {
            tracing::error!(%error, "links and interfaces are not watched");
            None
        }
    };
}

impl Target {
    /// Has lcores serve the ports as they are now, and advertises the exports of those that have changed or whose link has
    /// come up, so that initiators need not ask.
    fn look_at_ports(&mut self) {
        for port in &mut self.ports {
            let number = PortId(port.number());
            let before = port.counted();
            let changes = port.look();
            if port.counted() != before {
                self.registry.set_port_changes(number, port.counted());
            }
            if let Some((old, mac, limits)) = changes.served {
                self.lcores.post(move |lcore| lcore.change_port(number, old, mac, limits));
            }
            if changes.shown {
                let (netif, mtu, mac) = port.shown();
                self.registry.port_changed(number, netif, mtu, mac);
            }
            if changes.advertise {
                self.lcores.advertise(Some(number), ShelfSlot::WILDCARD);
            }
        }
    }
}
