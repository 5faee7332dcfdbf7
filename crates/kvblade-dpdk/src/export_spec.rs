//! One `--export SHELF.SLOT[@PORT]=BDEV[,option...]`.
//!
//! The first `=` ends the address, so a path may contain further ones. A comma in a path or bdev name is written twice (`,,`); a
//! single comma begins an option.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use control::backing_file::SECTOR;
use control::error::Quoted;
use control::file_bdev::{AIO_PREFIX, FileOptions};
use control::options::{forms, nearest_word};
use control::rbd::{self, RbdImage};
use control::schema::Fields;
use control::{ExportOptions, PortRef, ShelfSlot};

use crate::launch_error::LaunchError;

/// Largest namespace identifier of NVMe (NVM Express base specification, section 3.2.1).
const NSID_MAX: u32 = 0xffff_fffe;

/// One `--export`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExportSpec {
    /// The text as given, for messages.
    pub(crate) text: String,
    /// Address to serve.
    pub(crate) address: ShelfSlot,
    /// The one port to serve on; `None` means all.
    pub(crate) port: Option<PortRef>,
    /// What to serve.
    pub(crate) bdev: BdevSpec,
    /// Its options.
    pub(crate) options: ExportOptions,
}

/// What an export serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BdevSpec {
    /// `malloc:SIZE`: memory, lost at exit.
    Malloc {
        /// Size, a positive multiple of [`SECTOR`].
        bytes: u64,
    },
    /// `PATH`, `file:PATH` or `aio:PATH`, with the options `sync`, `buffered` and `direct`: a regular file or block device.
    File {
        /// As given; not looked at yet.
        path: PathBuf,
        /// What is asked of its bdev.
        options: FileOptions,
    },
    /// `spdk-aio:PATH`: the same under SPDK's own bdev.
    SpdkAio {
        /// As given; not looked at yet.
        path: PathBuf,
    },
    /// `nvme:PCI-ADDRESS[nNSID]`: a namespace of a local drive under SPDK's own driver.
    Nvme {
        /// The drive.
        address: PciAddress,
        /// The namespace, from 1.
        nsid: u32,
    },
    /// `rbd:POOL/IMAGE`, with the options `user` and `conf`: an image of a Ceph cluster.
    Rbd(RbdImage),
    /// The name of a bdev that `--config` defines.
    Named(String),
}

/// Address of a PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PciAddress {
    domain: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl FromStr for PciAddress {
    type Err = ();

    /// Reads `DDDD:BB:DD.F` or, for domain 0, `BB:DD.F`, in hexadecimal.
    fn from_str(text: &str) -> Result<Self, ()> {
        let field = |text: &str, digits: usize| {
            let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u16::from_str_radix(text, 16).ok()).flatten().ok_or(())
        };
        let byte = |text: &str, digits, max: u8| {
            u8::try_from(field(text, digits)?).ok().filter(|value| *value <= max).ok_or(())
        };
        let (rest, function) = text.rsplit_once('.').ok_or(())?;
        let (rest, device) = rest.rsplit_once(':').ok_or(())?;
        let (domain, bus) = rest.split_once(':').unwrap_or(("0000", rest));
        Ok(Self {
            domain: field(domain, 4)?,
            bus: byte(bus, 2, 0xff)?,
            device: byte(device, 2, 0x1f)?,
            function: byte(function, 1, 7)?,
        })
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.domain, self.bus, self.device, self.function)
    }
}

impl ExportSpec {
    /// Reads the value of one `--export`. Looks at no file.
    ///
    /// # Errors
    /// A usage error naming the export, the part that is wrong and what is allowed there.
    pub(crate) fn parse(value: &OsStr) -> Result<Self, LaunchError> {
        let Some(text) = value.to_str() else {
            return Err(LaunchError::usage(format!(
                "--export {value:?} is not UTF-8: a path in it must be, because SPDK's configuration is JSON"
            )));
        };
        Self::parse_text(text)
            .map_err(|message| LaunchError::usage(format!("--export {}: {message}", Quoted(text))))
    }

