//! A file whose reads, writes and syncs fail or hang when a test wants it: a file system of one file, by FUSE, in the test's own
//! memory. Linux sees an ordinary file with direct I/O; a loop device makes a failing disk of it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use crate::lab::{Lab, require, until};

/// Bytes of a write that the kernel may send in one request.
const MAX_WRITE: u32 = 128 << 10;

/// Requests that the kernel may have sent without an answer.
const MAX_BACKGROUND: u16 = 64;

/// An operation that can fail or hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    Sync,
}

/// The treatment of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    Well,
    /// It has no effect and this error.
    Fails(Errno),
    /// It is carried out, and answered at [`FaultyFile::release`].
    Held,
}

/// A mounted file with faults; it is well at first. Unmounted when dropped.
pub(crate) struct FaultyFile {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

struct State {
    device: File,
    data: Vec<u8>,
    /// Of [`Operation`], in their order.
    treatments: [Treatment; 3],
    /// Requests of each that came in.
    counts: [u64; 3],
    /// Answers that are held back.
    held: Vec<Vec<u8>>,
}

impl FaultyFile {
    /// A file of so many bytes, all zero.
    #[track_caller]
    pub(crate) fn mount(lab: &Lab, name: &str, bytes: usize) -> Self {
        let path = lab.path(name);
        File::create(&path).unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.unwrap_or_else(|error| panic!("/dev/fuse: {error}: modprobe fuse"));
        // The root of the file system is the file, so its mount point is one. mount(8) has the device as its standard input.
        let options = "fd=0,rootmode=100000,user_id=0,group_id=0";
        let mut mount = Command::new(require("mount"));
        mount.args(["-i", "-t", "fuse", "-o", options, "faulty"]).arg(&path);
        mount.stdin(Stdio::from(device.try_clone().unwrap()));
        let state = State {
            device: device.try_clone().unwrap(),
            data: vec![0; bytes],
            treatments: [Treatment::Well; 3],
            counts: [0; 3],
            held: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let served = Arc::clone(&state);
        // It ends when the file is unmounted and nobody has it open.
        std::thread::spawn(move || serve(device, &served));
        lab::run(&mut mount).unwrap();
        Self { path, state }
    }

    pub(crate) fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn treat(&self, operation: Operation, treatment: Treatment) {
        self.state().treatments[operation as usize] = treatment;
    }

    /// This operation fails from now on.
    pub(crate) fn fail(&self, operation: Operation, errno: Errno) {
        self.treat(operation, Treatment::Fails(errno));
    }

    /// This operation is not answered from now on.
    pub(crate) fn hold(&self, operation: Operation) {
        self.treat(operation, Treatment::Held);
    }

    /// This operation is well from now on. What is held stays so.
    pub(crate) fn heal(&self, operation: Operation) {
        self.treat(operation, Treatment::Well);
    }

    /// Answers what is held, with success.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        for answer in std::mem::take(&mut state.held) {
            state.send(&answer);
        }
    }

    /// Waits until so many requests are held.
    #[track_caller]
    pub(crate) fn wait_for_held(&self, count: usize) {
        until(&format!("{count} requests to be held"), || self.state().held.len() == count);
    }

    /// Requests of this kind that came in.
    pub(crate) fn count(&self, operation: Operation) -> u64 {
        self.state().counts[operation as usize]
    }

    /// What the file has from byte `at` on.
    pub(crate) fn bytes(&self, at: usize, length: usize) -> Vec<u8> {
        self.state().data[at..at + length].to_vec()
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.state().treatments = [Treatment::Well; 3];
        self.release();
        // A test that fails may leave it open.
        if let Err(error) = lab::run(Command::new("umount").arg("--lazy").arg(&self.path)) {
            eprintln!("{error}");
        }
    }
}

/// Answers the kernel until it has unmounted the file. There is nothing to read before it is mounted, which takes answers.
fn serve(mut device: File, state: &Arc<Mutex<State>>) {
    let mut request = vec![0; MAX_WRITE as usize + 4096];
    loop {
        match device.read(&mut request) {
            Err(error)
                if error.raw_os_error() == Some(Errno::EPERM as i32) && Arc::strong_count(state) > 1 =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(length) => {
                state.lock().unwrap_or_else(PoisonError::into_inner).take(&request[..length]);
            }
            // A request that was withdrawn, and the end.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => return,
            Err(error) => return eprintln!("/dev/fuse: {error}"),
        }
    }
}

