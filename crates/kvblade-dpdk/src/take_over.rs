//! `--take-over`: the start of a program in the place of one that serves.
//!
//! All that takes long is done while the other one serves on: the command line, EAL with its memory, SPDK. Then the other is
//! asked to end (`aoe_hand_over`): it answers what it has in flight, closes its disks and gives the state directory up. When the
//! kernel says that it has ended, this program opens the directory, its ports and its disks, and advertises its exports.
//! Initiators repeat what was sent in between.
//!
//! A thread of its own waits for the other program, because that and reading the directory may take long. It is started before EAL
//! binds threads to CPUs.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use control::{GetLogLevel, HandOver, Method};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use rpc_client::Client;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use spdk::Poller;

use crate::command_line::CommandLine;
use crate::launch_error::LaunchError;
use crate::target::StateStore;

/// Time that the other program has for its answers.
const ANSWER: Duration = Duration::from_secs(10);

/// Time that the other program has to end: it gives requests in flight 5 s.
const END: Duration = Duration::from_secs(15);

/// Period of the look for the thread's word.
const PERIOD: Duration = Duration::from_micros(500);

/// The program whose place is to be taken.
struct Predecessor {
    client: Client,
    process: OwnedFd,
    number: i32,
}

/// The thread that ends the other program and opens the state directory.
pub(crate) struct TakeOver {
    begin: SyncSender<()>,
    opened: Receiver<Result<StateStore, String>>,
}

/// The rest of the start, which gets the state store.
type Rest = Box<dyn FnOnce(Result<StateStore, String>)>;

struct Waiting {
    take_over: TakeOver,
    rest: Rest,
    _poller: Poller,
}

thread_local! {
    /// On the app's thread.
    static WAITING: RefCell<Option<Waiting>> = const { RefCell::new(None) };
}

impl TakeOver {
    /// Looks for the program that listens at the RPC socket, and starts the thread. Nothing is asked of the other one yet.
    ///
    /// # Errors
    /// One sentence: nobody listens, or the command line has devices that two programs can't have at a time.
    pub(crate) fn prepare(command: &CommandLine) -> Result<Self, LaunchError> {
        if !command.eal.no_pci {
            return Err(LaunchError::usage(
                "--take-over needs --no-pci: a PCI device can't be opened while the other program has it; end that one first, \
                 as systemctl restart does",
            ));
        }
        let predecessor = Predecessor::at(&command.rpc_socket)?;
        tracing::info!(process = predecessor.number, "another program serves, whose place is to be taken");
        let (begin, began) = sync_channel(1);
        let (open, opened) = sync_channel(1);
        let directory = command.state_dir.clone();
        let run = move || {
            // SPDK handles signals on its own thread. Should the mask fail, they arrive there a moment later.
            SigSet::all().thread_block().unwrap_or_default();
            // Without a word this start has failed, and the other program serves on.
            if began.recv() == Ok(()) {
                let result = predecessor.end().and_then(|()| open_state(&directory));
                if open.send(result).is_err() {
                    tracing::debug!("the program ends before it has taken over");
                }
            }
        };
        thread::Builder::new()
            .name("take-over".into())
            .spawn(run)
            .map_err(|error| LaunchError::environment(format!("the thread for --take-over: {error}")))?;
        Ok(Self { begin, opened })
    }

    /// Has the other program end, and goes on with `rest` then. On the app's thread.
    pub(crate) fn begin(self, rest: impl FnOnce(Result<StateStore, String>) + 'static) {
        let poller = match self.begin.send(()) {
            Ok(()) => Poller::register(PERIOD, look).map_err(|error| error.to_string()),
            Err(_) => Err("the thread for --take-over has ended".into()),
        };
        match poller {
            Ok(poller) => {
                WAITING.set(Some(Waiting { take_over: self, rest: Box::new(rest), _poller: poller }));
            }
            Err(sentence) => rest(Err(sentence)),
        }
    }
}

/// Looks whether the state directory is open. True when it is.
fn look() -> bool {
    let result = WAITING.with_borrow(|waiting| match waiting.as_ref()?.take_over.opened.try_recv() {
        Ok(result) => Some(result),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => Some(Err("the thread for --take-over has ended".into())),
    });
    let Some(result) = result else { return false };
    // The poller ends here, so this is its last call.
    if let Some(Waiting { rest, .. }) = WAITING.take() {
        rest(result);
    }
    true
}

fn open_state(directory: &Path) -> Result<StateStore, String> {
    StateStore::open(directory).map_err(|error| error.to_string())
}

impl Predecessor {
    fn at(socket: &Path) -> Result<Self, LaunchError> {
        let failed = |what: &dyn std::fmt::Display| LaunchError::environment(format!("--take-over: {what}"));
        let mut client = Client::connect(socket, ANSWER).map_err(|error| failed(&error))?;
        let number = client.process().map_err(|error| failed(&error))?;
        let pid = Pid::from_raw(number).ok_or_else(|| failed(&"its process is not visible here"))?;
        let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(&error))?;
        // Its answer shows that the process that was opened is the one that listens, and that it is of this kind.
        client.call::<Value>(GetLogLevel::NAME, None).map_err(|error| failed(&error))?;
        Ok(Self { client, process, number })
    }

    /// Asks it to end, and waits until it has.
    fn end(mut self) -> Result<(), String> {
        let pid = std::process::id();
        let ended = self.client.call::<Value>(HandOver::NAME, Some(HandOver { pid }.to_params()));
        ended.map_err(|error| format!("--take-over: process {} does not end: {error}", self.number))?;
        let mut waited = [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(END).unwrap_or(PollTimeout::MAX);
        match poll(&mut waited, timeout) {
            Ok(1..) => Ok(()),
            Ok(_) => Err(format!(
                "--take-over: process {} has not ended within {} s: end it, and start without --take-over",
                self.number,
                END.as_secs()
            )),
            Err(error) => Err(format!("--take-over: waiting for process {}: {error}", self.number)),
        }
    }
}
