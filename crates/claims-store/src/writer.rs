//! The thread that writes. It waits for disks, so it is none of SPDK's.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sys::signal::SigSet;

use crate::{SaveError, Store};

type Done = Box<dyn FnOnce(Result<(), SaveError>) + Send>;

struct Save {
    name: String,
    payload: String,
    done: Done,
}

/// A thread that saves what it is given, one after the other. Dropping this waits until all of it is saved.
#[derive(Debug)]
pub struct Writer {
    saves: Option<Sender<Save>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. Before SPDK's reactors are started: it would inherit the one CPU that they are bound to,
    /// and have to share it with a loop that never sleeps.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: Store) -> io::Result<Self> {
        let (saves, incoming) = channel::<Save>();
        let thread = thread::Builder::new().name("claims-writer".into()).spawn(move || {
            // Signals are SPDK's, on its own thread.
            let _ = SigSet::all().thread_block();
            for Save { name, payload, done } in incoming {
                done(store.save(&name, &payload));
            }
        })?;
        Ok(Self { saves: Some(saves), thread: Some(thread) })
    }

    /// Saves as [`Store::save`] does, on the writer's thread, and calls `done` there. Never waits.
    pub fn save(
        &self,
        name: String,
        payload: String,
        done: impl FnOnce(Result<(), SaveError>) + Send + 'static,
    ) {
        if let Some(saves) = &self.saves {
            // The thread ends after the sender is gone, so it takes this.
            let _ = saves.send(Save { name, payload, done: Box::new(done) });
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.saves = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
