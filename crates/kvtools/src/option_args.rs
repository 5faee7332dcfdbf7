//! `kvadd`: the command line's options for an export, as `--export` of kvblade-dpdk takes them too.

use clap::Args;
use control::options::{
    self, CacheMode, ExportOptions, parse_buffers, parse_cache, parse_firmware, parse_length, parse_model,
    parse_offset, parse_serial, parse_vlan,
};
use control::{MacAddr, VlanId};

/// What may be said of an export beside its bdev.
#[derive(Debug, Clone, Args)]
pub struct OptionArgs {
    /// First sector (512 bytes) to serve
    #[arg(short, long, value_name = "SECTORS", value_parser = parse_offset)]
    offset: Option<u64>,
    /// Sectors (512 bytes) to serve [default: all to the end]
    #[arg(short, long, value_name = "SECTORS", value_parser = parse_length)]
    length: Option<u64>,
    /// VLAN to serve it in, 1 to 4094 [default: none]
    #[arg(long, value_name = "ID", value_parser = parse_vlan)]
    vlan: Option<VlanId>,
    /// When a write is answered: write-through (on stable media) or write-back [default: write-through]
    #[arg(long, value_name = "MODE", value_parser = parse_cache)]
    cache: Option<CacheMode>,
    /// Messages initiators may have under way, 2 to 512 [default: 16]
    #[arg(short, long, value_name = "N", value_parser = parse_buffers)]
    buffers: Option<u16>,
    /// Answer this initiator, and others given this way, only; may be given several times, or with '+' between
    #[arg(long, value_name = "MAC", value_delimiter = '+', value_parser = parse_allowed)]
    allow: Vec<MacAddr>,
    /// Never answer this initiator; may be given several times, or with '+' between
    #[arg(long, value_name = "MAC", value_delimiter = '+', value_parser = parse_denied)]
    deny: Vec<MacAddr>,
    /// Serial number of the disk, up to 20 characters
    #[arg(long, value_name = "TEXT", value_parser = parse_serial)]
    serial: Option<String>,
    /// Model name of the disk, up to 40 characters
    #[arg(long, value_name = "TEXT", value_parser = parse_model)]
    model: Option<String>,
    /// Firmware revision of the disk, up to 8 characters
    #[arg(long, value_name = "TEXT", value_parser = parse_firmware)]
    firmware: Option<String>,
}

impl OptionArgs {
    /// The options.
    #[must_use]
    pub fn into_options(self) -> ExportOptions {
        ExportOptions {
            offset: self.offset.unwrap_or(0),
            length: self.length,
            vlan: self.vlan,
            cache: self.cache.unwrap_or_default(),
            buffers: self.buffers,
            allow: self.allow,
            deny: self.deny,
            serial: self.serial,
            model: self.model,
            firmware: self.firmware,
        }
    }
}

fn parse_allowed(text: &str) -> Result<MacAddr, String> {
    parse_one("allow", text)
}

fn parse_denied(text: &str) -> Result<MacAddr, String> {
    parse_one("deny", text)
}

fn parse_one(name: &str, text: &str) -> Result<MacAddr, String> {
    match options::parse_macs(name, text)?[..] {
        [mac] => Ok(mac),
        _ => Err(format!("{name} is {text}: one MAC address is needed")),
    }
}