    fn parse_text(text: &str) -> Result<Self, String> {
        const FORM: &str = "write SHELF.SLOT[@PORT]=BDEV[,option...], such as 1.1=malloc:64M";
        if text.contains('\0') {
            return Err("it holds a zero byte: a text without one is needed".into());
        }
        let (place, what) = text.split_once('=').ok_or_else(|| format!("there is no '=': {FORM}"))?;
        let (address, port) = match place.split_once('@') {
            Some((address, port)) => (address, Some(PortRef::parse(port)?)),
            None => (place, None),
        };
        let address = address.parse::<ShelfSlot>().map_err(|error| error.to_string())?;
        let mut parts = split_at_single_commas(what).into_iter();
        let mut bdev = BdevSpec::parse(&parts.next().unwrap_or_default())?;
        let mut options = ExportOptions::default();
        let mut given = Vec::new();
        for option in parts {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option.as_str(), None),
            };
            if given.iter().any(|earlier| earlier == name) {
                return Err(format!("option {} is given twice: once is enough", Quoted(name)));
            }
            given.push(name.to_owned());
            if bdev.set(name, value)? {
                continue;
            }
            match ExportOptions::fields().iter().find(|field| field.word() == name) {
                Some(field) => options.set(field, value)?,
                None => return Err(unknown_option(&option, name)),
            }
        }
        Ok(Self { text: text.to_owned(), address, port, bdev, options })
    }

    /// Its name among the exports of its address: with its port, as the user wrote it, and its VLAN. `1.1`, `1.1@PORT`, `1.1.v100`
    /// or `1.1.v100@PORT`.
    #[must_use]
    pub(crate) fn distinct_name(&self) -> String {
        let vlan = self.options.vlan.map_or_else(String::new, |vlan| format!(".v{vlan}"));
        let port = self.port.as_ref().map_or_else(String::new, |port| format!("@{port}"));
        format!("{}{vlan}{port}", self.address)
    }

    /// Its use of its bdev.
    pub(crate) fn as_use(&self) -> control::Use<'_> {
        control::Use { address: self.address, options: &self.options }
    }

    /// Where it is served, as the user wrote it: `1.1` or `1.1@PORT`.
    #[must_use]
    pub(crate) fn place(&self) -> String {
        match &self.port {
            Some(port) => format!("{}@{port}", self.address),
            None => self.address.to_string(),
        }
    }
}

impl BdevSpec {
    /// Reads the text after `=` in `--export`: a path or a bdev.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const KINDS: &str = "BDEV is a path that begins with / or ./, malloc:SIZE, file:PATH, spdk-aio:PATH, \
                             nvme:PCI-ADDRESS[nNSID], rbd:POOL/IMAGE or the name of a bdev that --config defines (bdev:NAME if the name looks like one of these)";
        if ["/", "./", "../"].iter().any(|beginning| text.starts_with(beginning)) {
            return Ok(Self::at(text));
        }
        if let Some(path) = text.strip_prefix(AIO_PREFIX) {
            return match path {
                "" => Err(format!("the path after '{AIO_PREFIX}' is empty: {KINDS}")),
                path => Ok(Self::SpdkAio { path: path.into() }),
            };
        }
        match text.split_once(':') {
            Some(("malloc", size)) => Ok(Self::Malloc { bytes: parse_size(size)? }),
            Some((kind @ ("file" | "aio"), "")) => Err(format!("the path after '{kind}:' is empty: {KINDS}")),
            // Of the releases in which SPDK's aio served files.
            Some(("file" | "aio", path)) => Ok(Self::at(path)),
            Some(("nvme", namespace)) => parse_namespace(namespace),
            Some(("rbd", image)) => RbdImage::parse(image).map(Self::Rbd),
            Some(("bdev", "")) => Err(format!("the name after 'bdev:' is empty: {KINDS}")),
            Some(("bdev", name)) => Ok(Self::Named(name.into())),
            Some((kind, _)) if !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase()) => {
                Err(format!("there is no kind of bdev {}: {KINDS}", Quoted(kind)))
            }
            _ if text.is_empty() => Err(format!("nothing stands after '=': {KINDS}")),
            _ => Ok(Self::Named(text.into())),
        }
    }
}

