//! Names of the functions on a stack. A program with line tables also tells which functions were inlined where, by
//! short names; the files they are in make them whole: `poll` of `crates/dpdk/src/queue.rs` is `dpdk::queue::poll`.

use super::sampling::Caller;
use addr2line::Loader;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Behind the name of each of Linux's functions, as flame graphs have it.
pub const KERNEL: &str = "_[k]";
/// The functions that run an lcore, SPDK's and the bare responder's; what calls them is always the same and left out.
pub const ROOTS: [&str; 2] = ["reactor_run", "benches::bin::responder::serve"];
/// In place of these on stacks whose outer part perf could not find.
pub const CUT: &str = "[cut]";

/// The programs and libraries met so far.
#[derive(Default)]
pub struct Programs {
    opened: HashMap<String, Option<Program>>,
    /// What was found before: few places are met again and again.
    known: HashMap<(String, u64), Vec<String>>,
}

impl fmt::Debug for Programs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Programs").field("opened", &self.opened.len()).finish_non_exhaustive()
    }
}

impl Programs {
    /// A stack by the names of its functions, from one of [`ROOTS`] inwards, joined by semicolons. Closures and functions of
    /// Rust's own libraries and of crates from a registry are left out: their time is that of who calls them.
    pub fn stack(&mut self, callers: &[Caller]) -> String {
        let mut names: Vec<String> = callers.iter().rev().flat_map(|caller| self.names(caller)).collect();
        match names.iter().position(|name| ROOTS.contains(&name.as_str())) {
            Some(root) => drop(names.drain(..root)),
            None => names.insert(0, CUT.to_owned()),
        }
        names.join(";")
    }

    /// The functions at one place, the outermost first.
    fn names(&mut self, caller: &Caller) -> Vec<String> {
        let place = (caller.object.clone(), caller.offset);
        if let Some(names) = self.known.get(&place) {
            return names.clone();
        }
        let program =
            self.opened.entry(caller.object.clone()).or_insert_with(|| Program::open(&caller.object).ok());
        let inlined = program.as_ref().and_then(|program| program.names(caller.offset));
        let names = inlined.unwrap_or_else(|| by_symbol(caller).into_iter().collect());
        self.known.insert(place, names.clone());
        names
    }
}

/// The name of a function of which only perf's symbol is known; `None` if not even its object is.
fn by_symbol(caller: &Caller) -> Option<String> {
    let Caller { symbol, object, .. } = caller;
    let file = object.rsplit('/').next().unwrap_or(object);
    match (symbol.as_str(), file) {
        ("[unknown]", "[unknown]") => None,
        ("[unknown]", file) => Some(format!("[{}]", file.split(".so").next().unwrap_or(file))),
        (symbol, "[kernel.kallsyms]" | "[kernel.vmlinux]" | "[kernel]") => Some(format!("{symbol}{KERNEL}")),
        (symbol, _) => Some(bare(symbol)),
    }
}

/// A program with debug information.
struct Program {
    loader: Loader,
    segments: Vec<Segment>,
}

/// A part of the file that is mapped into memory.
struct Segment {
    offset: u64,
    address: u64,
    bytes: u64,
}

impl Program {
    fn open(path: &str) -> Result<Self> {
        ensure!(path.starts_with('/'), "{path} is no file");
        // Its error is not one that threads may share.
        let loader = Loader::new(Path::new(path)).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        Ok(Self { loader, segments: segments(path).with_context(|| path.to_owned())? })
    }

    /// `None` where there is no debug information.
    fn names(&self, offset: u64) -> Option<Vec<String>> {
        let inside = |segment: &&Segment| (segment.offset..segment.offset + segment.bytes).contains(&offset);
        let segment = self.segments.iter().find(inside)?;
        let mut frames = self.loader.find_frames(offset - segment.offset + segment.address).ok()?;
        let mut names = Vec::new();
        let mut any = false;
        while let Some(frame) = frames.next().ok()? {
            let Some(function) = frame.function else { continue };
            any = true;
            let name = function.demangle().ok()?;
            let file = frame.location.and_then(|location| location.file);
            names.extend(whole(&name, file.unwrap_or_default()));
        }
        names.reverse();
        any.then_some(names)
    }
}

