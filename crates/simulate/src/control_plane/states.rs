//! The state manager of the program, with a simulated way for each of its effects: saves go through the real state store, one after
//! the other as by its writer; they take their time, and some fail.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use aoe_target::{Acl, Export, ExportKey, InitiatorState};
use control::{StateEffect, StateEvent, StateManager, initiator_state};
use datapath::{Deferred, Lcore, deferred_channel};
use state_store::{Store, name};

use crate::{dice::Dice, frame::SHELF, state_directory::StateDirectory};

/// Ticks that a save takes at most.
const SLOWEST_SAVE: u64 = 60;

/// A request that an lcore deferred.
pub(super) struct Request {
    pub(super) lcore: usize,
    pub(super) deferred: Deferred,
}

impl AsRef<[u8]> for Request {
    fn as_ref(&self) -> &[u8] {
        self.deferred.request()
    }
}

/// A call, by its number.
pub(super) type Caller = u32;

/// An effect, of those that leave this module.
pub(super) type Effect = StateEffect<Request, Caller>;

/// A save that the writer has.
struct Save {
    until: u64,
    key: ExportKey,
    change: u64,
    name: String,
    payload: String,
}

/// See the module.
pub(super) struct States {
    dice: Dice,
    directory: StateDirectory,
    store: Store<StateDirectory>,
    /// The end of the writer's last save.
    writes_until: u64,
    /// In the order of their ends.
    saves: VecDeque<Save>,
    mailboxes: Vec<Receiver<Deferred>>,
    manager: StateManager<Request, Caller>,
    /// For the lcores.
    effects: Vec<Effect>,
}

/// The name under which the state of the export with this slot is saved.
pub(crate) fn state_name(slot: u8) -> String {
    name::of_export(&format!("{SHELF}.{slot}"), None, None)
}

/// The time of a tick: one is a millisecond.
fn time(tick: u64) -> Duration {
    Duration::from_millis(tick)
}

impl States {
    pub(super) fn new(dice: Dice, not_stored: u64, lcores: &mut [Lcore]) -> Self {
        let mailbox = |lcore: &mut Lcore| {
            let (sender, receiver) = deferred_channel();
            lcore.defer_to(sender);
            receiver
        };
        let directory = StateDirectory::new(dice, not_stored);
        let opened = Store::of(directory.clone(), initiator_state::from_payload);
        Self {
            dice,
            store: opened.expect("an empty directory").store,
            directory,
            writes_until: 0,
            saves: VecDeque::new(),
            manager: StateManager::new(lcores.len(), BTreeMap::new()),
            mailboxes: lcores.iter_mut().map(mailbox).collect(),
            effects: Vec::new(),
        }
    }

    /// The directory in which state is saved.
    pub(super) fn directory(&self) -> &StateDirectory {
        &self.directory
    }

    /// What lcores are to do.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// When something happens here next.
    pub(super) fn next(&self) -> Option<u64> {
        let limit = self.manager.next_limit().and_then(|limit| u64::try_from(limit.as_millis()).ok());
        self.saves.front().map(|save| save.until).into_iter().chain(limit).min()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.saves.is_empty() && self.manager.is_idle()
    }

    /// Takes charge of an export that is being created.
    pub(super) fn register(&mut self, export: &mut Export, slot: u8) {
        let closed = self.manager.register(export, state_name(slot));
        assert!(closed.is_none(), "nothing was read from a damaged file: {closed:?}");
    }

    /// Gives an export that is being made the state that the lcores get.
    pub(super) fn equip(&self, export: &mut Export) {
        // One that was deleted by force has none, and goes on with its end.
        _ = self.manager.equip(export);
    }

    /// The state and the ACL that every lcore has, if nothing is being changed.
    pub(super) fn of(&self, key: ExportKey) -> Option<(Arc<InitiatorState>, Option<Arc<Acl>>)> {
        self.manager.settled(key)
    }

    /// Something has happened to the state of an export.
    pub(super) fn happens(&mut self, key: ExportKey, event: StateEvent<Request, Caller>, now: u64) {
        let effects = self.manager.step(key, event, time(now));
        self.execute(effects, now);
    }

    /// Takes the requests that lcores have deferred, and goes on with what is due. Whether there was something.
    pub(super) fn tick(&mut self, now: u64) -> bool {
        let effects = self.manager.tick(time(now));
        let mut busy = !effects.is_empty();
        self.execute(effects, now);
        for lcore in 0..self.mailboxes.len() {
            while let Ok(deferred) = self.mailboxes[lcore].try_recv() {
                busy = true;
                self.happens(deferred.export(), StateEvent::Deferred(Request { lcore, deferred }), now);
            }
        }
        while self.saves.front().is_some_and(|save| save.until <= now)
            && let Some(Save { key, change, name, payload, .. }) = self.saves.pop_front()
        {
            busy = true;
            let result = self.store.save(&name, &payload).map_err(|error| error.to_string());
            self.happens(key, StateEvent::Saved(change, result), now);
        }
        busy
    }

    fn execute(&mut self, effects: Vec<Effect>, now: u64) {
        for effect in effects {
            match effect {
                StateEffect::Save { key, change, name, payload } => {
                    let until = self.writes_until.max(now) + self.dice.below(SLOWEST_SAVE, &[change, 0]);
                    self.writes_until = until;
                    self.saves.push_back(Save { until, key, change, name, payload });
                }
                other => self.effects.push(other),
            }
        }
    }
}
