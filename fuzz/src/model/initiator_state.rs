//! What initiators keep on a disk: config string, mask list, reservation.
//!
//! The protocol leaves much of command 4 open; what is here is what this target says it does.

use super::opcode::is_write;

type Mac = [u8; 6];
type Key = [u8; 8];

/// Nobody's key, and the one that stands for a plain reservation.
const NOT_KEYS: [Key; 2] = [[0; 8], [0xff; 8]];

/// An error code, or none, and the argument of the reply.
type Answer = (Option<u8>, Vec<u8>);

/// What initiators keep on a disk.
#[derive(Clone, Debug, Default)]
pub struct InitiatorState {
    /// Config string.
    pub config: Vec<u8>,
    /// The only initiators that are answered; everybody when empty.
    pub mask: Vec<Mac>,
    /// Initiators that hold a plain reservation.
    plain: Vec<Mac>,
    keys: Vec<(Key, Vec<Mac>)>,
    owner: Option<Key>,
    kind: u8,
    generation: u32,
}

impl InitiatorState {
    /// Nothing but this config string.
    pub fn of(config: &[u8]) -> Self {
        Self { config: config.to_vec(), ..Self::default() }
    }

    /// Query/config: `rest` starts with the length of the string. `None` is silence, else the error if there is one.
    pub fn query(&mut self, command: u8, rest: &[u8]) -> Option<Option<u8>> {
        let string = |from: usize| {
            let length = usize::from(u16::from_be_bytes([*rest.get(from)?, *rest.get(from + 1)?]));
            (length <= 1024).then_some(length)
        };
        if command == 0 {
            return Some(None);
        }
        let length = string(0)?;
        let given = rest.get(2..2 + length)?.to_vec();
        match command {
            1 => (given == self.config).then_some(None),
            2 => self.config.starts_with(&given).then_some(None),
            3 if !self.config.is_empty() && self.config != given => Some(Some(4)),
            3 | 4 => {
                self.config = given;
                Some(None)
            }
            5 => {
                // Old string, length, new string.
                let new_length = string(2 + length)?;
                let new = rest.get(4 + length..4 + length + new_length)?;
                if given != self.config {
                    return Some(Some(4));
                }
                self.config = new.to_vec();
                Some(None)
            }
            _ => Some(Some(2)),
        }
    }

    /// Command 2, from the reserved byte on.
    pub fn mask_request(&mut self, argument: &[u8], room: usize) -> Answer {
        let (command, count) = (argument[1], usize::from(argument[3]));
        if command > 1 {
            return (Some(2), Vec::new());
        }
        if command == 1 {
            let Some(directives) = argument.get(4..4 + 8 * count) else { return (Some(2), Vec::new()) };
            for (done, directive) in directives.chunks(8).enumerate() {
                let mac: Mac = directive[2..].try_into().expect("six bytes");
                let listed = self.mask.contains(&mac);
                let error = match directive[1] {
                    0 => 0,
                    1 if listed => 0,
                    1 if self.mask.len() == 255 => 3,
                    1 => {
                        self.mask.push(mac);
                        0
                    }
                    2 => {
                        self.mask.retain(|other| *other != mac);
                        0
                    }
                    _ => 2,
                };
                if error != 0 {
                    // As many empty directives as were done, as far as the frame goes.
                    let mut answer = vec![0, 1, error, u8::try_from(done).expect("below 255")];
                    answer.resize(4 + 8 * done.min((room - 28) / 8), 0);
                    return (None, answer);
                }
            }
        }
        let shown = &self.mask[..self.mask.len().min((room - 28) / 8)];
        let mut answer = vec![0, command, 0, u8::try_from(shown.len()).expect("at most 255")];
        answer.extend(shown.iter().flat_map(|mac| [&[0, 0], &mac[..]].concat()));
        (None, answer)
    }

    /// Command 3, from RCmd on.
    pub fn reserve_request(&mut self, sender: &[u8], argument: &[u8], room: usize) -> Answer {
        let (command, count) = (argument[0], usize::from(argument[1]));
        let mut error = None;
        match (command, argument.get(2..2 + 6 * count)) {
            (0, _) => {}
            (1 | 2, Some(macs)) => {
                let mine = self.plain.is_empty() || self.plain.iter().any(|holder| holder == sender);
                if command == 2 || self.keys.is_empty() && mine {
                    self.forget_keys();
                    self.plain = in_list(macs);
                } else {
                    error = Some(6);
                }
            }
            _ => return (Some(2), Vec::new()),
        }
        let mut holders = self.holders();
        holders.truncate(255.min((room - 26) / 6));
        let mut answer = vec![command, u8::try_from(holders.len()).expect("at most 255")];
        answer.extend(holders.concat());
        (error, answer)
    }

