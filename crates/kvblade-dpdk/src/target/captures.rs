//! The captures that run and those that have ended: where each is, and the calls that wait for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::{ErrorCode, Method, RpcError, StartCapture};
use datapath::CAPTURES_MAX;
use serde_json::{Value, json};

use super::resources::CALL_PATIENCE;
use crate::answer::Answer;
use crate::capture::{CapturePlace, Progress, Reason};

/// Captures that have ended and are still listed.
const ENDED_MAX: usize = 16;

/// All captures.
pub(super) struct Captures {
    place: CapturePlace,
    /// The number of the last one.
    last: u64,
    active: Vec<Capture>,
    ended: VecDeque<Capture>,
}

struct Capture {
    number: u64,
    request: StartCapture,
    path: String,
    progress: Arc<Progress>,
    since: Instant,
    phase: Phase,
    /// The call that waits for the start or the end, and since when.
    call: Option<(Instant, Answer)>,
    /// Why it has ended, and how long it ran.
    end: Option<(Reason, Duration)>,
}

/// Where a capture is. The numbers are those of lcores that have not reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its thread makes the file.
    Opening,
    /// Lcores get their parts.
    Joining(usize),
    Running,
    /// Lcores give their parts back.
    Leaving(usize),
    /// Its thread writes the last frames.
    Closing,
}

impl Captures {
    pub(super) fn new(place: CapturePlace) -> Self {
        Self { place, last: 0, active: Vec::new(), ended: VecDeque::new() }
    }

    /// Where they are written.
    pub(super) fn place(&self) -> &CapturePlace {
        &self.place
    }

    /// Whether there may be another one of that name. Returns its number.
    ///
    /// # Errors
    /// The name is taken, or too many run.
    pub(super) fn admit(&mut self, name: &str) -> Result<u64, RpcError> {
        if self.active.iter().any(|other| other.request.name == name) {
            let sentence = format!("capture '{name}' runs: give another name, or stop it");
            return Err(RpcError::new(ErrorCode::Exists, sentence));
        }
        if self.active.len() == CAPTURES_MAX {
            let sentence = format!("{CAPTURES_MAX} captures run, which is the most: stop one of them");
            return Err(RpcError::new(ErrorCode::NoMemory, sentence));
        }
        self.last += 1;
        Ok(self.last)
    }

    /// Adds the one of that number, whose thread has started. `answer` is given once it runs.
    pub(super) fn add(
        &mut self,
        number: u64,
        request: StartCapture,
        progress: Arc<Progress>,
        answer: Answer,
    ) {
        let since = Instant::now();
        let path = self.place.directory.join(file_of(&request.name)).display().to_string();
        let (phase, call) = (Phase::Opening, Some((since, answer)));
        self.active.push(Capture { number, request, path, progress, since, phase, call, end: None });
    }

    fn get(&mut self, number: u64) -> Option<&mut Capture> {
        self.active.iter_mut().find(|capture| capture.number == number)
    }

    /// Its file can't be made. It is not listed.
    pub(super) fn refuse(&mut self, number: u64, sentence: String) {
        if let Some((_, answer)) = self.get(number).and_then(|capture| capture.call.take()) {
            answer.refuse(&RpcError::new(ErrorCode::Unsuitable, sentence));
        }
        self.active.retain(|capture| capture.number != number);
    }

    /// So many lcores get their parts. Whether it is there.
    pub(super) fn join(&mut self, number: u64, lcores: usize) -> bool {
        let capture = self.get(number);
        capture.map(|capture| capture.phase = Phase::Joining(lcores)).is_some()
    }

    /// An lcore has its part. Its thread may have ended it meanwhile.
    pub(super) fn joined(&mut self, number: u64) {
        let Some(capture) = self.get(number) else { return };
        match capture.phase {
            Phase::Joining(2..) => capture.phase.one_less(),
            Phase::Joining(_) => {
                capture.phase = Phase::Running;
                tracing::info!(capture = capture.request.name, path = capture.path, "frames are captured");
                capture.answer();
            }
            _ => {}
        }
    }

    /// Carries out the call to stop the one of that name, in which so many lcores have parts. Returns its number if the lcores
    /// have to leave it first; else the call is answered.
    pub(super) fn stop(&mut self, name: &str, lcores: usize, answer: Answer) -> Option<u64> {
        let Some(capture) = self.active.iter_mut().find(|capture| capture.request.name == name) else {
            match self.ended.iter().find(|capture| capture.request.name == name) {
                Some(ended) => answer.give(&ended.shown()),
                None => answer.refuse(&self.no_such(name)),
            }
            return None;
        };
        if capture.phase != Phase::Running {
            let sentence =
                format!("capture '{name}' is being started or stopped: wait until that call is answered");
            answer.refuse(&RpcError::new(ErrorCode::Busy, sentence));
            return None;
        }
        capture.call = Some((Instant::now(), answer));
        capture.phase = Phase::Leaving(lcores);
        Some(capture.number)
    }

