//! What may be asked for over HTTP, and the answers.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::access::Access;
use crate::changes::{self, BodyError, Changes};
use crate::exposition::Format;
use crate::history::{History, INTERVAL};
use crate::log::log;
use crate::metrics::{self, InitiatorSeries, Own};
use crate::status;
use crate::target::{Target, Wanted};

/// The header by which Prometheus says how long it waits.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// Most initiators with series of their own where a scrape asks for them and the command line does not.
const INITIATORS: usize = 100;

/// Part of that time which is left for the way back.
const MARGIN: Duration = Duration::from_millis(500);

/// The page loads nothing but its own files, and no other page may show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The page's files, which hold no data: path, type, content.
const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/status.css", "text/css; charset=utf-8", include_str!("page/status.css")),
    ("/status.js", "text/javascript; charset=utf-8", include_str!("page/status.js")),
    ("/changes.js", "text/javascript; charset=utf-8", include_str!("page/changes.js")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
];

const MISDIRECTED: &str =
    "Without a token, only requests to a loopback address or to localhost are answered.\n";

/// All that requests share.
#[derive(Debug)]
pub(crate) struct Site {
    target: Target,
    changes: Changes,
    access: Arc<Access>,
    timeout: Duration,
    history: Mutex<History>,
    initiators: Mutex<InitiatorSeries>,
    /// Whether every scrape has initiators, and the page.
    with_initiators: bool,
    failed_scrapes: AtomicU64,
    refused_connections: AtomicU64,
}

impl Site {
    pub(crate) fn new(target: Target, access: Arc<Access>, timeout: Duration, initiators: usize) -> Self {
        let most = if initiators > 0 { initiators } else { INITIATORS };
        Self {
            changes: Changes::new(target.socket()),
            target,
            access,
            timeout,
            history: Mutex::default(),
            initiators: Mutex::new(InitiatorSeries::new(most)),
            with_initiators: initiators > 0,
            failed_scrapes: AtomicU64::new(0),
            refused_connections: AtomicU64::new(0),
        }
    }

