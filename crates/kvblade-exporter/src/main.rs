//! A running kvblade-dpdk for Prometheus, and a status page for people, over HTTP.
//!
//! One thread ([`target`]) makes the calls at the RPC socket; each answer becomes a [`snapshot`]. A scrape takes a new snapshot
//! and is written as text by [`metrics`]. A sampler takes one every few seconds for the page ([`history`], [`status`]), so that
//! the number of people who look at it makes no difference to the target. [`server`] has the connections and [`site`] what
//! they may ask for; [`changes`] are for those who have the token for them.
#![forbid(unsafe_code)]

mod access;
mod answers;
mod args;
mod changes;
mod exposition;
mod health;
mod history;
mod latency;
mod log;
mod metrics;
mod process;
mod server;
mod site;
mod snapshot;
mod status;
mod target;
mod tls;

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use rpc_client::command::{self, CommandError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::Access;
use crate::args::Args;
use crate::exposition::Format;
use crate::log::log;
use crate::site::Site;
use crate::target::{Target, Wanted};

fn main() -> ExitCode {
    command::run(run)
}

fn run(args: Args) -> Result<String, CommandError> {
    if args.once {
        return once(&args);
    }
    let access = Arc::new(Access::load(args.listen, args.credentials).map_err(CommandError::Usage)?);
    let failed = |what: &str, error: std::io::Error| CommandError::Refused(format!("{what}: {error}"));
    let listener = TcpListener::bind(args.listen)
        .map_err(|error| failed(&format!("cannot listen on '{}'", args.listen), error))?;
    let address = listener.local_addr().map_err(|error| failed("the address listened on", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("cannot start the server", error))?;
    let mut signals =
        Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| failed("cannot handle signals", error))?;
    let target = Target::start(&args.rpc_socket).map_err(|error| failed("cannot start a thread", error))?;
    let site = Arc::new(Site::new(target, Arc::clone(&access), args.timeout, args.initiators));
    let scheme = if access.has_tls() { "https" } else { "http" };
    log(&format!("listening on {scheme}://{address}, for kvblade-dpdk at '{}'", args.rpc_socket.display()));
    thread::Builder::new()
        .name("http".into())
        .spawn(move || runtime.block_on(server::serve(listener, site)))
        .map_err(|error| failed("cannot start a thread", error))?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        match access.reload() {
            Ok(()) => log("tokens and certificate are read again"),
            Err(sentence) => log(&format!("{sentence}; the former tokens and certificate stay")),
        }
    }
    Ok(String::new())
}

/// The metrics of this moment, for `--once`.
fn once(args: &Args) -> Result<String, CommandError> {
    let wanted = Wanted { initiators: args.initiators > 0, health: false };
    let snapshot =
        target::take_once(&args.rpc_socket, args.timeout, wanted).map_err(CommandError::Refused)?;
    let mut initiators = wanted.initiators.then(|| metrics::InitiatorSeries::new(args.initiators));
    Ok(metrics::exposition(Format::Text, &Ok(Arc::new(snapshot)), initiators.as_mut(), None))
}
