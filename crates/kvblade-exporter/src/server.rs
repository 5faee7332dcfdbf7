//! The connections: how many there may be, and how long they may take.

use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::log::log;
use crate::site::Site;

/// Most connections at a time.
const CONNECTIONS_MAX: usize = 64;

/// Limit of a TLS handshake, and of a request's head, which is also how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(20);

/// Age after which a connection takes no further request, and what its last one has then: more than a scrape may take.
const AGE: Duration = Duration::from_secs(300);
const LAST: Duration = Duration::from_secs(70);

/// Largest head of a request, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, site: Arc<Site>) {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            log(&format!("the listening socket can't be used: {error}"));
            std::process::exit(1);
        }
    };
    let sampler = Arc::clone(&site);
    tokio::spawn(async move { sampler.sample().await });
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No descriptor is left, or the peer has gone already.
                log(&format!("a connection can't be accepted: {error}"));
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            site.connection_refused();
            continue;
        };
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            connection(stream, site).await;
            drop(permit);
        });
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    match site.access().tls() {
        None => requests(stream, site).await,
        // A client that fails here has said so to its own user.
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await {
                requests(stream, site).await;
            }
        }
    }
}

async fn requests(stream: impl AsyncRead + AsyncWrite + Unpin, site: Arc<Site>) {
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { site.answer(request).await }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_MAX);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // How a connection ends is the client's business.
    if timeout(AGE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        drop(timeout(LAST, connection).await);
    }
}
