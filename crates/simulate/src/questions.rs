//! Questions to wildcard addresses and to nobody, and who may answer them.

use std::collections::BTreeMap;

use crate::plan::{Asked, Event, ExportPlan, Plan, Question};

/// The bit that tells the tags of questions from those of requests.
pub(crate) const TAG: u32 = 1 << 31;

/// A question that was asked.
#[derive(Debug, Clone)]
struct State {
    asked: Asked,
    /// Whole copies that arrived.
    arrived: u32,
    /// Answers, by slot.
    answers: BTreeMap<u8, u32>,
}

/// All questions.
#[derive(Debug)]
pub(crate) struct Questions {
    states: Vec<State>,
    next: usize,
    exports: Vec<ExportPlan>,
    /// Exports that are there from beginning to end.
    lasting: Vec<bool>,
}

impl Questions {
    pub(crate) fn new(plan: &Plan) -> Self {
        let state = |asked: &Asked| State { asked: *asked, arrived: 0, answers: BTreeMap::new() };
        let is_lasting = |export: usize| {
            let goes = |event: Event| matches!(event, Event::Delete { .. } | Event::Force);
            let happens = plan.events.iter().any(|(_, changed, event)| *changed == export && goes(*event));
            !happens && plan.exports[export].follows.is_none()
        };
        Self {
            states: plan.questions.iter().map(state).collect(),
            next: 0,
            exports: plan.exports.clone(),
            lasting: (0..plan.exports.len()).map(is_lasting).collect(),
        }
    }

    /// When the next one is asked.
    pub(crate) fn next(&self) -> Option<u64> {
        self.states.get(self.next).map(|state| state.asked.at)
    }

    /// The next one that is due, and its tag.
    pub(crate) fn ask(&mut self, now: u64) -> Option<(Asked, u32)> {
        let asked = self.states.get(self.next).map(|state| state.asked).filter(|asked| asked.at <= now)?;
        let tag = TAG | u32::try_from(self.next).unwrap_or(0);
        self.next += 1;
        Some((asked, tag))
    }

    fn of(&mut self, tag: u32) -> Option<&mut State> {
        self.states.get_mut(usize::try_from(tag & !TAG).unwrap_or(usize::MAX))
    }

    /// A whole copy has arrived.
    pub(crate) fn arrived(&mut self, tag: u32) {
        if let Some(state) = self.of(tag) {
            state.arrived += 1;
        }
    }

    /// An export has answered.
    ///
    /// # Errors
    /// If it must not, or not again.
    pub(crate) fn answered(&mut self, tag: u32, slot: u8) -> Result<(), String> {
        let exports = self.exports.clone();
        let Some(state) = self.of(tag) else { return Err(format!("nobody asked with tag {tag:08x}")) };
        let asked = state.asked;
        if !exports.iter().any(|export| export.slot == slot && may_answer(&asked, &exports, export)) {
            return Err(format!("slot {slot} has answered {asked:?}, which is not for it"));
        }
        let answers = state.answers.entry(slot).or_default();
        *answers += 1;
        if *answers > state.arrived {
            return Err(format!(
                "slot {slot} has answered {answers} times; {asked:?} came {} times",
                state.arrived
            ));
        }
        Ok(())
    }

    /// Frames that were answered by several exports, and the answers, at the end.
    ///
    /// # Errors
    /// If an export has not answered that ought to.
    pub(crate) fn finish(&self) -> Result<(u64, u64), String> {
        let (mut frames, mut answers) = (0, 0);
        for State { asked, arrived, answers: by_slot } in &self.states {
            let is_wildcard = !matches!(asked.question, Question::Elsewhere { .. });
            if is_wildcard {
                frames += u64::from(by_slot.values().copied().max().unwrap_or(0));
                answers += by_slot.values().copied().map(u64::from).sum::<u64>();
            }
            for (export, lasting) in self.exports.iter().zip(&self.lasting) {
                let answered = by_slot.get(&export.slot).copied().unwrap_or(0);
                if is_wildcard && *lasting && may_answer(asked, &self.exports, export) && answered < *arrived
                {
                    return Err(format!(
                        "slot {} has answered {answered} of {arrived} copies of {asked:?}",
                        export.slot
                    ));
                }
            }
        }
        Ok((frames, answers))
    }
}

/// Whether a question is for an export.
fn may_answer(asked: &Asked, exports: &[ExportPlan], export: &ExportPlan) -> bool {
    let is_meant = match asked.question {
        Question::Config { .. } | Question::Identify => true,
        Question::Write => false,
        Question::Elsewhere { export: meant } => exports[meant].slot == export.slot,
    };
    is_meant && asked.vlan == export.vlan
}
