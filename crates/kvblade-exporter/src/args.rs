//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser};
use rpc_client::DEFAULT_SOCKET;

/// Most initiators that have series of their own.
pub(crate) const INITIATORS_MAX: usize = 1024;

/// Show a running kvblade-dpdk to Prometheus (/metrics), and to people on a status page (/)
///
/// Example: kvblade-exporter --rpc-socket /run/kvblade-dpdk/rpc.sock
#[derive(Debug, Parser)]
#[command(name = "kvblade-exporter", version)]
pub(crate) struct Args {
    /// Address and port to listen on; one that other machines reach needs a token and TLS
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9779", value_parser = parse_listen)]
    pub(crate) listen: SocketAddr,
    /// Unix socket that kvblade-dpdk listens on, as its --rpc-socket says
    #[arg(short = 's', long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) rpc_socket: PathBuf,
    /// How long the target may take to answer a scrape, 0.1 to 60
    #[arg(short, long, value_name = "SECONDS", default_value = "5", value_parser = parse_timeout)]
    pub(crate) timeout: Duration,
    /// How many initiators have series of their own in every scrape, 0 to 1024; all others are counted together
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = parse_initiators)]
    pub(crate) initiators: usize,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
    /// Print the metrics once and end, without listening
    #[arg(long)]
    pub(crate) once: bool,
}

/// The files by which clients and the exporter prove who they are.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Credentials {
    /// File with the token that clients have to give (Authorization: Bearer TOKEN)
    #[arg(long, value_name = "PATH")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with a token that may also create, delete and limit exports on the status page; without it, the page only shows
    #[arg(long, value_name = "PATH")]
    pub(crate) change_token_file: Option<PathBuf>,
    /// File with the certificate and its chain, in PEM
    #[arg(long, value_name = "PATH", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// File with the certificate's private key, in PEM
    #[arg(long, value_name = "PATH", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "it must be an IP address and a port, such as 127.0.0.1:9779 or [::1]:9779".to_owned())
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=60.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it must be a number of seconds from 0.1 to 60".to_owned())
}

fn parse_initiators(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= INITIATORS_MAX);
    number.ok_or_else(|| format!("it must be a number from 0 to {INITIATORS_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(words: &[&str]) -> String {
        let error = Args::try_parse_from([&["kvblade-exporter"], words].concat()).unwrap_err();
        rpc_client::command::sentence(&error)
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        for (words, parts) in [
            (&["--listen", "localhost"][..], ["'localhost'", "127.0.0.1:9779"]),
            (&["--timeout", "0"], ["'0'", "from 0.1 to 60"]),
            (&["--timeout", "NaN"], ["'NaN'", "from 0.1 to 60"]),
            (&["--initiators", "1025"], ["'1025'", "from 0 to 1024"]),
            (&["--tls-cert", "c.pem"], ["--tls-key", "missing"]),
        ] {
            let sentence = refusal(words);
            assert!(parts.iter().all(|part| sentence.contains(part)), "{words:?}: {sentence}");
        }
    }

    #[test]
    fn by_default_only_this_machine_is_answered() {
        let args = Args::try_parse_from(["kvblade-exporter"]).unwrap();
        assert!(args.listen.ip().is_loopback());
        assert_eq!((args.initiators, args.timeout), (0, Duration::from_secs(5)));
    }
}
