//! Clients that do not read, and calls that do not end.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};

use serde_json::json;
use tempfile::TempDir;

use super::super::connections::Connections;
use super::*;
use crate::answer::Answer;

/// Longer than a test.
const LONG: Duration = Duration::from_secs(3600);

/// Limits that no test reaches.
const NONE: Limits = Limits { call: LONG, sending: Sending { pause: LONG, answer: LONG } };

fn service(
    spdk: &TempDir,
    carry_out: impl Fn(Action, Reply) + Send + Sync + 'static,
    limits: Limits,
) -> Arc<Service> {
    let spdk = SpdkCalls::at(spdk.path().join("s"));
    Arc::new(Service { limits, ..Service::new(Box::new(carry_out), spdk, None) })
}

/// A client of the service, and the thread that serves it.
fn client(service: &Arc<Service>) -> (UnixStream, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let service = Arc::clone(service);
    let served = thread::spawn(move || {
        let place = Connections::new(1).admit(ours.try_clone().unwrap(), "test".into()).unwrap();
        service.serve(&ours, &place, &Peer::of(&ours));
    });
    (theirs, served)
}

fn call(mut stream: &UnixStream, id: u32, method: &str) {
    writeln!(stream, "{}", json!({ "id": id, "method": method })).unwrap();
}

fn answer(reader: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_call_that_does_not_end_leaves_its_client_an_error_and_the_next_call() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let hold = Arc::clone(&held);
    let carry_out = move |action: Action, reply: Reply| match action {
        Action::Announce(_) => hold.lock().unwrap().push(reply),
        _ => Answer::from(reply).give(&json!("at once")),
    };
    let limits = Limits { call: Duration::from_millis(10), ..NONE };
    let directory = TempDir::new().unwrap();
    let service = service(&directory, carry_out, limits);
    let (stream, served) = client(&service);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    call(&stream, 1, "aoe_announce");
    let refused = answer(&mut reader);
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-16)), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("it goes on"), "{refused}");
    // Its result comes late, and to nobody.
    let late = held.lock().unwrap().pop().unwrap();
    Answer::from(late).give(&json!("late"));
    call(&stream, 2, "aoe_get_exports");
    let given = answer(&mut reader);
    assert_eq!((&given["id"], &given["result"]), (&json!(2), &json!("at once")), "{given}");
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    served.join().unwrap();
}

#[test]
fn an_answer_of_spdks_is_read_at_once_whether_its_client_reads_or_not() {
    let directory = TempDir::new().unwrap();
    let listener = UnixListener::bind(directory.path().join("s")).unwrap();
    // More than the sockets hold.
    let text = "x".repeat(8 << 20);
    let spdk = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        stream.read_to_string(&mut request).unwrap();
        writeln!(stream, "{}", json!({ "id": 1, "result": text })).unwrap();
    });
    let service = service(&directory, |_, _| (), NONE);
    let (stream, served) = client(&service);
    call(&stream, 1, "bdev_get_bdevs");
    // It has sent all of it.
    spdk.join().unwrap();
    let given = answer(&mut BufReader::new(stream.try_clone().unwrap()));
    assert_eq!(given["result"].as_str().map(str::len), Some(8 << 20));
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    served.join().unwrap();
}

#[test]
fn a_client_that_does_not_read_leaves_no_memory_taken() {
    let directory = TempDir::new().unwrap();
    let carry_out =
        |_: Action, reply: Reply| Answer::from(reply).give_text(|| format!("\"{}\"", "x".repeat(8 << 20)));
    let limits = Limits { sending: Sending { pause: Duration::from_millis(10), answer: LONG }, ..NONE };
    let service = service(&directory, carry_out, limits);
    let (stream, served) = client(&service);
    call(&stream, 1, "aoe_get_exports");
    served.join().expect("its thread has ended");
    assert!(service.unsent.share().add(usize::MAX), "no other answer is held");
    drop(stream);
}
