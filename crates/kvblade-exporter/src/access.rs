//! Who may ask: the address that is listened on, the token, the certificate, and the name in a request's `Host`.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use crate::args::Credentials;
use crate::tls;

/// Shortest and longest token, in bytes.
const TOKEN_LENGTH: std::ops::RangeInclusive<usize> = 16..=256;

/// The credentials in force; they may be read again while the server runs.
#[derive(Debug)]
pub(crate) struct Access {
    files: Credentials,
    loaded: RwLock<Loaded>,
}

#[derive(Debug, Clone)]
struct Loaded {
    token: Option<Arc<Token>>,
    change_token: Option<Arc<Token>>,
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls(TlsAcceptor);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Access {
    /// Reads the files, if the address may be listened on with them.
    ///
    /// # Errors
    /// A sentence, about the address or about a file.
    pub(crate) fn load(listen: SocketAddr, files: Credentials) -> Result<Self, String> {
        let complete = files.token_file.is_some() && files.tls_cert.is_some();
        if !listen.ip().to_canonical().is_loopback() && !complete {
            return Err(format!(
                "refusing to listen on '{listen}', which other machines can reach, without a token and TLS: give \
                 --token-file, --tls-cert and --tls-key, or an address of the loopback interface such as 127.0.0.1:9779"
            ));
        }
        let loaded = RwLock::new(Loaded::read(&files)?);
        Ok(Self { files, loaded })
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// A sentence, if one is not as it must be; what was read before stays in force.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let loaded = Loaded::read(&self.files)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// What completes a TLS handshake, if connections are to make one.
    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        self.loaded().tls.map(|tls| tls.0)
    }

    /// Whether connections use TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.loaded().tls.is_some()
    }

    /// Whether a request with this `Authorization` may see data.
    pub(crate) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let loaded = self.loaded();
        let Some(token) = &loaded.token else { return true };
        let given = authorization.and_then(bearer);
        given.is_some_and(|given| token.is(given) || loaded.is_for_changes(given))
    }

    /// Whether anybody may change exports.
    pub(crate) fn allows_changes(&self) -> bool {
        self.loaded().change_token.is_some()
    }

    /// Whether a request with this `Authorization` may change exports.
    pub(crate) fn admits_changes(&self, authorization: Option<&[u8]>) -> bool {
        authorization.and_then(bearer).is_some_and(|given| self.loaded().is_for_changes(given))
    }

    /// Whether a request comes from a page of this site: one of another site could have a browser send it. A program that is no browser
    /// sends neither header.
    pub(crate) fn is_same_origin(
        origin: Option<&[u8]>,
        fetch_site: Option<&[u8]>,
        host: Option<&[u8]>,
    ) -> bool {
        let from_here = |origin: &[u8]| {
            let name =
                [b"https://".as_slice(), b"http://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
            name.is_some() && name == host
        };
        origin.is_none_or(from_here) && fetch_site.is_none_or(|site| site == b"same-origin")
    }

    /// Whether a request for this `Host` may be answered. Without a token, a page of another site could have a browser on this
    /// machine ask here under that site's name (DNS rebinding), so the name must be one of this machine's loopback interface.
    pub(crate) fn serves_host(&self, host: Option<&[u8]>) -> bool {
        self.loaded().token.is_some()
            || host.is_none_or(|host| std::str::from_utf8(host).is_ok_and(is_loopback_name))
    }

    fn loaded(&self) -> Loaded {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Loaded {
    fn read(files: &Credentials) -> Result<Self, String> {
        let load = |path: &Option<PathBuf>| path.as_deref().map(Token::load).transpose();
        let (token, change_token) = (load(&files.token_file)?, load(&files.change_token_file)?);
        if let (Some(token), Some(change_token)) = (&token, &change_token)
            && token.is(&change_token.0)
        {
            return Err(
                "--token-file and --change-token-file have the same token: whoever may look could change \
                        exports, so give two"
                    .into(),
            );
        }
        let tls = match (&files.tls_cert, &files.tls_key) {
            (Some(cert), Some(key)) => Some(Tls(tls::acceptor(cert, key)?)),
            _ => None,
        };
        Ok(Self { token: token.map(Arc::new), change_token: change_token.map(Arc::new), tls })
    }

    fn is_for_changes(&self, given: &[u8]) -> bool {
        self.change_token.as_ref().is_some_and(|token| token.is(given))
    }
}

/// A secret that clients give. It is never shown.
struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    fn load(path: &Path) -> Result<Self, String> {
        let failed = |what: String| format!("the token file '{}' {what}", path.display());
        let metadata = fs::metadata(path).map_err(|error| failed(format!("can't be read: {error}")))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(failed(format!(
                "is open to every user (mode {mode:04o}): it must be 0640 or stricter"
            )));
        }
        let text = fs::read(path).map_err(|error| failed(format!("can't be read: {error}")))?;
        let token = text.trim_ascii();
        if !TOKEN_LENGTH.contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
            return Err(failed(format!(
                "has {} bytes: a token is one line of {} to {} printable ASCII characters without spaces",
                token.len(),
                TOKEN_LENGTH.start(),
                TOKEN_LENGTH.end()
            )));
        }
        Ok(Self(token.to_vec()))
    }

    /// Compares every byte, so that the time does not depend on where they differ.
    fn is(&self, given: &[u8]) -> bool {
        let different =
            self.0.iter().zip(given).fold(0, |different, (mine, theirs)| different | (mine ^ theirs));
        self.0.len() == given.len() && std::hint::black_box(different) == 0
    }
}

