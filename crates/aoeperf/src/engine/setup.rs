//! Before the first turn: targets, paths and slots made from what was found.

use std::collections::VecDeque;

use anyhow::{Context, Result, bail};
use aoe_initiator::wire::SECTOR;
use dpdk::tsc;

use super::complaints::Complaints;
use super::{Engine, Path, Phase, Target};
use crate::discover::Found;
use crate::flow::{RoundTrip, Window};
use crate::frame::Template;
use crate::options::Options;
use crate::pattern::Pattern;
use crate::ports::PortQueue;
use crate::slots::{MOST, Slots};
use crate::tally::Tally;
use crate::verify::Disk;

/// Timers are looked at that often in a second, a part of the slots each time.
const TICKS: u64 = 10_000;

/// Parts: of a small table all timers are seen in 26 ms, of a large one in 100 ms, Linux's own resolution.
const PARTS: usize = 256;
const PARTS_OF_MANY: usize = 1000;
const MANY: usize = 1 << 16;

/// No retransmit sooner than this many parts of a second.
const SHORTEST: u64 = 10;

impl Engine {
    /// An lcore that has nothing to do yet: see [`Engine::begin`].
    ///
    /// # Errors
    /// One that names the option and the target that do not go together.
    pub fn new(queues: Vec<PortQueue>, found: &[Found], options: &Options) -> Result<Self> {
        let second = tsc::hz();
        if second == 0 {
            bail!("EAL does not know how fast this machine's time stamp counter counts");
        }
        let per_io = options.sectors_per_io();
        let depth = usize::from(options.queue_depth);
        let slots = Slots::new(found.len(), depth).with_context(|| {
            format!("-q {depth} for each of {} targets: at most {MOST} requests in all", found.len())
        })?;
        let (mut targets, mut paths) = (Vec::new(), Vec::new());
        for target in found {
            check_io_size(target, &queues, options)?;
            let first_path = u32::try_from(paths.len())?;
            for route in &target.routes {
                paths.push(Path {
                    target: targets.len(),
                    queue: route.queue,
                    mac: route.mac,
                    answered: 0,
                    retransmits: 0,
                    window: if options.linux_window {
                        Window::linux(route.buffer_count)
                    } else {
                        Window::unbounded()
                    },
                    trip: RoundTrip::new(u64::from(options.first_rto) * second / 1000, second / SHORTEST),
                    template: Template::new(target.address, route.mac),
                    next_source: 0,
                });
            }
            let blocks = blocks(target, options)?;
            let disk = options.verify.then(|| Disk::new(options.seed, blocks, per_io, second)).transpose();
            targets.push(Target {
                address: target.address,
                tally: Tally::default(),
                retransmits: 0,
                errors: 0,
                unexpected: 0,
                disk: disk.map_err(|error| anyhow::anyhow!("target {}: {error}", target.address))?,
                first_path,
                paths: u32::try_from(target.routes.len())?,
                next_path: 0,
                blocks,
                cursor: 0,
            });
        }
        let parts = if slots.len() > MANY { PARTS_OF_MANY } else { PARTS };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds are 0 to 86400")]
        let dead = (options.deadsecs * 1e3) as u64 * (second / 1000);
        Ok(Self {
            queues,
            targets,
            paths,
            idle: VecDeque::with_capacity(slots.len()),
            pattern: Pattern::new(options.seed, options.workload.is_random(), options.reads()),
            phase: Phase::Drain,
            sectors_per_io: per_io,
            recording: false,
            outstanding: 0,
            clock: tsc::now(),
            busy: 0,
            next_tick: 0,
            tick: second / TICKS,
            scanned: 0,
            scan: u32::try_from(slots.len().div_ceil(parts))?,
            slots,
            second,
            dead,
            complaints: Complaints::default(),
            unexpected_elsewhere: 0,
        })
    }
}

/// Refuses requests that a path can't take.
fn check_io_size(target: &Found, queues: &[PortQueue], options: &Options) -> Result<()> {
    for route in &target.routes {
        let most = usize::from(route.max_sectors) * SECTOR;
        if options.io_size as usize > most {
            let queue = &queues[route.queue];
            bail!(
                "-o {} is more than target {} takes in one message through port {} (MTU {}): at most {most} bytes",
                options.io_size,
                target.address,
                queue.name,
                queue.mtu
            );
        }
    }
    Ok(())
}

/// Blocks of a target that are used, at least one.
fn blocks(target: &Found, options: &Options) -> Result<u64> {
    if let Some(sectors) = options.sectors
        && sectors > target.sectors
    {
        bail!("--sectors {sectors} is more than target {} has: {} sectors", target.address, target.sectors);
    }
    let sectors = options.sectors.unwrap_or(target.sectors);
    let blocks = sectors / u64::from(options.sectors_per_io());
    if blocks == 0 {
        bail!(
            "{sectors} sectors of target {} are less than one request of {} bytes",
            target.address,
            options.io_size
        );
    }
    Ok(blocks)
}