    fn no_such(&self, name: &str) -> RpcError {
        let names: Vec<&str> = self.active.iter().map(|capture| capture.request.name.as_str()).collect();
        let running = if names.is_empty() { "none runs".into() } else { format!("{} run", names.join(", ")) };
        RpcError::new(ErrorCode::NoSuchExport, format!("there is no capture '{name}': {running}"))
    }

    /// An lcore has given its part back. For one that has ended nobody waits.
    pub(super) fn left(&mut self, number: u64) {
        let Some(capture) = self.get(number) else { return };
        match capture.phase {
            Phase::Leaving(2..) => capture.phase.one_less(),
            Phase::Leaving(_) => {
                capture.phase = Phase::Closing;
                capture.progress.stop();
            }
            _ => {}
        }
    }

    /// Its thread has ended, and its file is as complete as it gets. Whether lcores still have parts in it.
    pub(super) fn end(&mut self, number: u64, reason: Reason) -> bool {
        let Some(index) = self.active.iter().position(|capture| capture.number == number) else {
            tracing::error!(number, "a capture has ended that there is not");
            return false;
        };
        let mut capture = self.active.remove(index);
        let (name, path) = (&capture.request.name, &capture.path);
        match &reason {
            Reason::Failed(sentence) => tracing::error!(capture = name, "a capture has ended: {sentence}"),
            _ => tracing::info!(capture = name, path, %reason, "a capture has ended"),
        }
        capture.end = Some((reason, capture.since.elapsed()));
        capture.answer();
        let joined = matches!(capture.phase, Phase::Joining(_) | Phase::Running);
        self.ended.truncate(ENDED_MAX - 1);
        self.ended.push_front(capture);
        joined
    }

    /// The answer to `aoe_get_captures`.
    pub(super) fn list(&self) -> Value {
        self.active.iter().chain(&self.ended).map(Capture::shown).collect()
    }

    /// The target stops: files are completed, and calls get an error.
    pub(super) fn stop_all(&mut self) {
        for capture in &mut self.active {
            capture.progress.stop();
            capture.call = None;
        }
    }

    /// Refuses calls that a disk or an lcore keeps waiting.
    pub(super) fn look_for_late(&mut self) {
        for capture in &mut self.active {
            let Some((_, answer)) = capture.call.take_if(|(since, _)| since.elapsed() > CALL_PATIENCE) else {
                continue;
            };
            let (name, seconds) = (&capture.request.name, CALL_PATIENCE.as_secs());
            let sentence = if matches!(capture.phase, Phase::Opening | Phase::Joining(_)) {
                capture.progress.stop();
                format!(
                    "capture '{name}' has not begun for {seconds} s, and ends when it has: a disk or an lcore hangs"
                )
            } else {
                format!(
                    "capture '{name}' has not ended for {seconds} s: a disk or an lcore hangs; aoe_get_captures shows when it \
                     has"
                )
            };
            answer.refuse(&RpcError::new(ErrorCode::Busy, sentence));
        }
    }
}

/// The name of the file of a capture.
pub(super) fn file_of(name: &str) -> String {
    format!("{name}.pcapng")
}

impl Phase {
    fn one_less(&mut self) {
        if let Self::Joining(lcores) | Self::Leaving(lcores) = self {
            *lcores -= 1;
        }
    }
}

