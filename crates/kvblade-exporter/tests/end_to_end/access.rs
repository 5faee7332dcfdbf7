//! Token and TLS.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use lab::{Daemon, Namespace};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::exporter::{Exporter, namespace};
use crate::fake_target::FakeTarget;
use crate::http::{self, Answer, PATIENCE};

const TOKEN: &str = "a-token-of-this-test";

fn token_file(directory: &Path, token: &str) -> String {
    let path = directory.join("token");
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A certificate for 127.0.0.1 that signs itself, and its key.
fn certificate(directory: &Path, name: &str) -> [PathBuf; 2] {
    let paths = ["cert", "key"].map(|kind| directory.join(format!("{name}-{kind}.pem")));
    let mut openssl = Command::new(lab::installed("openssl").unwrap());
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=exporter".split(' '),
    );
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.arg("-out").arg(&paths[0]).arg("-keyout").arg(&paths[1]);
    lab::run(&mut openssl).unwrap();
    paths
}

/// A GET over TLS, by a client that trusts this certificate only.
fn get(
    namespace: &Namespace,
    address: &str,
    trusted: &Path,
    path: &str,
    token: &str,
) -> Result<Answer, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let authorization = format!("Bearer {token}");
    let request = http::request("GET", path, &[("Authorization", &authorization)]);
    let exchange = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let server = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(config, server).unwrap(), stream);
        http::over(&mut stream, &request).map_err(|error| error.to_string())
    };
    namespace.enter(exchange).unwrap().map(|text| http::parse(&text))
}

#[test]
fn data_takes_the_token_and_the_page_itself_does_not() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let file = token_file(fake.directory(), TOKEN);
    let exporter = Exporter::start(&namespace, &fake.socket(), &["--token-file", &file]);
    for path in ["/metrics", "/status.json"] {
        for headers in [&[][..], &[("Authorization", "Bearer a-token-of-another-one")]] {
            let refused = exporter.get(path, headers);
            assert_eq!(refused.status, 401, "{refused:?}");
            assert!(refused.headers.contains("www-authenticate: bearer"), "{refused:?}");
            assert!(!refused.body.contains("kvblade_"), "{refused:?}");
        }
        let admitted = exporter.get(path, &[("Authorization", &format!("Bearer {TOKEN}"))]);
        assert_eq!(admitted.status, 200, "{admitted:?}");
    }
    assert_eq!(exporter.get("/", &[]).status, 200);
}

#[test]
fn tls_serves_the_certificate_and_a_new_one_after_sighup() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let file = token_file(fake.directory(), TOKEN);
    let [cert, key] = certificate(fake.directory(), "first");
    let options =
        ["--token-file", &file, "--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    // Any address may be listened on then.
    let mut command = Exporter::command(&namespace, &fake.socket(), &options);
    command.args(["--listen", "0.0.0.0:9779"]);
    let mut daemon = Daemon::start(&mut command).unwrap();
    daemon.wait_for_log("listening on https://0.0.0.0:9779", PATIENCE).unwrap();
    let address = "127.0.0.1:9779";
    let trusted = fake.directory().join("trusted.pem");
    fs::copy(&cert, &trusted).unwrap();
    let answer = get(&namespace, address, &trusted, "/metrics", TOKEN).unwrap();
    assert!(answer.status == 200 && answer.body.contains("\nkvblade_up 1\n"), "{answer:?}");
    assert_eq!(get(&namespace, address, &trusted, "/metrics", "a-token-of-another-one").unwrap().status, 401);

    // One that has no key that fits leaves all as it was.
    let [next_cert, next_key] = certificate(fake.directory(), "next");
    fs::copy(&next_cert, &cert).unwrap();
    daemon.signal(Signal::SIGHUP).unwrap();
    daemon.wait_for_log("the former tokens and certificate stay", PATIENCE).unwrap();
    assert_eq!(get(&namespace, address, &trusted, "/metrics", TOKEN).unwrap().status, 200);
    fs::copy(&next_key, &key).unwrap();
    token_file(fake.directory(), "the-next-token-of-it");
    daemon.signal(Signal::SIGHUP).unwrap();
    daemon.wait_for_log("are read again", PATIENCE).unwrap();
    let refusal = get(&namespace, address, &trusted, "/metrics", TOKEN).unwrap_err();
    assert!(refusal.contains("certificate"), "{refusal}");
    assert_eq!(get(&namespace, address, &next_cert, "/metrics", TOKEN).unwrap().status, 401);
    assert_eq!(get(&namespace, address, &next_cert, "/metrics", "the-next-token-of-it").unwrap().status, 200);
}

#[test]
fn an_address_that_others_reach_is_refused_without_both() {
    lab::needs_root!();
    let (namespace, fake) = (namespace(), FakeTarget::start());
    let file = token_file(fake.directory(), TOKEN);
    for options in [&[][..], &["--token-file", &file]] {
        let mut command = Exporter::command(&namespace, &fake.socket(), options);
        command.args(["--listen", "0.0.0.0:9779"]);
        let mut daemon = Daemon::start(&mut command).unwrap();
        assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(2));
        let log = daemon.log().unwrap();
        assert!(log.starts_with("kvblade-exporter: refusing to listen on '0.0.0.0:9779'"), "{log}");
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}
