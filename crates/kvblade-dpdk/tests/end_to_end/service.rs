//! The program as a service: notifications to systemd, the watchdog, and SIGHUP.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aoe_initiator::wire::SECTOR;
use aoe_initiator::{ShelfSlot, load};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::lab::{Lab, PATIENCE, QUIET, SECTORS, Target, find, random_load, until};

const STAYS: ShelfSlot = ShelfSlot::new(1, 1);
const GOES: ShelfSlot = ShelfSlot::new(1, 2);
const COMES: ShelfSlot = ShelfSlot::new(1, 3);

/// Long enough that a busy machine is in time, and short enough to be waited for.
const WATCHDOG: Duration = Duration::from_secs(4);

/// A service manager: the notifications it received, in order.
pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    pub(crate) fn new(lab: &Lab) -> Self {
        let path = lab.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, path }
    }

    /// Starts the target as this manager's service.
    pub(crate) fn start(&self, lab: &Lab, lcores: &str, options: &[&str]) -> Target {
        let mut eal = lab.eal();
        eal.extend(["-l".to_owned(), lcores.to_owned()]);
        lab.start_command(self.manages(lab.command(&eal, options)))
    }

    fn manages(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        command
    }

    /// The next message, if there is one soon.
    fn next(&self) -> Option<String> {
        let mut text = [0; 4096];
        let length = self.socket.recv(&mut text).ok()?;
        Some(String::from_utf8(text[..length].to_vec()).unwrap())
    }

    /// Messages up to the first that has this part.
    #[track_caller]
    pub(crate) fn until(&self, part: &str) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut messages: Vec<String> = Vec::new();
        while !messages.last().is_some_and(|message| message.contains(part)) {
            assert!(Instant::now() < deadline, "no {part:?} in {messages:?}");
            messages.extend(self.next());
        }
        messages
    }

    /// The notifications so far.
    pub(crate) fn so_far(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

#[test]
fn the_service_manager_is_told_of_start_service_and_end() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let manager = Manager::new(&lab);
    let target = manager.start(&lab, "0", &["-e", "1.1=malloc:1M", "-e", "1.2=malloc:1M"]);
    let messages = manager.until("READY=1");
    assert_eq!(messages[0], "STATUS=starting");
    let ready = messages.last().unwrap();
    assert!(ready.contains("STATUS=serving 2 exports on 1 port by 1 lcore"), "{ready}");
    find(&mut lab.initiator(0), STAYS);
    manager.until("WATCHDOG=1");
    target.rpc().call("aoe_delete_export", json!({ "shelf": 1, "slot": 2 }));
    manager.until("STATUS=serving 1 export on 1 port by 1 lcore");
    target.stop();
    let messages = manager.until("STOPPING=1");
    assert!(!messages.iter().any(|message| message.contains("READY")), "{messages:?}");
}

#[test]
fn a_target_that_does_not_start_is_never_ready() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let manager = Manager::new(&lab);
    let command = manager.manages(lab.command(&lab.eal(), &["--strict", "-e", "1.1=bdev:nosuch"]));
    let mut daemon = lab::Daemon::start(&mut { command }).unwrap();
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(1));
    let messages = manager.so_far();
    assert_eq!(messages[0], "STATUS=starting");
    assert!(!messages.iter().any(|message| message.contains("READY")), "{messages:?}");
}

/// The thread of an lcore, held still as a debugger does it: a signal would stop all threads.
struct Held(Pid);

impl Held {
    fn hold(target: &Target, lcore: u32) -> Self {
        let tasks = format!("/proc/{}/task", target.daemon.pid());
        let name = format!("reactor_{lcore}\n");
        let mut tasks = fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path());
        let task = tasks.find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm == name));
        let task = task.expect("SPDK names a reactor's thread after its core");
        let thread = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Self(thread)
    }

    fn let_go(self) {
        ptrace::detach(self.0, None).unwrap();
    }
}

#[test]
fn the_watchdog_is_fed_only_while_every_lcore_turns() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let manager = Manager::new(&lab);
    let target = manager.start(&lab, "0-1", &["-e", "1.1=malloc:1M"]);
    manager.until("WATCHDOG=1");

    let held = Held::hold(&target, 1);
    let messages = manager.until("these lcores do not turn: 1");
    assert!(
        messages.last().unwrap().contains("STATUS=serving 1 export on 1 port by 2 lcores"),
        "{messages:?}"
    );
    assert!(!messages.last().unwrap().contains("WATCHDOG"), "{messages:?}");
    // The control plane, on the other lcore's thread, goes on; that it looks is seen by what it does with other lines.
    std::thread::sleep(WATCHDOG);
    let messages = manager.so_far();
    assert!(!messages.iter().any(|message| message.contains("WATCHDOG")), "{messages:?}");
    let log = target.log();
    let line = log.lines().find(|line| line.contains("does not turn")).expect("a line about it");
    assert!(line.contains("ERROR") && line.contains("lcore=1"), "{line}");

    held.let_go();
    let messages = manager.until("WATCHDOG=1");
    let status = messages.iter().rfind(|message| message.contains("STATUS="));
    assert!(status.is_none_or(|status| !status.contains("do not turn")), "{messages:?}");
    until("a line about it", || target.log().contains("this lcore turns again"));
    find(&mut lab.initiator(0), STAYS);
    target.stop();
}