impl Capture {
    fn shown(&self) -> Value {
        let state = match self.phase {
            _ if self.end.is_some() => "ended",
            Phase::Opening | Phase::Joining(_) => "starting",
            Phase::Running => "running",
            Phase::Leaving(_) | Phase::Closing => "stopping",
        };
        let [frames, bytes, dropped] = self.progress.counts();
        let ran = self.end.as_ref().map_or_else(|| self.since.elapsed(), |(_, ran)| *ran);
        let mut shown = self.request.to_params();
        let more = json!({
            "max_bytes": self.request.max_bytes,
            "max_seconds": self.request.max_seconds,
            "snap_length": self.request.snap_length,
            "path": self.path,
            "state": state,
            "reason": self.end.as_ref().map(|(reason, _)| reason.to_string()),
            "frames": frames,
            "bytes": bytes,
            "dropped": dropped,
            "seconds": ran.as_secs(),
        });
        if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
            shown.extend(more);
        }
        shown
    }

    /// Answers the call that waits.
    fn answer(&mut self) {
        if let Some((_, answer)) = self.call.take() {
            answer.give(&self.shown());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::Receiver;

    use control::Action;

    use super::*;
    use crate::answer::{MakeText, Reply};

    type Arrives = Receiver<Result<MakeText, RpcError>>;

    fn answer() -> (Answer, Arrives) {
        let (reply, arrives) = Reply::channel();
        (Answer::from(reply), arrives)
    }

    fn given(arrives: &Arrives) -> Value {
        let text = arrives.try_recv().expect("an answer").unwrap_or_else(|error| panic!("{error}"));
        serde_json::from_str(&text()).unwrap()
    }

    fn refused(arrives: &Arrives) -> (ErrorCode, String) {
        let Err(error) = arrives.try_recv().expect("an answer") else { panic!("a result") };
        (error.code(), error.message().to_owned())
    }

    fn captures() -> Captures {
        Captures::new(CapturePlace { directory: "/d".into(), cpus: BTreeSet::new() })
    }

    fn start(captures: &mut Captures, name: &str) -> (u64, Arrives) {
        let params = json!({ "name": name, "port": 0 });
        let Ok(Action::StartCapture(request)) = Action::decode(StartCapture::NAME, Some(&params)) else {
            panic!("{params}")
        };
        let (answer, arrives) = answer();
        let number = captures.admit(name).unwrap();
        captures.add(number, request, Arc::default(), answer);
        (number, arrives)
    }

    #[test]
    fn a_capture_runs_when_every_lcore_has_joined_and_closes_when_every_one_has_left() {
        let mut captures = captures();
        let (number, started) = start(&mut captures, "a");
        assert!(captures.join(number, 2));
        captures.joined(number);
        assert!(started.try_recv().is_err(), "one is missing");
        let (early, arrives) = answer();
        assert_eq!(captures.stop("a", 2, early), None);
        assert_eq!(refused(&arrives).0, ErrorCode::Busy);
        captures.joined(number);
        let shown = given(&started);
        assert_eq!((&shown["state"], &shown["path"]), (&json!("running"), &json!("/d/a.pcapng")));
        let (stop, stopped) = answer();
        assert_eq!(captures.stop("a", 2, stop), Some(number));
        captures.left(number);
        captures.left(number);
        assert!(stopped.try_recv().is_err(), "its thread writes");
        assert!(!captures.end(number, Reason::Stopped), "no lcore has a part");
        assert_eq!(given(&stopped)["reason"], "stopped");
        let (again, arrives) = answer();
        assert_eq!(captures.stop("a", 2, again), None);
        assert_eq!(given(&arrives)["state"], "ended");
        let (other, arrives) = answer();
        assert_eq!(captures.stop("b", 2, other), None);
        assert_eq!(refused(&arrives), (ErrorCode::NoSuchExport, "there is no capture 'b': none runs".into()));
    }

    #[test]
    fn a_thread_that_ends_first_leaves_lcores_to_be_told() {
        let mut captures = captures();
        let (number, started) = start(&mut captures, "a");
        captures.join(number, 1);
        assert!(captures.end(number, Reason::Failed("no room".into())));
        assert_eq!(given(&started)["reason"], "no room");
        captures.joined(number);
        captures.left(number);
        assert_eq!(captures.list()[0]["state"], "ended");
        let (number, refused_start) = start(&mut captures, "a");
        captures.refuse(number, "it exists".into());
        assert_eq!(refused(&refused_start), (ErrorCode::Unsuitable, "it exists".into()));
        assert_eq!(captures.list().as_array().map(Vec::len), Some(1), "a refused one is not listed");
    }

    #[test]
    fn names_are_unique_and_captures_few() {
        let mut captures = captures();
        let calls: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| start(&mut captures, name)).collect();
        assert_eq!(captures.admit("b").unwrap_err().code(), ErrorCode::Exists);
        assert_eq!(captures.admit("e").unwrap_err().code(), ErrorCode::NoMemory);
        captures.stop_all();
        for (number, call) in calls {
            assert!(call.try_recv().is_ok_and(|answer| answer.is_err()), "it is given up");
            captures.end(number, Reason::Stopped);
        }
        for _ in 0..20 {
            let (number, _call) = start(&mut captures, "e");
            captures.end(number, Reason::Stopped);
        }
        assert_eq!(captures.list().as_array().map(Vec::len), Some(ENDED_MAX));
    }
}
