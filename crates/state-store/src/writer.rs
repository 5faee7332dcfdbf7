//! The thread that writes. It waits for disks, so it must not be one of SPDK's.

use std::io;
use std::sync::mpsc::{SendError, Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sys::signal::SigSet;

use crate::{SaveError, Store};

type Done = Box<dyn FnOnce(Result<(), SaveError>) + Send>;

struct Save {
    name: String,
    payload: String,
    done: Done,
}

/// A thread that carries out saves one after the other. Dropping the writer waits until all of them are done.
#[derive(Debug)]
pub struct Writer {
    saves: Option<Sender<Save>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. To be called before SPDK's reactors start: afterwards the thread would inherit the one CPU that
    /// they are bound to, and share it with a loop that never sleeps.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: Store) -> io::Result<Self> {
        let (saves, incoming) = channel::<Save>();
        let thread = thread::Builder::new().name("state-writer".into()).spawn(move || {
            // SPDK handles signals on its own thread. A signal that this thread takes would only arrive there later.
            if let Err(error) = SigSet::all().thread_block() {
                tracing::warn!("state-writer: signals can't be blocked: {error}");
            }
            for Save { name, payload, done } in incoming {
                done(store.save(&name, &payload));
            }
        })?;
        Ok(Self { saves: Some(saves), thread: Some(thread) })
    }

    /// Saves as [`Store::save`] does, on the writer's thread, and calls `done` there. Never waits. If the thread has ended,
    /// `done` is called at once with an error.
    pub fn save(
        &self,
        name: String,
        payload: String,
        done: impl FnOnce(Result<(), SaveError>) + Send + 'static,
    ) {
        let save = Save { name, payload, done: Box::new(done) };
        let unsent = match &self.saves {
            Some(saves) => saves.send(save).err().map(|SendError(save)| save),
            None => Some(save),
        };
        if let Some(Save { name, done, .. }) = unsent {
            done(Err(SaveError::writer_ended(&name)));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.saves = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("state-writer: the thread has panicked: saves may be missing");
        }
    }
}