    /// Command 4, from RCmd on.
    pub fn keyed_request(&mut self, sender: &[u8], argument: &[u8], room: usize) -> Answer {
        let error = match argument[0] {
            0 => None,
            1..=4 if !self.plain.is_empty() => Some(6),
            1 => self.register(sender, argument),
            2 => self.set(sender, argument),
            3 => self.replace(sender, argument),
            4 if self.owner.is_some() && !self.keys.iter().any(|(_, macs)| has(macs, sender)) => Some(6),
            4 => {
                self.forget_keys();
                None
            }
            _ => Some(2),
        };
        if error == Some(2) {
            return (error, Vec::new());
        }
        let plain = (!self.plain.is_empty()).then_some(NOT_KEYS[1]);
        let mut keys: Vec<Key> = plain.into_iter().chain(self.keys.iter().map(|(key, _)| *key)).collect();
        keys.truncate((room - 44) / 8);
        let mut answer = vec![argument[0], self.kind];
        answer.extend(u16::try_from(keys.len()).expect("few").to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(self.generation.to_be_bytes());
        answer.extend(plain.or(self.owner).unwrap_or_default());
        answer.extend(keys.concat());
        (error, answer)
    }

    /// Whether an ATA request gets by the reservation.
    pub fn let_through(&self, frame: &[u8]) -> bool {
        let free = self.plain.is_empty() && self.owner.is_none();
        let identify = frame[27] == 0xec && frame[26] == 1;
        // What is neither a read nor harmless for everybody; commands that are aborted anyway may pass.
        let feature = frame[25];
        let changes = match frame[27] {
            0x06 => feature & 1 == 1 && frame[26] != 0,
            0xb0 => frame[29..31] == [0x4f, 0xc2] && matches!(feature, 0xd0 | 0xd1 | 0xd8 | 0xd9 | 0xda),
            0xef => matches!(feature, 0x02 | 0x82),
            0xe0..=0xe3 | 0xe6 => true,
            opcode => is_write(opcode) && frame[26] != 0,
        };
        let reader = matches!(self.kind, 1 | 3 | 5) && self.plain.is_empty() && !changes;
        free || identify || has(&self.holders(), &frame[6..12]) || reader
    }

    fn register(&mut self, sender: &[u8], argument: &[u8]) -> Option<u8> {
        let Some(macs) = argument.get(12..12 + 6 * usize::from(argument[1])) else { return Some(2) };
        let (key, macs) = (key(argument, 4), in_list(macs));
        if NOT_KEYS.contains(&key) {
            return Some(2);
        }
        match self.keys.iter().position(|(known, _)| *known == key) {
            Some(at) if !has(&self.keys[at].1, sender) => return Some(6),
            Some(at) if self.keys[at].1 == macs => return None,
            Some(at) if macs.is_empty() => {
                self.keys.remove(at);
                if self.owner == Some(key) {
                    let heir = self.keys.first().map(|(heir, _)| *heir);
                    self.owner = if self.kind >= 4 { heir } else { None };
                    self.kind = if self.owner.is_some() { self.kind } else { 0 };
                }
            }
            Some(at) => self.keys[at].1 = macs,
            None if macs.is_empty() => return None,
            None if self.keys.len() == 255 => return Some(2),
            None => self.keys.push((key, macs)),
        }
        self.generation += 1;
        None
    }

    fn set(&mut self, sender: &[u8], argument: &[u8]) -> Option<u8> {
        if argument.len() < 12 || argument[1] > 5 {
            return Some(2);
        }
        let key = key(argument, 4);
        if !self.speaks_for(sender, key) || self.owner.is_some_and(|owner| owner != key) {
            return Some(6);
        }
        (self.owner, self.kind) = (Some(key), argument[1]);
        None
    }

    fn replace(&mut self, sender: &[u8], argument: &[u8]) -> Option<u8> {
        if argument.len() < 20 || argument[1] > 5 {
            return Some(2);
        }
        let (old, new) = (key(argument, 4), key(argument, 12));
        if !self.speaks_for(sender, new) || self.owner != Some(old) {
            return Some(6);
        }
        if old == new && self.kind == argument[1] {
            return None;
        }
        if argument[2] & 1 == 0 && old != new {
            self.keys.retain(|(known, _)| *known != old);
        }
        (self.owner, self.kind) = (Some(new), argument[1]);
        self.generation += 1;
        None
    }

    fn speaks_for(&self, sender: &[u8], key: Key) -> bool {
        self.keys.iter().any(|(known, macs)| *known == key && has(macs, sender))
    }

    fn forget_keys(&mut self) {
        if !self.keys.is_empty() {
            self.keys.clear();
            (self.owner, self.kind) = (None, 0);
            self.generation += 1;
        }
    }

    /// Who may read and write while the disk is reserved.
    fn holders(&self) -> Vec<Mac> {
        let mut holders = self.plain.clone();
        for (key, macs) in &self.keys {
            if self.owner.is_some() && (self.kind >= 2 || self.owner == Some(*key)) {
                holders.extend(macs);
            }
        }
        holders
    }
}

fn key(argument: &[u8], at: usize) -> Key {
    argument[at..at + 8].try_into().expect("eight bytes")
}

fn has(macs: &[Mac], sender: &[u8]) -> bool {
    macs.iter().any(|mac| mac == sender)
}

fn in_list(bytes: &[u8]) -> Vec<Mac> {
    bytes.chunks(6).map(|mac| mac.try_into().expect("six bytes")).collect()
}