#[test]
fn sighup_without_a_settings_file_changes_nothing_and_is_logged() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let target = lab.start(&["-e", "1.1=malloc:1M"]);
    for times in 1..3 {
        target.daemon.signal(Signal::SIGHUP).unwrap();
        until("a line about it", || target.log().matches("there is no --settings file").count() == times);
    }
    find(&mut lab.initiator(0), STAYS);
    target.stop();
}

#[test]
fn sighup_during_the_start_does_not_end_it() {
    lab::needs_root!();
    let lab = Lab::new(1500);
    let mut command = lab.command(&lab.eal(), &["-e", "1.1=malloc:1M"]);
    let mut daemon = lab::Daemon::start(&mut command).unwrap();
    until("the first line", || !daemon.log().unwrap().is_empty());
    daemon.signal(Signal::SIGHUP).unwrap();
    until("a line about it", || {
        daemon.check_running().unwrap();
        daemon.log().unwrap().contains("there is no --settings file")
    });
    assert!(daemon.log().unwrap().contains(" ready "));
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

#[test]
fn sighup_adds_and_removes_exports_while_another_is_served_under_load() {
    lab::needs_root!();
    let lab = Lab::new(9000);
    let (stays, goes) = (lab.file("stays"), lab.file("goes"));
    let settings = lab.path("kvblade.toml");
    let export = |slot: u8, what: &str| format!("[[export]]\nshelf = 1\nslot = {slot}\n{what}\n");
    let first = export(1, &format!("path = '{stays}'"));
    fs::write(&settings, format!("{first}{}", export(2, &format!("path = '{goes}'")))).unwrap();
    let manager = Manager::new(&lab);
    let target = manager.start(&lab, "0", &["--settings", settings.to_str().unwrap()]);
    manager.until("READY=1");
    let mut initiator = lab.initiator(0);
    let served = find(&mut initiator, STAYS);
    find(&mut initiator, GOES);
    let names = |target: &Target| -> Vec<String> {
        let bdevs = target.rpc().call("bdev_get_bdevs", Value::Null);
        bdevs.as_array().unwrap().iter().map(|bdev| bdev["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&target), ["file1.1", "file1.2"]);

    let mut spec = random_load(16);
    spec.duration = 10 * PATIENCE;
    let (link, stop) = (lab.link(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut ledger = load::ledger_for(&spec, SECTORS).unwrap();
            let report = load::run_verified(link, &served, SECTORS, &spec, &stop, &mut ledger).unwrap();
            assert_eq!(report.failures(), 0, "{report:?}");
            assert!(report.verified.unwrap().writes_acknowledged > 0);
        });
        let changes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // One goes, one comes; what can't be changed now is named.
            let new = format!("mbufs = 8191\nlog-level = 'warn'\n{first}{}", export(3, "bdev = 'malloc:1M'"));
            fs::write(&settings, &new).unwrap();
            target.daemon.signal(Signal::SIGHUP).unwrap();
            let messages = manager.until("READY=1");
            assert!(
                messages.iter().any(|message| message.contains("RELOADING=1\nMONOTONIC_USEC=")),
                "{messages:?}"
            );
            let mut other = lab.initiator(0);
            find(&mut other, COMES);
            let there: Vec<ShelfSlot> =
                other.discover(ShelfSlot::ANY, QUIET).unwrap().iter().map(|export| export.address).collect();
            assert!(there.contains(&STAYS) && there.contains(&COMES) && !there.contains(&GOES), "{there:?}");
            assert_eq!(names(&target), ["file1.1", "malloc1.3"]);
            until("a line about mbufs", || {
                target.log().contains("changes of mbufs take effect at the next start")
            });

            // A mistake changes nothing.
            fs::write(&settings, format!("{new}\nslto = 7\n")).unwrap();
            target.daemon.signal(Signal::SIGHUP).unwrap();
            let lines = new.lines().count() + 2;
            let place = format!("{}:{lines}: ", settings.display());
            until("a line about the mistake", || target.log().contains(&place));
            assert!(target.log().contains("'slto'") && target.log().contains("nothing was changed"));
            assert_eq!(names(&target), ["file1.1", "malloc1.3"]);

            // What an operator has removed by hand comes again, and the level again as it was. The export under load gets other
            // options, and is served on.
            target.rpc().call("aoe_delete_export", json!({ "shelf": 1, "slot": 3 }));
            let options = format!("{first}buffers = 32\nmodel = 'another'\n");
            let last = new.replace("log-level = 'warn'\n", "").replace(&first, &options);
            fs::write(&settings, last).unwrap();
            manager.so_far();
            target.daemon.signal(Signal::SIGHUP).unwrap();
            manager.until("READY=1");
            assert_eq!(target.rpc().state(1, 3).as_deref(), Some("online"));
            until("a line about the end", || target.log().contains("the settings were read again"));
            let log = target.log();
            // Lines of level info are there before the first change and after the last.
            let read_again = log.lines().filter(|line| line.contains("the settings were read again")).count();
            assert_eq!(read_again, 1, "{log}");
            assert!(log.contains("added=1 removed=0 updated=1 failed=0"), "{log}");
            let listed = target.rpc().call("aoe_get_exports", json!({ "slot": 1 }))[0].clone();
            assert_eq!((&listed["buffers"], &listed["model"]), (&json!(32), &json!("another")));
        }));
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        changes.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(fs::metadata(goes).unwrap().len(), SECTORS * SECTOR as u64);
    target.stop();
}
