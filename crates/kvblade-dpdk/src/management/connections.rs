//! The open connections, and which one makes room for another.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// At most one line on closed connections in this time; clients can cause them.
const LOG_PERIOD: Duration = Duration::from_secs(1);

/// The connections of the management socket, of which there is a limit. When it is reached, a new client takes the place
/// of the one that has been idle longest.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    open: Mutex<Open>,
    /// A call has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    clients: BTreeMap<u64, Client>,
    stopping: bool,
    logged: Option<Instant>,
    /// Clients without a place since then.
    unlogged: u64,
}

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    process: String,
    /// A call of it is carried out, or its answer is sent.
    busy: bool,
    /// When it became idle or busy.
    since: Instant,
}

/// A client's place. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    of: Arc<Connections>,
}

/// All places are taken by clients whose calls are carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Connections {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default(), ended: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a client, which is idle at first. `process` names it in the log.
    pub(super) fn admit(self: &Arc<Self>, stream: UnixStream, process: String) -> Result<Place, Full> {
        let mut open = self.lock();
        while open.clients.len() >= self.limit {
            if !open.close_longest_idle(self.limit) {
                open.log(|unlogged| {
                    tracing::warn!(
                        client = process,
                        unlogged,
                        "a connection to the management socket is refused: all {} have calls in progress (--rpc-connections)",
                        self.limit
                    );
                });
                return Err(Full);
            }
        }
        open.next += 1;
        let number = open.next;
        open.clients.insert(number, Client { stream, process, busy: false, since: Instant::now() });
        Ok(Place { number, of: Arc::clone(self) })
    }

    /// Ends the connections of idle clients. Those with a call end when it is answered.
    pub(super) fn stop(&self) {
        let mut open = self.lock();
        open.stopping = true;
        open.clients.values().filter(|client| !client.busy).for_each(Client::close);
    }

    /// Waits until no call is in progress, `limit` at most.
    pub(super) fn wait_for_calls(&self, limit: Duration) {
        let open = self.lock();
        let is_busy = |open: &mut Open| open.clients.values().any(|client| client.busy);
        // Over the limit, clients see that the connection ends.
        drop(self.ended.wait_timeout_while(open, limit, is_busy));
    }
}

impl Open {
    fn close_longest_idle(&mut self, limit: usize) -> bool {
        let idle = self.clients.iter().filter(|(_, client)| !client.busy);
        let Some(number) = idle.min_by_key(|(_, client)| client.since).map(|(number, _)| *number) else {
            return false;
        };
        if let Some(client) = self.clients.remove(&number) {
            client.close();
            self.log(|unlogged| {
                tracing::warn!(
                    client = client.process,
                    idle_seconds = client.since.elapsed().as_secs(),
                    unlogged,
                    "an idle connection to the management socket is closed for another one: {limit} are allowed \
                     (--rpc-connections)"
                );
            });
        }
        true
    }

    fn log(&mut self, log: impl FnOnce(u64)) {
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_PERIOD) {
            self.unlogged += 1;
            return;
        }
        self.logged = Some(Instant::now());
        log(std::mem::take(&mut self.unlogged));
    }
}

impl Client {
    /// Its thread sees the end of the stream.
    fn close(&self) {
        if let Err(error) = self.stream.shutdown(Shutdown::Both) {
            tracing::debug!(client = self.process, %error, "the client has closed the connection itself");
        }
    }
}

impl Place {
    /// A call begins. False if the client has lost its place, or the program ends.
    pub(super) fn begin_call(&self) -> bool {
        self.change(true)
    }

    /// The answer is sent. False as above.
    pub(super) fn end_call(&self) -> bool {
        let stays = self.change(false);
        self.of.ended.notify_all();
        stays
    }

    fn change(&self, busy: bool) -> bool {
        let mut open = self.of.lock();
        let stopping = open.stopping;
        let Some(client) = open.clients.get_mut(&self.number) else { return false };
        (client.busy, client.since) = (busy, Instant::now());
        !stopping
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.lock().clients.remove(&self.number);
        self.of.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A client with a place, and the client's end of its connection.
    fn client(connections: &Arc<Connections>) -> (Result<Place, Full>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        (connections.admit(ours, "test".into()), theirs)
    }

    fn is_open(mut stream: &UnixStream) -> bool {
        stream.read(&mut [0]).is_err()
    }

    #[test]
    fn the_client_that_has_been_idle_longest_makes_room() {
        let connections = Connections::new(3);
        let clients: Vec<_> = (0..3).map(|_| client(&connections)).collect();
        // The second one is idle again, later than the third.
        let place = clients[1].0.as_ref().unwrap();
        assert!(place.begin_call() && place.end_call());
        let first = clients[0].0.as_ref().unwrap();
        assert!(first.begin_call(), "it has a call");
        let (fourth, _stream) = client(&connections);
        assert!(fourth.is_ok());
        let open: Vec<bool> = clients.iter().map(|(_, stream)| is_open(stream)).collect();
        assert_eq!(open, [true, true, false]);
        assert!(!clients[2].0.as_ref().unwrap().begin_call(), "it has lost its place");
    }

    #[test]
    fn clients_with_calls_keep_their_places() {
        let connections = Connections::new(2);
        let mut clients: Vec<_> = (0..2).map(|_| client(&connections)).collect();
        clients.iter().for_each(|(place, _)| assert!(place.as_ref().unwrap().begin_call()));
        assert_eq!(client(&connections).0.unwrap_err(), Full);
        assert!(clients.iter().all(|(_, stream)| is_open(stream)));
        drop(clients.remove(0));
        assert!(client(&connections).0.is_ok(), "a client that has gone leaves its place");
    }

    #[test]
    fn a_stop_ends_idle_clients_at_once_and_others_with_their_calls() {
        let connections = Connections::new(2);
        let (idle, calling) = (client(&connections), client(&connections));
        let place = calling.0.unwrap();
        assert!(place.begin_call());
        connections.stop();
        assert!(!is_open(&idle.1) && is_open(&calling.1));
        connections.wait_for_calls(Duration::from_millis(1));
        assert!(!place.end_call(), "it ends");
        connections.wait_for_calls(Duration::from_secs(3600));
    }
}
