//! The steps of a scenario.

use ring_lab::frames::tag;

use crate::bench::Bench;

/// A scenario or a step of one, called once before each turn with the frames that have arrived since; says when it is
/// finished.
pub(crate) type Step = Box<dyn FnMut(&mut Bench, Vec<Vec<u8>>) -> bool>;

/// A scenario's name, and how it is made.
pub(crate) type Scenario = (&'static str, fn() -> Step);

/// Sends `requests`, waits for `replies` frames, and checks them by tag.
pub(crate) fn exchange(
    requests: impl FnOnce(&mut Bench) + 'static,
    replies: usize,
    check: impl FnOnce(&mut Bench, Vec<Vec<u8>>) + 'static,
) -> Step {
    let (mut requests, mut check) = (Some(requests), Some(check));
    let mut got = Vec::new();
    Box::new(move |bench, arrived| {
        if let Some(requests) = requests.take() {
            requests(bench);
        }
        got.extend(arrived);
        assert!(got.len() <= replies, "{} replies where {replies} were due", got.len());
        if got.len() < replies {
            return false;
        }
        let mut got = std::mem::take(&mut got);
        got.sort_by_key(|frame| request_tag(frame));
        if let Some(check) = check.take() {
            check(bench, got);
        }
        true
    })
}

/// The request that a reply answers, behind a VLAN tag or not.
fn request_tag(frame: &[u8]) -> u32 {
    match frame.get(12..14) {
        Some([0x81, 0x00]) => tag(&[&frame[..12], &frame[16..]].concat()),
        _ => tag(frame),
    }
}

/// One step after the other.
pub(crate) fn chain(steps: Vec<Step>) -> Step {
    let mut steps = steps.into_iter().peekable();
    Box::new(move |bench, arrived| {
        let Some(step) = steps.peek_mut() else { return true };
        if step(bench, arrived) {
            steps.next();
        }
        steps.peek().is_none()
    })
}

/// Some turns in which nothing may arrive.
pub(crate) fn silence(turns: u32) -> Step {
    let mut left = turns;
    Box::new(move |_, arrived| {
        assert!(arrived.is_empty(), "an answer where none was due: {arrived:x?}");
        left -= 1;
        left == 0
    })
}

/// Does something once.
pub(crate) fn once(act: impl FnOnce(&mut Bench) + 'static) -> Step {
    let mut act = Some(act);
    Box::new(move |bench, arrived| {
        assert!(arrived.is_empty(), "an answer where none was due: {arrived:x?}");
        if let Some(act) = act.take() {
            act(bench);
        }
        true
    })
}
