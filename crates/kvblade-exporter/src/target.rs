//! The calls at the RPC socket, made by one thread.
//!
//! The client blocks, and connecting to a target that does not take its clients has no time limit at all. So the thread may
//! hang, but nobody who asks it does: each has a deadline of their own. All who wait share the next answer, so that the target
//! has one call at a time, however many scrapers there are.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rpc_client::{Client, ClientError};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::oneshot;

use crate::answers::ExportInfo;
use crate::latency::Latency;
use crate::process::Process;
use crate::snapshot::{ExportId, Snapshot};

/// Most who wait for an answer at a time.
const WAITING_MAX: usize = 64;

/// Time in which an answer reaches the one who asked, once the calls have ended.
const DELIVERY: Duration = Duration::from_millis(100);

/// Most exports whose times are in a snapshot: each takes a call, and a copy on every lcore.
pub(crate) const TIMED_MAX: usize = 256;

/// What a snapshot has beside counters and exports.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// The target's own verdict, which costs it as much as all the rest.
    pub(crate) health: bool,
    /// The initiators of each export.
    pub(crate) initiators: bool,
}

/// What a call for a snapshot brings: a sentence if the target did not answer.
pub(crate) type Answer = Result<Arc<Snapshot>, String>;

/// The target behind a socket.
#[derive(Debug)]
pub(crate) struct Target {
    socket: PathBuf,
    asks: SyncSender<Ask>,
}

#[derive(Debug)]
struct Ask {
    deadline: Instant,
    wanted: Wanted,
    answer: oneshot::Sender<Answer>,
}

impl Target {
    /// Starts the thread, which connects when it is first asked.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub(crate) fn start(socket: &Path) -> io::Result<Self> {
        let (asks, receiver) = sync_channel(WAITING_MAX);
        let mut calls = Calls { socket: socket.to_owned(), client: None };
        thread::Builder::new().name("target".into()).spawn(move || calls.answer_all(&receiver))?;
        Ok(Self { socket: socket.to_owned(), asks })
    }

    /// The socket.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new snapshot. It may have more than is wanted, for others who ask at the same time.
    ///
    /// # Errors
    /// A sentence, if the target does not answer within that time, or not as it should.
    pub(crate) async fn snapshot(&self, within: Duration, wanted: Wanted) -> Answer {
        let silent = || {
            let socket = self.socket.display();
            format!("kvblade-dpdk at '{socket}' has not answered within {} s", within.as_secs_f32())
        };
        let (answer, answered) = oneshot::channel();
        match self.asks.try_send(Ask { deadline: Instant::now() + within, wanted, answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(format!("{WAITING_MAX} scrapes wait for an answer already"));
            }
            Err(TrySendError::Disconnected(_)) => return Err("the thread for calls has ended".into()),
        }
        match tokio::time::timeout(within + DELIVERY, answered).await {
            Ok(Ok(answer)) => answer,
            // The thread drops an ask whose deadline has passed.
            Ok(Err(_)) | Err(_) => Err(silent()),
        }
    }
}

/// One snapshot, on the caller's thread.
///
/// # Errors
/// A sentence, if the target does not answer.
pub(crate) fn take_once(socket: &Path, within: Duration, wanted: Wanted) -> Result<Snapshot, String> {
    let mut calls = Calls { socket: socket.to_owned(), client: None };
    calls.snapshot(Instant::now() + within, wanted).map_err(|error| error.to_string())
}

/// The thread's state.
struct Calls {
    socket: PathBuf,
    /// A connection on which no call has failed.
    client: Option<Client>,
}

impl Calls {
    fn answer_all(&mut self, asks: &Receiver<Ask>) {
        while let Ok(first) = asks.recv() {
            let now = Instant::now();
            let mut waiting: Vec<Ask> = std::iter::once(first).chain(asks.try_iter()).collect();
            waiting.retain(|ask| ask.deadline > now && !ask.answer.is_closed());
            let Some(deadline) = waiting.iter().map(|ask| ask.deadline).max() else { continue };
            let wanted = Wanted {
                health: waiting.iter().any(|ask| ask.wanted.health),
                initiators: waiting.iter().any(|ask| ask.wanted.initiators),
            };
            let answer = self.snapshot(deadline, wanted).map(Arc::new).map_err(|error| error.to_string());
            for ask in waiting {
                // One who has given up takes no answer.
                ask.answer.send(answer.clone()).unwrap_or_default();
            }
        }
    }

    fn snapshot(&mut self, deadline: Instant, wanted: Wanted) -> Result<Snapshot, ClientError> {
        let was_connected = self.client.is_some();
        match self.attempt(deadline, wanted) {
            // The target was started anew since the last call, or has closed the connection that was idle longest.
            Err(ClientError::Closed { .. } | ClientError::Broken { .. }) if was_connected => {
                self.attempt(deadline, wanted)
            }
            other => other,
        }
    }

