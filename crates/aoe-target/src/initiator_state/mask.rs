//! The MAC mask list: the only initiators that an export answers.

use aoe_wire::{AoeError, Directive, DirectiveCommand, MacAddr, MaskCommand, MaskError};

use super::applied::{Applied, StateReply};
use super::error::InitiatorStateError;

/// Up to 255 different addresses, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskList(Vec<MacAddr>);

impl MaskList {
    /// Most addresses.
    pub const MAX: usize = 255;

    /// A list of these addresses.
    ///
    /// # Errors
    /// [`InitiatorStateError`] above 255 addresses, or when one is there twice.
    pub fn new(macs: Vec<MacAddr>) -> Result<Self, InitiatorStateError> {
        if macs.len() > Self::MAX {
            return Err(InitiatorStateError::TooManyAddresses(macs.len()));
        }
        for (i, mac) in macs.iter().enumerate() {
            if macs[..i].contains(mac) {
                return Err(InitiatorStateError::DuplicateAddress(*mac));
            }
        }
        Ok(Self(macs))
    }

    /// The addresses.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[MacAddr] {
        &self.0
    }

    /// Whether nobody is listed, which means that everybody is answered.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs `count` directives from `bytes`, in order, up to the first that fails.
    pub(super) fn apply(&mut self, bytes: &[u8], count: u8) -> Applied {
        let Some(directives) = Directive::list(bytes, count) else {
            return Applied::unchanged(StateReply::Refused(AoeError::BadArgument));
        };
        let before = self.0.clone();
        let mut completed = 0;
        let mut error = MaskError::None;
        for directive in directives {
            error = self.run(directive);
            if error != MaskError::None {
                break;
            }
            completed += 1;
        }
        let reply = StateReply::Mask(MaskCommand::Edit, error, completed);
        Applied { reply, changed: self.0 != before }
    }

    /// Adding what is there and deleting what is not succeed.
    fn run(&mut self, directive: &Directive) -> MaskError {
        let at = self.0.iter().position(|mac| *mac == directive.mac);
        match (DirectiveCommand::from(directive.command), at) {
            (DirectiveCommand::Add, None) if self.0.len() == Self::MAX => return MaskError::ListFull,
            (DirectiveCommand::Add, None) => self.0.push(directive.mac),
            (DirectiveCommand::Delete, Some(at)) => {
                self.0.remove(at);
            }
            (DirectiveCommand::None | DirectiveCommand::Add | DirectiveCommand::Delete, _) => {}
            (DirectiveCommand::Unknown(_), _) => return MaskError::BadDirective,
        }
        MaskError::None
    }
}