/// The loadable segments of a 64-bit ELF file (ELF-64 Object File Format, "Program Header Table").
fn segments(path: &str) -> Result<Vec<Segment>> {
    const LOAD: u64 = 1;
    let mut file = File::open(path)?;
    let mut header = [0; 64];
    file.read_exact(&mut header)?;
    ensure!(header.starts_with(b"\x7fELF\x02\x01"), "not a little-endian 64-bit ELF file");
    let mut table = vec![0; 56 * usize::try_from(number(&header[56..58]))?];
    ensure!(number(&header[54..56]) == 56, "program headers of an unknown size");
    file.seek(SeekFrom::Start(number(&header[32..40])))?;
    file.read_exact(&mut table)?;
    let entries = table.chunks_exact(56).filter(|entry| number(&entry[..4]) == LOAD);
    let segment = |entry: &[u8]| Segment {
        offset: number(&entry[8..16]),
        address: number(&entry[16..24]),
        bytes: number(&entry[32..40]),
    };
    Ok(entries.map(segment).collect())
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A function's name with its module, which is its file's; C has none. `None` for one that is left out.
fn whole(name: &str, file: &str) -> Option<String> {
    if !file.ends_with(".rs") {
        return Some(bare(name));
    }
    let module = module(file);
    let function = bare(name);
    let function = function.rsplit("::").next().unwrap_or(&function);
    let rusts_own = ["core::", "alloc::", "std::"].iter().any(|library| module.starts_with(library));
    if rusts_own || file.contains("/registry/src/") || function.starts_with('{') {
        return None;
    }
    Some(format!("{module}{function}"))
}

/// "/src/crates/aoe-target/src/table/mod.rs" is "aoe_target::table::".
fn module(file: &str) -> String {
    let (package, inside) = file.rsplit_once("/src/").unwrap_or(("", file));
    let package = package.rsplit('/').next().unwrap_or_default().replace('-', "_");
    let inside = inside.trim_end_matches(".rs");
    let parts = inside.split('/').filter(|part| !matches!(*part, "lib" | "main" | "mod"));
    std::iter::once(package.as_str()).chain(parts).flat_map(|part| [part, "::"]).collect()
}

/// Without type parameters: `poll<InFlight>` is `poll`, `datapath::submit::<impl Lcore>::admit` is
/// "datapath::submit::admit". A semicolon would end the function on a folded stack, and goes with them.
fn bare(name: &str) -> String {
    let mut text = String::new();
    let mut depth = 0_u32;
    let mut before = ' ';
    for letter in name.chars() {
        match letter {
            '<' => depth += 1,
            '>' if before != '-' => depth = depth.saturating_sub(1),
            ';' => {}
            _ if depth == 0 => text.push(letter),
            _ => {}
        }
        before = letter;
    }
    let text = text.replace("::::", "::");
    let text = text.trim_start_matches("::");
    if text.is_empty() { name.replace(';', "") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(offset: u64, symbol: &str, object: &str) -> Caller {
        Caller { offset, symbol: symbol.to_owned(), object: object.to_owned() }
    }

    #[test]
    fn names_have_modules_and_no_type_parameters() {
        let cases = [
            (
                "poll<datapath::submit::InFlight>",
                "/w/crates/spdk/src/completion.rs",
                "spdk::completion::poll",
            ),
            ("receive", "/w/crates/datapath/src/receive.rs", "datapath::receive::receive"),
            ("parse", "/w/crates/aoe-target/src/request/mod.rs", "aoe_target::request::parse"),
            ("bdev_io_submit", "/w/spdk/lib/bdev/bdev.c", "bdev_io_submit"),
            ("rte_rdtsc", "/usr/include/dpdk/rte_cycles.h", "rte_rdtsc"),
        ];
        for (name, file, expected) in cases {
            assert_eq!(whole(name, file).as_deref(), Some(expected));
        }
        for (name, file) in [
            ("with<core::cell::RefCell<()>, fn() -> bool>", "/rustc/59/library/std/src/thread/local.rs"),
            (
                "get",
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/zerocopy-0.8.63/src/byteorder.rs",
            ),
            ("{closure#0}", "/w/crates/datapath/src/remote.rs"),
        ] {
            assert_eq!(whole(name, file), None, "{name}");
        }
        assert_eq!(bare("datapath::submit::<impl datapath::lcore::Lcore>::admit"), "datapath::submit::admit");
    }

    #[test]
    fn stacks_begin_at_the_reactor() {
        let mut programs = Programs::default();
        let callers = [
            caller(1, "tick_sched", "[kernel.kallsyms]"),
            caller(2, "[unknown]", "/nowhere/librte_net_memif.so.23.0"),
            caller(3, "reactor_run", "/nowhere/kvblade-dpdk"),
            caller(4, "main", "/nowhere/kvblade-dpdk"),
            caller(u64::MAX, "[unknown]", "[unknown]"),
        ];
        assert_eq!(programs.stack(&callers), "reactor_run;[librte_net_memif];tick_sched_[k]");
        assert_eq!(programs.stack(&callers[..2]), "[cut];[librte_net_memif];tick_sched_[k]");
    }

    #[test]
    fn a_program_with_debug_information_tells_its_functions() {
        // Where this program has a function of its own: in memory, then by Linux's list in the file.
        let address = number as *const () as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let hexadecimal = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let offset = maps.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (start, end) = fields[0].split_once('-').unwrap();
            let inside = (hexadecimal(start)..hexadecimal(end)).contains(&address);
            inside.then(|| address - hexadecimal(start) + hexadecimal(fields[2]))
        });
        let program = std::env::current_exe().unwrap();
        let stack = Programs::default().stack(&[caller(offset.unwrap(), "?", program.to_str().unwrap())]);
        assert_eq!(stack, "[cut];benches::profile::frames::number");
    }
}
