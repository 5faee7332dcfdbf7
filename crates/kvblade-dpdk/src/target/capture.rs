//! `aoe_start_capture`, `aoe_stop_capture` and `aoe_get_captures`.
//!
//! A capture begins in its thread, which makes the file and the rings; then each lcore gets its ends of them. It ends the other way
//! round if it is stopped: first at the lcores, so that the thread finds the last frames in the rings. If the thread ends it, for
//! a limit or a failure, the lcores drop their ends when the message of it arrives; until then frames are counted as dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aoe_target::{PortId, Ports};
use control::{ErrorCode, PortInfo, Record, RpcError, StartCapture, StopCapture};
use datapath::{CaptureFilter, CaptureTap, Remote};

use super::captures::file_of;
use super::control_plane::{Target, with};
use super::lcores::Unreached;
use crate::answer::Answer;
use crate::capture::{self, CapturedPort, Order, Progress, Reason};

/// An lcore's part in a capture of a port.
type Part = ((u32, PortId), CaptureTap);

impl Target {
    /// Carries out `aoe_start_capture`.
    pub(super) fn start_capture(&mut self, request: StartCapture, answer: Answer) {
        let begun = self.captured(&request).and_then(|(filter, ports)| {
            let number = self.captures.admit(&request.name)?;
            self.begin_capture(number, &request, filter, &ports).map(|progress| (number, progress))
        });
        match begun {
            Ok((number, progress)) => self.captures.add(number, request, progress, answer),
            Err(error) => answer.refuse(&error),
        }
    }

    /// The filter and the ports of a capture.
    fn captured(&self, request: &StartCapture) -> Result<(CaptureFilter, Vec<PortInfo>), RpcError> {
        let record = request.export()?.map(|export| self.registry.one(&export)).transpose()?;
        let ports = self.registry.ports();
        let port = request.port.as_ref().map(|port| ports.resolve(port)).transpose()?;
        let wanted = |other: &&PortInfo| port.is_none_or(|port| port.number == other.number);
        let ports: Vec<PortInfo> =
            ports.of(record.map_or(Ports::All, Record::ports)).filter(wanted).cloned().collect();
        if ports.is_empty() {
            return Err(RpcError::new(
                ErrorCode::NoDevice,
                "there is no port whose frames could be captured",
            ));
        }
        let export = record.map(|record| (record.address(), record.options().vlan));
        Ok((CaptureFilter { export, initiator: request.initiator }, ports))
    }

    /// Starts the thread of a capture.
    fn begin_capture(
        &self,
        number: u64,
        request: &StartCapture,
        filter: CaptureFilter,
        ports: &[PortInfo],
    ) -> Result<Arc<Progress>, RpcError> {
        // A ring for each port on each lcore. An lcore without a queue pair of the port gives it back.
        let (mut parts, mut rings) = (Vec::new(), Vec::new());
        for core in self.lcores.iter().map(Remote::core) {
            for (index, port) in ports.iter().enumerate() {
                parts.push((core, PortId(port.number)));
                rings.push(index);
            }
        }
        let named = |port: &PortInfo| CapturedPort {
            name: port.netif.clone().unwrap_or_else(|| port.name.clone()),
            mac: port.mac,
        };
        let order = Order {
            number,
            file: file_of(&request.name),
            filter,
            ports: ports.iter().map(named).collect(),
            rings,
            max_bytes: request.max_bytes,
            time: Duration::from_secs(request.max_seconds.into()),
            snap_length: request.snap_length,
        };
        let progress = Arc::<Progress>::default();
        let [for_opened, for_ended] = [(); 2].map(|()| self.lcores.app().clone());
        let opened = move |taps: Result<Vec<CaptureTap>, String>| {
            let parts: Result<Vec<Part>, String> = taps.map(|taps| parts.into_iter().zip(taps).collect());
            for_opened.send(move || {
                with(|target| target.capture_opened(number, parts));
            });
        };
        let ended = move |reason| {
            for_ended.send(move || {
                with(|target| target.capture_ended(number, reason));
            });
        };
        match capture::start(self.captures.place(), order, Arc::clone(&progress), opened, ended) {
            Ok(()) => Ok(progress),
            Err(error) => {
                Err(RpcError::new(ErrorCode::NoMemory, format!("a capture has no thread: {error}")))
            }
        }
    }

    /// The thread of a capture has its file, or can't make it and has ended.
    fn capture_opened(&mut self, number: u64, parts: Result<Vec<Part>, String>) {
        let parts = match parts {
            Ok(parts) => parts,
            Err(sentence) => return self.captures.refuse(number, sentence),
        };
        if !self.captures.join(number, self.lcores.count()) {
            return tracing::error!(number, "a file was made for a capture that there is not");
        }
        // A message to an lcore may be copied; its parts are taken once.
        let parts = Arc::new(Mutex::new(parts));
        let cores: Vec<u32> = self.lcores.iter().map(Remote::core).collect();
        for core in cores {
            let parts = Arc::clone(&parts);
            self.lcores.only(core).run(
                move |lcore| {
                    let own: Vec<Part> = {
                        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
                        parts.extract_if(.., |((of, _), _)| *of == core).collect()
                    };
                    // Those that the lcore does not want are freed on the app's thread.
                    own.into_iter()
                        .filter_map(|((_, port), tap)| lcore.capture(port, tap))
                        .collect::<Vec<_>>()
                },
                move |core, joined| {
                    with(|target| target.capture_joined(number, core, joined.map(drop)));
                },
            );
        }
    }

    fn capture_joined(&mut self, number: u64, core: u32, joined: Result<(), Unreached>) {
        if let Err(unreached) = joined {
            tracing::warn!(lcore = core, "an lcore copies no frames: {unreached}");
        }
        self.captures.joined(number);
    }

    /// Carries out `aoe_stop_capture`.
    pub(super) fn stop_capture(&mut self, request: &StopCapture, answer: Answer) {
        if let Some(number) = self.captures.stop(&request.name, self.lcores.count(), answer) {
            self.leave_capture(number);
        }
    }

    /// Has every lcore give its parts back.
    fn leave_capture(&self, number: u64) {
        self.lcores.run(
            move |lcore| lcore.end_capture(number),
            move |core, taps| {
                with(|target| target.capture_left(number, core, taps.map(drop)));
            },
        );
    }

    fn capture_left(&mut self, number: u64, core: u32, left: Result<(), Unreached>) {
        if let Err(unreached) = left {
            tracing::debug!(lcore = core, "an lcore leaves a capture: {unreached}");
        }
        self.captures.left(number);
    }

    /// The thread of a capture has ended.
    fn capture_ended(&mut self, number: u64, reason: Reason) {
        // When the target stops, lcores end with their parts.
        if self.captures.end(number, reason) && self.stopping.is_none() {
            self.leave_capture(number);
        }
    }
}
