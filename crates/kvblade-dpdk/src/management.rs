//! The management socket (`--rpc-socket`): JSON-RPC on threads of its own, off the lcores' CPUs where there are others.
//!
//! So neither the number of clients, nor the time that they take, nor the size of an answer is felt by an lcore. Methods of
//! this program are carried out on the app's thread, and the text of their answers is made and sent here. Calls of SPDK's
//! methods are passed on to SPDK's own server, which listens beside.

pub(crate) mod access;
mod audit;
mod client;
mod connections;
mod peer;
mod request;
mod spdk_calls;
mod unsent;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use control::{Action, ErrorCode};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, gettid};
use rustix::net::{Shutdown, shutdown};
use serde_json::Value;

use crate::answer::Reply;
use crate::cpus;
use crate::launch_error::LaunchError;
use access::SocketAccess;
use audit::Audit;
use client::Service;
use connections::Connections;
use peer::Peer;
use spdk_calls::{SpdkCalls, error_answer};

/// Time after a failed accept: descriptors may be used up.
const RETRY: Duration = Duration::from_millis(100);

/// Memory for the stack of a client's thread, in bytes: JSON is nested at most 128 levels deep.
const STACK: usize = 1 << 20;

/// The socket while it is listened at.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

struct Open {
    path: PathBuf,
    lock: Flock<File>,
    listener: UnixListener,
    connections: Arc<Connections>,
    audit: Option<Arc<Audit>>,
}

/// The thread that takes new connections, before there is a socket.
pub(crate) struct Management {
    thread: Pid,
    connections: Arc<Connections>,
    access: SocketAccess,
    audit: Option<Arc<Audit>>,
    begin: SyncSender<(UnixListener, Arc<Service>)>,
}

impl Management {
    /// Starts the thread, for that many clients at a time who have this access, and the audit log at `audit_log`. Call it before
    /// EAL binds threads to CPUs: the clients' threads inherit its CPUs.
    ///
    /// # Errors
    /// One sentence, if the system has no thread to give, or the audit log can't be opened.
    pub(crate) fn start(
        limit: usize,
        access: SocketAccess,
        audit_log: Option<&Path>,
    ) -> Result<Self, LaunchError> {
        let audit = audit_log.map(Audit::start).transpose()?.map(Arc::new);
        let failed = |error: &dyn std::error::Error| {
            LaunchError::environment(format!("the thread for --rpc-socket: {error}"))
        };
        let connections = Connections::new(limit);
        let admitted = Arc::clone(&connections);
        let (begin, socket) = sync_channel(1);
        let (started, thread) = sync_channel(1);
        let run = move || {
            // SPDK handles signals on its own thread. Should the mask fail, they arrive there a moment later.
            SigSet::all().thread_block().unwrap_or_default();
            // The receiver waits below; without it the thread has nothing to report.
            started.send(gettid()).unwrap_or_default();
            accept(&socket, &admitted);
        };
        thread::Builder::new().name("management".into()).spawn(run).map_err(|error| failed(&error))?;
        let thread = thread.recv().map_err(|error| failed(&error))?;
        Ok(Self { thread, connections, access, audit, begin })
    }

    /// Takes the thread off the CPUs of `lcores`, which poll.
    pub(crate) fn leave(&self, lcores: &BTreeSet<u32>) {
        if let Err(error) = cpus::leave(self.thread, lcores) {
            tracing::warn!("the threads of the management socket may run on an lcore's CPU: {error}");
        }
        if let Some(audit) = &self.audit {
            audit.leave(lcores);
        }
    }

    /// Listens at `path`. SPDK's server listens at `spdk_socket`, or will soon. `carry_out` is called on the threads of clients.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn listen(
        self,
        path: &Path,
        spdk_socket: PathBuf,
        carry_out: impl Fn(Action, Reply) + Send + Sync + 'static,
    ) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("cannot listen at --rpc-socket '{}': {error}", path.display())
        };
        // As SPDK does, so that no two programs listen at one path. Whoever has the lock may remove the socket of a process
        // that was killed.
        let lock = File::options().create(true).truncate(false).write(true).open(lock_path(path));
        let lock = lock.map_err(|error| failed(&error))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, error)| failed(&format_args!("another process listens there ({error})")))?;
        remove(path);
        let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
        self.access.apply(path).map_err(|sentence| failed(&sentence))?;
        let accepted = listener.try_clone().map_err(|error| failed(&error))?;
        let service = Service::new(Box::new(carry_out), SpdkCalls::at(spdk_socket), self.audit.clone());
        self.begin.send((accepted, Arc::new(service))).map_err(|error| failed(&error))?;
        let (connections, audit) = (self.connections, self.audit);
        let open = Open { path: path.to_owned(), lock, listener, connections, audit };
        *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        Ok(())
    }
}

/// Takes no more connections and removes the socket; idle ones are closed. Does nothing if there is none.
pub(crate) fn stop() {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(open) = &*open else { return };
    remove(&open.path);
    remove(&lock_path(&open.path));
    if let Err(error) = shutdown(&open.listener, Shutdown::Both) {
        tracing::warn!(%error, "the management socket takes connections until the program ends");
    }
    open.connections.stop();
}

/// After [`stop`]: waits until the last answers are sent, `limit` at most.
pub(crate) fn finish(limit: Duration) {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Open { connections, lock, audit, .. }) = open {
        connections.wait_for_calls(limit);
        if let Some(audit) = audit {
            audit.flush(limit);
        }
        drop(lock);
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    lock.into()
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!("'{}' can't be removed: {error}", path.display());
    }
}

/// Takes connections at the socket, once there is one, until it is shut down.
fn accept(socket: &Receiver<(UnixListener, Arc<Service>)>, connections: &Arc<Connections>) {
    // Without a socket the program has ended.
    let Ok((listener, service)) = socket.recv() else { return };
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = begin(stream, &service, connections) {
                    tracing::error!(%error, "a connection to the management socket can't be served");
                    thread::sleep(RETRY);
                }
            }
            // It was shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) => {
                tracing::error!(%error, "the management socket takes no connection");
                thread::sleep(RETRY);
            }
        }
    }
}

/// Serves a client on a thread of its own, if there is a place for it.
fn begin(mut stream: UnixStream, service: &Arc<Service>, connections: &Arc<Connections>) -> io::Result<()> {
    let peer = Peer::of(&stream);
    let Ok(place) = connections.admit(stream.try_clone()?, peer.to_string()) else {
        let message =
            "all connections have calls in progress: try again later, or allow more (--rpc-connections)";
        stream.set_nonblocking(true)?;
        return stream.write_all(&error_answer(&Value::Null, ErrorCode::Busy.number(), message));
    };
    let service = Arc::clone(service);
    let serve = move || service.serve(&stream, &place, &peer);
    thread::Builder::new().name("rpc".into()).stack_size(STACK).spawn(serve).map(drop)
}