/// The numbers of linux/fuse.h.
mod opcode {
    pub(super) const FORGET: u32 = 2;
    pub(super) const GETATTR: u32 = 3;
    pub(super) const SETATTR: u32 = 4;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const WRITE: u32 = 16;
    pub(super) const RELEASE: u32 = 18;
    pub(super) const FSYNC: u32 = 20;
    pub(super) const INIT: u32 = 26;
    pub(super) const INTERRUPT: u32 = 36;
    pub(super) const DESTROY: u32 = 38;
    pub(super) const BATCH_FORGET: u32 = 42;
}

/// fuse_init_in's flags: reads and direct I/O need not be waited for one by one.
const ASYNC_READ: u32 = 1;
const ASYNC_DIO: u32 = 1 << 15;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl State {
    /// Carries out a request: fuse_in_header of 40 bytes, and its arguments.
    fn take(&mut self, request: &[u8]) {
        let (code, unique, arguments) = (word(request, 4), long(request, 8), &request[40..]);
        let operation = match code {
            opcode::READ => Some(Operation::Read),
            opcode::WRITE => Some(Operation::Write),
            opcode::FSYNC => Some(Operation::Sync),
            _ => None,
        };
        let treatment = operation.map_or(Treatment::Well, |operation| {
            self.counts[operation as usize] += 1;
            self.treatments[operation as usize]
        });
        let answer = match treatment {
            Treatment::Fails(errno) => answer(unique, Err(errno)),
            Treatment::Well | Treatment::Held => {
                let Some(result) = self.carry_out(code, arguments) else { return };
                answer(unique, result)
            }
        };
        if treatment == Treatment::Held {
            self.held.push(answer);
        } else {
            self.send(&answer);
        }
    }

    /// The result of a request, or `None` for one that is not answered.
    fn carry_out(&mut self, code: u32, arguments: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
        let range = || {
            let at = usize::try_from(long(arguments, 8)).unwrap();
            at.min(self.data.len())..(at + word(arguments, 16) as usize).min(self.data.len())
        };
        Some(match code {
            opcode::INIT => Ok(self.init()),
            // fuse_attr_out: valid for an hour.
            opcode::GETATTR | opcode::SETATTR => {
                Ok([3600_u64.to_ne_bytes().as_slice(), &[0; 8], &self.attributes()].concat())
            }
            // fuse_open_out.
            opcode::OPEN => Ok(vec![0; 16]),
            opcode::READ => Ok(self.data[range()].to_vec()),
            opcode::WRITE => {
                let range = range();
                let length = range.len();
                self.data[range].copy_from_slice(&arguments[40..40 + length]);
                // fuse_write_out.
                Ok([u32::try_from(length).unwrap().to_ne_bytes(), [0; 4]].concat())
            }
            opcode::FSYNC | opcode::RELEASE | opcode::DESTROY => Ok(Vec::new()),
            opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return None,
            _ => Err(Errno::ENOSYS),
        })
    }

    /// fuse_init_out of protocol 7.31.
    fn init(&self) -> Vec<u8> {
        let background = [MAX_BACKGROUND.to_ne_bytes(), MAX_BACKGROUND.to_ne_bytes()].concat();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        [words(&[7, 31, 0, ASYNC_READ | ASYNC_DIO]), background, words(&[MAX_WRITE, 1]), vec![0; 36]].concat()
    }

    /// fuse_attr: a regular file that root owns.
    fn attributes(&self) -> Vec<u8> {
        let size = self.data.len() as u64;
        let longs = [1, size, size / 512, 0, 0, 0];
        let words = [0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0_u32];
        let mut bytes: Vec<u8> = longs.iter().flat_map(|long: &u64| long.to_ne_bytes()).collect();
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    /// A request that was withdrawn meanwhile takes no answer.
    fn send(&mut self, answer: &[u8]) {
        match self.device.write(answer) {
            Ok(length) => assert_eq!(length, answer.len()),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            Err(error) => eprintln!("an answer to /dev/fuse: {error}"),
        }
    }
}

/// fuse_out_header of 16 bytes, and what follows.
fn answer(unique: u64, result: Result<Vec<u8>, Errno>) -> Vec<u8> {
    let (error, data) = match result {
        Ok(data) => (0, data),
        Err(errno) => (-(errno as i32), Vec::new()),
    };
    let length = u32::try_from(16 + data.len()).unwrap();
    [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes(), &data].concat()
}
