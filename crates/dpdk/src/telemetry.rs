//! EAL's telemetry socket, at which clients such as `dpdk-telemetry.py` ask for JSON by the name of a command.
//!
//! Commands are answered on threads of EAL's, one for each client, which stay on the CPUs that they are given here. None of them
//! touches what an lcore owns: an answer is a value that the program has made.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::OnceLock,
};

use crate::{
    eal::EalStarted,
    error::{Error, Result, check},
};

/// Elements of a list at most.
pub const ELEMENTS_MAX: usize = dpdk_sys::DPDK_SHIM_TELEMETRY_ELEMENTS as usize;

/// Fields of an answer at most.
pub const FIELDS_MAX: usize = dpdk_sys::DPDK_SHIM_TELEMETRY_FIELDS as usize;

/// Bytes of a text in an answer at most.
pub const TEXT_MAX: usize = dpdk_sys::DPDK_SHIM_TELEMETRY_TEXT as usize - 1;

/// A command: its name, which begins with `/`, and one sentence of help, of at most 63 bytes.
pub type Command = (&'static CStr, &'static CStr);

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A list of texts, of which at most [`ELEMENTS_MAX`] are sent.
    Texts(Vec<String>),
    /// A list of numbers, of which at most [`ELEMENTS_MAX`] are sent.
    Numbers(Vec<u64>),
    /// Fields by name, of which at most [`FIELDS_MAX`] are sent. A name has letters, digits and `_`.
    Fields(Vec<(String, Field)>),
}

/// A field of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A text, which is cut to [`TEXT_MAX`] bytes.
    Text(String),
    /// A number.
    Number(u64),
}

/// Answers a command with its parameter, what stands behind the first comma. `None` is sent as `null`.
pub type Handler = fn(command: &str, parameter: Option<&str>) -> Option<Answer>;

static HANDLER: OnceLock<Handler> = OnceLock::new();

/// Opens the socket `dpdk_telemetry.v2` in `directory`, which must exist, and has `handler` answer these commands. The threads
/// stay on `cpus`. DPDK removes the socket when the process exits.
///
/// # Errors
/// `EALREADY` the second time; `EINVAL` for a directory with a NUL byte or a command that DPDK refuses, `ENOENT` if it has no
/// place for another; `ENAMETOOLONG` if a socket can't have that path; `EIO` if DPDK can't open it, then its log has the reason.
pub fn serve(
    _: EalStarted,
    directory: &Path,
    cpus: &[u32],
    commands: &[Command],
    handler: Handler,
) -> Result<()> {
    let call = "rte_telemetry_init";
    if HANDLER.set(handler).is_err() {
        return Err(Error { call, errno: 114 });
    }
    let directory = CString::new(directory.as_os_str().as_bytes()).map_err(|_| Error { call, errno: 22 })?;
    for (command, help) in commands {
        // SAFETY: rte_telemetry_register_cmd (rte_telemetry.h) copies both strings, which are NUL-terminated, and may be
        // called at any time. `answer` is a function, so it can be called as long as the program runs, on any thread.
        let code =
            unsafe { dpdk_sys::dpdk_shim_telemetry_register(command.as_ptr(), help.as_ptr(), Some(answer)) };
        check("rte_telemetry_register_cmd", code)?;
    }
    // SAFETY: the shim copies the NUL-terminated string and the `len` numbers. rte_telemetry_init is to be called once, which
    // HANDLER sees to, for SPDK gives EAL --no-telemetry; a second socket of the same process would get a name of its own.
    let code = unsafe { dpdk_sys::dpdk_shim_telemetry_start(directory.as_ptr(), cpus.as_ptr(), cpus.len()) };
    check(call, code).map(|_| ())
}

/// Called by DPDK on a client's thread.
extern "C" fn answer(
    command: *const c_char,
    parameter: *const c_char,
    data: *mut dpdk_sys::rte_tel_data,
) -> c_int {
    let Some(handler) = HANDLER.get() else { return -1 };
    // SAFETY: client_handler in DPDK's lib/telemetry/telemetry.c, the only caller, passes the NUL-terminated name of the
    // command, in a buffer of its own that stays during the call.
    let command = unsafe { CStr::from_ptr(command) }.to_string_lossy();
    let parameter = if parameter.is_null() {
        None
    } else {
        // SAFETY: as for the command: the rest of the same buffer.
        Some(unsafe { CStr::from_ptr(parameter) }.to_string_lossy())
    };
    let Some(answer) = handler(&command, parameter.as_deref()) else { return -1 };
    // SAFETY: DPDK passes an answer to be filled, which nobody else uses during the call.
    unsafe { fill(data, &answer) }
}

/// Writes an answer. Returns 0 or a negative errno.
///
/// # Safety
/// `data` is an answer that DPDK has given to be filled, and nobody else uses it.
unsafe fn fill(data: *mut dpdk_sys::rte_tel_data, answer: &Answer) -> c_int {
    let begun = match answer {
        // SAFETY: rte_tel_data_start_array (rte_telemetry.h) asks for an answer to be filled.
        Answer::Texts(_) => unsafe { dpdk_sys::dpdk_shim_telemetry_texts(data) },
        // SAFETY: as for texts.
        Answer::Numbers(_) => unsafe { dpdk_sys::dpdk_shim_telemetry_numbers(data) },
        // SAFETY: the same holds for rte_tel_data_start_dict.
        Answer::Fields(_) => unsafe { dpdk_sys::dpdk_shim_telemetry_fields(data) },
    };
    if begun != 0 {
        return begun;
    }
    let mut code = 0;
    match answer {
        Answer::Texts(texts) => {
            for text in texts.iter().take(ELEMENTS_MAX) {
                let text = c_text(text);
                // SAFETY: rte_tel_data_add_array_string asks for an array of texts, which was begun, and copies the string.
                code = code.min(unsafe { dpdk_sys::dpdk_shim_telemetry_add_text(data, text.as_ptr()) });
            }
        }
        Answer::Numbers(numbers) => {
            for number in numbers.iter().take(ELEMENTS_MAX) {
                // SAFETY: the function asks for an array of numbers, which was begun.
                code = code.min(unsafe { dpdk_sys::dpdk_shim_telemetry_add_number(data, *number) });
            }
        }
        Answer::Fields(fields) => {
            for (name, field) in fields.iter().take(FIELDS_MAX) {
                let name = c_text(name);
                code = code.min(match field {
                    Field::Text(text) => {
                        let text = c_text(text);
                        // SAFETY: rte_tel_data_add_dict_string asks for a dictionary, which was begun, and copies both.
                        unsafe {
                            dpdk_sys::dpdk_shim_telemetry_add_text_field(data, name.as_ptr(), text.as_ptr())
                        }
                    }
                    // SAFETY: as for a text.
                    Field::Number(number) => unsafe {
                        dpdk_sys::dpdk_shim_telemetry_add_number_field(data, name.as_ptr(), *number)
                    },
                });
            }
        }
    }
    code
}

/// A text as an answer may hold it: DPDK writes JSON, and escapes only some of the characters that JSON wants to be.
fn c_text(text: &str) -> CString {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    CString::new(text[..end].chars().map(plain).collect::<String>()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_has_no_controls() {
        assert_eq!(c_text("a\nb\0c").to_bytes(), b"a b c");
        let long = "ä".repeat(100);
        let cut = c_text(&long);
        assert_eq!(cut.to_bytes().len(), TEXT_MAX - TEXT_MAX % 2);
        assert_eq!(cut.to_str().map(|text| text.chars().all(|letter| letter == 'ä')), Ok(true));
    }
}