/// The token of a header `Authorization: Bearer TOKEN`.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Whether a host, with or without a port, names the loopback interface.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn token_file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn with_token(path: &Path) -> Credentials {
        Credentials { token_file: Some(path.to_owned()), ..Credentials::default() }
    }

    #[test]
    fn an_address_of_other_machines_takes_token_and_tls() {
        let file = token_file("0123456789abcdef", 0o600);
        for listen in ["0.0.0.0:9779", "[::]:9779", "192.0.2.1:80", "[::ffff:192.0.2.1]:80"] {
            for files in [Credentials::default(), with_token(file.path())] {
                let refusal = Access::load(listen.parse().unwrap(), files).unwrap_err();
                for part in [listen, "--token-file", "--tls-cert", "--tls-key", "127.0.0.1:9779"] {
                    assert!(refusal.contains(part), "{refusal} lacks {part}");
                }
            }
        }
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Access::load(listen.parse().unwrap(), Credentials::default()).is_ok(), "{listen}");
        }
    }

    #[test]
    fn a_token_file_that_is_not_as_it_must_be_is_refused() {
        for (text, mode, part) in [
            ("0123456789abcdef", 0o644, "mode 0644"),
            ("short", 0o600, "has 5 bytes"),
            ("", 0o600, "has 0 bytes"),
            ("0123456789 abcdef", 0o600, "without spaces"),
            (&"x".repeat(257), 0o600, "16 to 256"),
        ] {
            let file = token_file(text, mode);
            let refusal = Token::load(file.path()).unwrap_err();
            assert!(refusal.contains(part) && refusal.contains(file.path().to_str().unwrap()), "{refusal}");
        }
        assert!(Token::load(Path::new("/nowhere/token")).unwrap_err().contains("/nowhere/token"));
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        let file = token_file("0123456789abcdef\n", 0o640);
        let access = Access::load("127.0.0.1:0".parse().unwrap(), with_token(file.path())).unwrap();
        for admitted in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(access.admits(Some(admitted.as_bytes())), "{admitted}");
        }
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "é",
        ] {
            assert!(!access.admits(Some(refused.as_bytes())), "{refused}");
        }
        assert!(!access.admits(None));

        fs::write(file.path(), "fedcba9876543210").unwrap();
        access.reload().unwrap();
        assert!(access.admits(Some(b"Bearer fedcba9876543210")));
        fs::write(file.path(), "none").unwrap();
        assert!(access.reload().unwrap_err().contains("has 4 bytes"));
        assert!(access.admits(Some(b"Bearer fedcba9876543210")), "the former one stays in force");
    }

    #[test]
    fn changes_take_a_token_of_their_own_which_admits_to_all_else() {
        let [file, change] = ["0123456789abcdef", "fedcba9876543210"].map(|text| token_file(text, 0o600));
        let listen = "127.0.0.1:0".parse().unwrap();
        let with = |token: Option<&Path>, change_token: Option<&Path>| Credentials {
            token_file: token.map(Path::to_owned),
            change_token_file: change_token.map(Path::to_owned),
            ..Credentials::default()
        };
        let access = Access::load(listen, with(Some(file.path()), Some(change.path()))).unwrap();
        let [reader, changer] = [b"Bearer 0123456789abcdef".as_slice(), b"Bearer fedcba9876543210"];
        assert!(access.admits(Some(reader)) && access.admits(Some(changer)) && !access.admits(None));
        assert!(access.allows_changes() && access.admits_changes(Some(changer)));
        assert!(!access.admits_changes(Some(reader)) && !access.admits_changes(None));
        let access = Access::load(listen, with(Some(file.path()), None)).unwrap();
        assert!(!access.allows_changes() && !access.admits_changes(Some(reader)));
        let refusal = Access::load(listen, with(Some(file.path()), Some(file.path()))).unwrap_err();
        assert!(refusal.contains("the same token"), "{refusal}");
    }

    #[test]
    fn a_page_of_another_site_is_not_of_this_origin() {
        let is_same = |origin: Option<&str>, site: Option<&str>| {
            let [origin, site] = [origin, site].map(|value| value.map(str::as_bytes));
            Access::is_same_origin(origin, site, Some(b"localhost:9779"))
        };
        assert!(is_same(None, None) && is_same(Some("http://localhost:9779"), Some("same-origin")));
        assert!(is_same(Some("https://localhost:9779"), None));
        for origin in [
            "http://example.org",
            "http://localhost:80",
            "null",
            "localhost:9779",
            "http://localhost:9779.org",
        ] {
            assert!(!is_same(Some(origin), None), "{origin}");
        }
        assert!(!is_same(None, Some("cross-site")) && !is_same(None, Some("same-site")));
        assert!(!Access::is_same_origin(Some(b"http://"), None, None), "without a Host");
    }

    #[test]
    fn without_a_token_only_names_of_this_machine_are_served() {
        let access = Access::load("127.0.0.1:0".parse().unwrap(), Credentials::default()).unwrap();
        for host in ["127.0.0.1:9779", "localhost", "LOCALHOST:80", "[::1]:9779", "[::1]"] {
            assert!(access.serves_host(Some(host.as_bytes())), "{host}");
        }
        assert!(access.serves_host(None), "HTTP/1.0 has none");
        for host in ["example.org", "127.0.0.1.example.org:9779", "192.0.2.1", "localhost.example.org", ""] {
            assert!(!access.serves_host(Some(host.as_bytes())), "{host}");
        }
    }
}