    fn attempt(&mut self, deadline: Instant, wanted: Wanted) -> Result<Snapshot, ClientError> {
        let asked = Instant::now();
        // Only a connection on which every call succeeded is kept.
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.socket, left(deadline))?,
        };
        let stats = call(&mut client, deadline, "aoe_get_stats")?;
        let infos: Vec<ExportInfo> = call(&mut client, deadline, "aoe_get_exports")?;
        let latencies = latencies(&mut client, deadline, &infos)?;
        let timed = infos.iter().filter(|info| info.timed).count();
        let initiators =
            if wanted.initiators { Some(call(&mut client, deadline, "aoe_get_initiators")?) } else { None };
        let health = match wanted.health.then(|| call(&mut client, deadline, "aoe_get_health")) {
            Some(Ok(health)) => Some(health),
            // A target of an earlier release.
            None | Some(Err(ClientError::NoMethod { .. })) => None,
            Some(Err(error)) => return Err(error),
        };
        let process = Process::at(&client);
        self.client = Some(client);
        let times_left_out = timed.saturating_sub(TIMED_MAX);
        let mut snapshot = Snapshot::of(asked, stats, infos, initiators, process);
        snapshot.add_latencies(latencies);
        Ok(Snapshot { health, times_left_out, ..snapshot })
    }
}

/// The times of the exports that are timed, of [`TIMED_MAX`] at most.
fn latencies(
    client: &mut Client,
    deadline: Instant,
    infos: &[ExportInfo],
) -> Result<Vec<(ExportId, Latency)>, ClientError> {
    let mut latencies = Vec::new();
    for info in infos.iter().filter(|info| info.timed).take(TIMED_MAX) {
        let mut params = json!({ "shelf": info.shelf, "slot": info.slot });
        if let Some(vlan) = info.vlan {
            params["vlan"] = vlan.into();
        }
        // Several exports may have the address, on different ports.
        if let Some(port) = info.ports.first() {
            params["port"] = port.name.as_str().into();
        }
        match client.call_within(left(deadline), "aoe_get_histogram", Some(params)) {
            Ok(latency) => latencies.push((ExportId::of(info), latency)),
            // It was deleted, or is timed no longer, since it was listed.
            Err(ClientError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(latencies)
}

fn call<T: DeserializeOwned>(client: &mut Client, deadline: Instant, method: &str) -> Result<T, ClientError> {
    client.call_within(left(deadline), method, None)
}

/// Never nothing, which the system takes for "no limit".
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

    use super::*;

    /// Long enough for a machine that is busy with other things, and short enough to wait for its end.
    const SHORT: Duration = Duration::from_millis(300);

    fn wait<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    /// Answers every call by `answer`, which gets the method and the number of calls so far.
    fn serve(path: &Path, answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let calls = AtomicUsize::new(0);
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut call = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut call) {
                    let request: serde_json::Value = serde_json::from_slice(&call[..length]).unwrap();
                    let method = request["method"].as_str().unwrap();
                    let result = answer(method, calls.fetch_add(1, Ordering::Relaxed));
                    write!(stream, r#"{{"id":{},"result":{result}}}"#, request["id"]).unwrap();
                }
            }
        });
    }

    #[test]
    fn all_who_wait_share_an_answer() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpc");
        let (begun, first_call) = std::sync::mpsc::channel();
        let (go_on, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        serve(&path, move |method, number| {
            if number == 0 {
                begun.send(()).unwrap();
                gate.lock().unwrap().recv().unwrap();
            }
            if method == "aoe_get_stats" {
                format!(r#"{{"exports":[],"ports":[],"lcores":[{{"lcore":0,"turns":{number}}}]}}"#)
            } else {
                "[]".into()
            }
        });
        let target = Arc::new(Target::start(&path).unwrap());
        let turns = wait(async {
            let ask = || {
                let target = Arc::clone(&target);
                tokio::spawn(async move {
                    target.snapshot(Duration::from_secs(60), Wanted::default()).await.unwrap().lcores[&0]["turns"]
                })
            };
            let first = ask();
            tokio::task::yield_now().await;
            first_call.recv().unwrap();
            let others = [ask(), ask(), ask()];
            tokio::task::yield_now().await;
            go_on.send(()).unwrap();
            let mut turns = vec![first.await.unwrap()];
            for other in others {
                turns.push(other.await.unwrap());
            }
            turns
        });
        assert_eq!(turns, [0, 2, 2, 2], "those who came during the first call share the second one");
    }

    #[test]
    fn a_target_that_takes_no_client_hangs_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpc");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        // It fills the queue of those who are not accepted; the next one waits in connect().
        let _queued = UnixStream::connect(&path).unwrap();
        let target = Target::start(&path).unwrap();
        for _ in 0..2 {
            let refusal = wait(target.snapshot(SHORT, Wanted::default())).unwrap_err();
            assert!(
                refusal.contains(path.to_str().unwrap()) && refusal.contains("within 0.3 s"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_none_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpc");
        serve(&path, |_, _| r#"{"exports":7}"#.into());
        let target = Target::start(&path).unwrap();
        let refusal = wait(target.snapshot(Duration::from_secs(60), Wanted::default())).unwrap_err();
        assert!(refusal.starts_with("aoe_get_stats: the answer makes no sense"), "{refusal}");
        let nobody = take_once(&directory.path().join("none"), SHORT, Wanted::default()).unwrap_err();
        assert!(nobody.starts_with("cannot reach kvblade-dpdk at"), "{nobody}");
    }
}
