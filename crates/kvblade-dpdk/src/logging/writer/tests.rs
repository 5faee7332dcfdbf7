//! The queue against outputs that stand still, are full, or are gone.

use std::fs::File;
use std::io::{PipeReader, Read, pipe};
use std::os::fd::OwnedFd;

use nix::sched::{CpuSet, sched_getaffinity};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn counts() -> &'static Counts {
    Box::leak(Box::new(Counts::new()))
}

fn started(out: File) -> Queue {
    Queue::start(Output::stream(out), Form::Text, counts()).unwrap().0
}

fn on_pipe() -> (Queue, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    (started(File::from(OwnedFd::from(writer))), reader)
}

fn line(number: usize) -> String {
    format!("line {number:095}\n")
}

/// Reads until a line has `text`.
fn read_until(reader: &mut PipeReader, text: &str) -> String {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&read).lines().any(|line| line.contains(text)) {
        let length = reader.read(&mut piece).unwrap();
        assert!(length > 0, "the output ends without {text:?}");
        read.extend_from_slice(&piece[..length]);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_reader_that_stands_still_costs_lines_and_gets_their_number() {
    let (queue, mut reader) = on_pipe();
    let lines = 10 * LINES_MAX;
    for number in 0..lines {
        queue.push(line(number).into_bytes(), None);
    }
    let lost = queue.counts.lost.load(Ordering::Relaxed);
    assert!(lost > 0, "the queue is bounded");
    let mut read = read_until(&mut reader, " lost: standard error");
    queue.push(b"after\n".to_vec(), None);
    read += &read_until(&mut reader, "after");
    let kept = read.lines().filter(|line| line.starts_with("line ")).count();
    assert_eq!(read.matches(&format!(" {lost} log lines are lost:")).count(), 1, "{read}");
    assert_eq!(kept + usize::try_from(lost).unwrap(), lines, "each line is written or counted");
    queue.flush(PATIENCE);
    assert_eq!(queue.counts.lost.load(Ordering::Relaxed), 0, "the number is written once");
}

#[test]
fn a_line_longer_than_the_queue_is_lost_alone() {
    let (queue, mut reader) = on_pipe();
    queue.push(vec![b'x'; BYTES_MAX + 1], None);
    queue.push(b"after\n".to_vec(), None);
    let read = read_until(&mut reader, " lost: standard error");
    assert!(read.starts_with("after\n") && read.contains(" 1 log line is lost:"), "{read}");
}

#[test]
fn a_closed_pipe_and_a_full_device_cost_lines_and_no_more() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for out in [File::from(OwnedFd::from(writer)), full] {
        let queue = started(out);
        for number in 0..100 {
            queue.push(line(number).into_bytes(), None);
        }
        queue.flush(PATIENCE);
        assert_eq!(queue.counts.pending.load(Ordering::Relaxed), 0);
        assert_eq!(queue.counts.lost.load(Ordering::Relaxed), 100);
        assert_eq!(queue.counts.all_lost.load(Ordering::Relaxed), 100);
    }
}

#[test]
fn a_pipe_that_another_process_made_non_blocking_loses_nothing() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (mut reader, writer) = pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let queue = started(File::from(OwnedFd::from(writer)));
    // More than the pipe holds, less than the queue does.
    for number in 0..LINES_MAX {
        queue.push(line(number).into_bytes(), None);
    }
    let read = read_until(&mut reader, &format!("{:095}", LINES_MAX - 1));
    assert_eq!(read.lines().count(), LINES_MAX);
    assert_eq!(queue.counts.lost.load(Ordering::Relaxed), 0);
}

#[test]
fn a_flush_ends_although_nobody_reads() {
    let (queue, reader) = on_pipe();
    for number in 0..LINES_MAX {
        queue.push(line(number).into_bytes(), None);
    }
    queue.flush(Duration::from_millis(10));
    assert!(queue.counts.pending.load(Ordering::Relaxed) > 0);
    drop(reader);
    queue.flush(PATIENCE);
    assert_eq!(queue.counts.pending.load(Ordering::Relaxed), 0);
}

#[test]
fn the_thread_leaves_the_cpus_of_lcores_unless_there_are_no_others() {
    let (_queue, thread) = Queue::start(
        Output::stream(File::options().write(true).open("/dev/null").unwrap()),
        Form::Text,
        counts(),
    )
    .unwrap();
    let cpus = || {
        let set = sched_getaffinity(thread.id).unwrap();
        (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap()).collect::<Vec<_>>()
    };
    let all = cpus();
    let lcores =
        |cpus: &[usize]| cpus.iter().map(|cpu| u32::try_from(*cpu).unwrap()).collect::<BTreeSet<_>>();
    thread.leave(&lcores(&all)).unwrap();
    assert_eq!(cpus(), all);
    if all.len() > 1 {
        thread.leave(&lcores(&all[..1])).unwrap();
        assert_eq!(cpus(), all[1..]);
    }
}

#[test]
fn a_file_is_opened_anew_when_asked_and_a_full_one_costs_lines() {
    let directory = tempfile::tempdir().unwrap();
    let [path, old] = ["log", "log.1"].map(|name| directory.path().join(name));
    let queue = Queue::start(Output::file(&path).unwrap(), Form::Json, counts()).unwrap().0;
    queue.push(b"before\n".to_vec(), None);
    queue.flush(PATIENCE);
    std::fs::rename(&path, &old).unwrap();
    queue.counts.reopen.store(true, Ordering::Relaxed);
    queue.push(b"after\n".to_vec(), None);
    queue.flush(PATIENCE);
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert_eq!((read(&old), read(&path)), ("before\n".into(), "after\n".into()));

    // The file is gone and can't be made anew: the former one stays.
    std::fs::remove_dir_all(directory.path()).unwrap();
    queue.counts.reopen.store(true, Ordering::Relaxed);
    queue.push(b"last\n".to_vec(), None);
    queue.flush(PATIENCE);
    assert_eq!(queue.counts.lost.load(Ordering::Relaxed), 0);

    let full = Queue::start(Output::file("/dev/full".as_ref()).unwrap(), Form::Json, counts()).unwrap().0;
    full.push(b"{}\n".to_vec(), None);
    full.flush(PATIENCE);
    assert_eq!(full.counts.all_lost.load(Ordering::Relaxed), 1);
}