impl BdevSpec {
    /// A file or block device without further options.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self::File { path: path.into(), options: FileOptions::default() }
    }

    /// The path of its file or block device, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } | Self::SpdkAio { path } => Some(path),
            _ => None,
        }
    }

    /// Sets an option of this kind of bdev. Returns false if the kind has no such option.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<bool, String> {
        match (self, name, value) {
            (Self::File { options, .. }, _, _) => return options.set(name, value),
            (Self::Rbd(image), "user", Some(value)) => image.user = Some(rbd::parse_user(value)?),
            (Self::Rbd(image), "conf", Some(value)) => image.conf = Some(rbd::parse_conf(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads a size in bytes, or in binary K, M, G or T.
///
/// # Errors
/// What is allowed.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "a size is a positive multiple of 512 bytes, with K, M, G or T for powers of 1024, \
                           such as 64M";
    control::bytes_of(text)
        .filter(|bytes| *bytes > 0 && bytes.is_multiple_of(SECTOR))
        .ok_or_else(|| format!("size {} is not allowed: {ALLOWED}", Quoted(text)))
}

fn parse_namespace(text: &str) -> Result<BdevSpec, String> {
    let (address, nsid) = text.split_once('n').unwrap_or((text, "1"));
    let address = address.parse().map_err(|()| {
        format!(
            "{} is no PCI address: write DDDD:BB:DD.F in hexadecimal, such as nvme:0000:01:00.0 or, for \
             namespace 2, nvme:0000:01:00.0n2",
            Quoted(address)
        )
    })?;
    let digits = !nsid.is_empty() && nsid.bytes().all(|b| b.is_ascii_digit());
    let nsid =
        digits.then(|| nsid.parse().ok()).flatten().filter(|nsid| (1..=NSID_MAX).contains(nsid)).ok_or_else(
            || {
                format!(
                    "namespace {} is out of range: a namespace is a number from 1 to {NSID_MAX}",
                    Quoted(nsid)
                )
            },
        )?;
    Ok(BdevSpec::Nvme { address, nsid })
}

fn unknown_option(option: &str, name: &str) -> String {
    let near =
        nearest_word(name).map_or_else(String::new, |near| format!(", the nearest is {}", Quoted(near)));
    format!(
        "unknown option {}{near}: the options are {}, with a file also {}, with rbd: also user=ID, conf=PATH, and a comma in a path is written \
         ',,'",
        Quoted(option),
        forms(),
        FileOptions::FORMS
    )
}

/// Splits at commas; two commas in a row are one that belongs to the text.
fn split_at_single_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == ',' && characters.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// Refuses two exports at one address and VLAN on the same port. Ports are compared as written: that a number and a
/// name mean one port is found when the exports are created.
///
/// # Errors
/// A usage error naming both exports.
pub(crate) fn check_distinct(exports: &[ExportSpec]) -> Result<(), LaunchError> {
    for (index, export) in exports.iter().enumerate() {
        let alike = |earlier: &&ExportSpec| {
            earlier.address == export.address && earlier.options.vlan == export.options.vlan
        };
        for earlier in exports.iter().take(index).filter(alike) {
            let place = match (&earlier.port, &export.port) {
                (Some(a), Some(b)) if a != b => continue,
                (Some(port), _) | (_, Some(port)) => format!("port {port}"),
                (None, None) => "all ports".into(),
            };
            return Err(LaunchError::usage(format!(
                "--export {} and --export {} both serve {} on {place}: an address can be served once on a port",
                Quoted(&earlier.text),
                Quoted(&export.text),
                export.address
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