    /// Who may ask.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Counts a connection that was closed because there were too many.
    pub(crate) fn connection_refused(&self) {
        self.refused_connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes samples for the page, for ever.
    pub(crate) async fn sample(&self) {
        let wanted = Wanted { health: true, initiators: self.with_initiators };
        loop {
            let answer = self.target.snapshot(self.timeout, wanted).await;
            let line = locked(&self.history).push(answer, SystemTime::now());
            if let Some(line) = line {
                log(&line);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// The answer to a request.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
    where
        B: Body<Error: Into<BodyError>>,
    {
        let (request, body) = request.into_parts();
        let mut response = match changes::method_of(request.uri.path()) {
            Some(method) => self.change(&request, method, body).await,
            None => self.respond(&request).await,
        };
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }

    /// The answer to a request to change an export. Nothing of its body is read before all else is in order.
    async fn change<B>(&self, request: &Parts, method: &'static str, body: B) -> Response<Full<Bytes>>
    where
        B: Body<Error: Into<BodyError>>,
    {
        let value = |name: HeaderName| request.headers.get(name).map(HeaderValue::as_bytes);
        if request.method != Method::POST {
            return not_allowed("POST", "Only POST is allowed here.\n");
        }
        if !self.access.serves_host(value(header::HOST)) {
            return plain(StatusCode::MISDIRECTED_REQUEST, MISDIRECTED);
        }
        if !self.access.allows_changes() {
            return plain(
                StatusCode::FORBIDDEN,
                "This exporter only shows. With --change-token-file, it changes exports for those who have the token.\n",
            );
        }
        let fetch_site = value(HeaderName::from_static("sec-fetch-site"));
        if !Access::is_same_origin(value(header::ORIGIN), fetch_site, value(header::HOST)) {
            return plain(StatusCode::FORBIDDEN, "Only pages of this exporter may change exports.\n");
        }
        if !self.access.admits_changes(value(header::AUTHORIZATION)) {
            return unauthorized("The token for changes is required: Authorization: Bearer TOKEN\n");
        }
        if value(header::CONTENT_TYPE) != Some(JSON.as_bytes()) {
            return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.\n");
        }
        let (status, outcome) = self.changes.carry_out(method, body).await;
        text(status, JSON, outcome.to_string().into())
    }

    async fn respond(&self, request: &Parts) -> Response<Full<Bytes>> {
        let value = |name: HeaderName| request.headers.get(name).map(HeaderValue::as_bytes);
        if ![Method::GET, Method::HEAD].contains(&request.method) {
            return not_allowed("GET, HEAD", "Only GET and HEAD are allowed: nothing can be changed here.\n");
        }
        if !self.access.serves_host(value(header::HOST)) {
            return plain(StatusCode::MISDIRECTED_REQUEST, MISDIRECTED);
        }
        let path = request.uri.path();
        if let Some((_, kind, content)) = FILES.iter().find(|(name, ..)| *name == path) {
            return text(StatusCode::OK, kind, Bytes::from_static(content.as_bytes()));
        }
        if !["/metrics", "/status.json"].contains(&path) {
            return plain(
                StatusCode::NOT_FOUND,
                "There are /, the status page, and /metrics, for Prometheus.\n",
            );
        }
        if !self.access.admits(value(header::AUTHORIZATION)) {
            return unauthorized("A token is required: Authorization: Bearer TOKEN\n");
        }
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        if path == "/metrics" {
            let with_initiators = match wants_initiators(request.uri.query().unwrap_or_default()) {
                Ok(wanted) => wanted.unwrap_or(self.with_initiators),
                Err(sentence) => return text(StatusCode::BAD_REQUEST, PLAIN, sentence.into()),
            };
            let format = Format::accepted(header("accept"));
            self.metrics(format, self.deadline(header(SCRAPE_TIMEOUT)), with_initiators).await
        } else {
            let mut document =
                status::document(&locked(&self.history), self.target.socket(), SystemTime::now());
            document["changes"] = self.access.allows_changes().into();
            text(StatusCode::OK, JSON, document.to_string().into())
        }
    }

    async fn metrics(&self, format: Format, within: Duration, initiators: bool) -> Response<Full<Bytes>> {
        let answer = self.target.snapshot(within, Wanted { health: false, initiators }).await;
        if answer.is_err() {
            self.failed_scrapes.fetch_add(1, Ordering::Relaxed);
        }
        let own = Own {
            refused_connections: self.refused_connections.load(Ordering::Relaxed),
            failed_scrapes: self.failed_scrapes.load(Ordering::Relaxed),
        };
        let mut series = initiators.then(|| locked(&self.initiators));
        let exposition = metrics::exposition(format, &answer, series.as_deref_mut(), Some(own));
        text(StatusCode::OK, format.content_type(), exposition.into())
    }

    /// How long the target has: less than the scraper waits.
    fn deadline(&self, scraper_waits: Option<&str>) -> Duration {
        let seconds: Option<f64> = scraper_waits.and_then(|seconds| seconds.parse().ok());
        let theirs = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let left = theirs.map(|theirs| theirs.saturating_sub(MARGIN).max(theirs / 2));
        left.map_or(self.timeout, |left| left.min(self.timeout))
    }
}

/// What the query of a scrape says about series by initiator; `None` if it says nothing.
fn wants_initiators(query: &str) -> Result<Option<bool>, String> {
    let mut wanted = None;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        wanted = match parameter {
            "initiators=1" => Some(true),
            "initiators=0" => Some(false),
            _ => return Err("The only parameters are initiators=1 and initiators=0.\n".into()),
        };
    }
    Ok(wanted)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_allowed(methods: &'static str, sentence: &'static str) -> Response<Full<Bytes>> {
    let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, sentence);
    refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    refusal
}

fn unauthorized(sentence: &'static str) -> Response<Full<Bytes>> {
    let mut refusal = plain(StatusCode::UNAUTHORIZED, sentence);
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    refusal
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<Full<Bytes>> {
    text(status, PLAIN, Bytes::from_static(sentence.as_bytes()))
}

fn text(status: StatusCode, kind: &'static str, content: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(content));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
