//! The calls for a sample.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use control::{
    GetHealth, GetHistogram, GetInitiators, GetStats, Method, OneExport, Shelf, ShelfSlot, Slot, VlanId,
};
use serde_json::Value;

use super::histogram::Histogram;
use super::sample::{ExportId, Health, Sample};
use rpc_client::command::Connection;
use rpc_client::{Client, ClientError};

/// Longest time that a target has for an answer before it counts as lost.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Period of the calls for the target's health, each of which costs it as much as all others of a sample.
const HEALTH_PERIOD: Duration = Duration::from_secs(5);

/// Period after which an export that was not timed is asked again.
const TIMED_PERIOD: Duration = Duration::from_secs(5);

/// Calls for histograms in a sample at most: the exports with the lowest addresses among those that are timed.
const HISTOGRAMS_MAX: usize = 64;

/// The calls, over one connection as long as it holds.
pub(super) struct Sampler {
    socket: PathBuf,
    within: Duration,
    client: Option<Client>,
    health: Option<(Instant, Health)>,
    /// Exports that were not timed, and when that was found.
    untimed: BTreeMap<ExportId, Instant>,
}

impl Sampler {
    /// Of a target, which is connected to when the first sample is taken.
    pub(super) fn new(connection: &Connection, interval: Duration) -> Self {
        Self {
            socket: connection.socket().to_owned(),
            within: connection.timeout().min(CALL_MAX.max(interval)),
            client: None,
            health: None,
            untimed: BTreeMap::new(),
        }
    }

    /// Takes a sample, over a new connection if the last one has failed.
    ///
    /// # Errors
    /// If the target does not answer.
    pub(super) fn take(&mut self) -> Result<Sample, ClientError> {
        let was_connected = self.client.is_some();
        match self.attempt() {
            // The target was started anew, or has closed the connection that was idle longest.
            Err(ClientError::Closed { .. } | ClientError::Broken { .. }) if was_connected => self.attempt(),
            other => other,
        }
    }

    fn attempt(&mut self) -> Result<Sample, ClientError> {
        // Only a connection on which every call succeeded is kept.
        let (mut client, goes_on) = match self.client.take() {
            Some(client) => (client, true),
            None => (Client::connect(&self.socket, self.within)?, false),
        };
        if !goes_on {
            self.health = None;
            self.untimed.clear();
        }
        let stats: Value = client.call(GetStats::NAME, None)?;
        let initiators = if_there(client.call(GetInitiators::NAME, None))?;
        let mut sample = Sample::of(&stats, &initiators);
        sample.goes_on = goes_on;
        self.add_latency(&mut client, &mut sample)?;
        sample.health = self.health(&mut client)?;
        self.client = Some(client);
        Ok(sample)
    }

    fn health(&mut self, client: &mut Client) -> Result<Health, ClientError> {
        if let Some((at, health)) = &self.health
            && at.elapsed() < HEALTH_PERIOD
        {
            return Ok(health.clone());
        }
        let health = Health::of(&if_there(client.call(GetHealth::NAME, None))?);
        self.health = Some((Instant::now(), health.clone()));
        Ok(health)
    }

    fn add_latency(&mut self, client: &mut Client, sample: &mut Sample) -> Result<(), ClientError> {
        self.untimed.retain(|id, found| sample.exports.contains_key(id) && found.elapsed() < TIMED_PERIOD);
        let asked = sample.exports.iter_mut().filter(|(id, _)| !self.untimed.contains_key(*id));
        let mut found_untimed = Vec::new();
        for (id, export) in asked.take(HISTOGRAMS_MAX) {
            let Some(request) = histogram_of(id) else { continue };
            match client.call::<Value>(GetHistogram::NAME, Some(request.to_params())) {
                Ok(answer) => export.latency = Some(Histogram::of(&answer)),
                // It is not timed, has gone, or shares its address with another.
                Err(ClientError::Refused { .. } | ClientError::NoMethod { .. }) => {
                    found_untimed.push(id.clone())
                }
                Err(error) => return Err(error),
            }
        }
        self.untimed.extend(found_untimed.into_iter().map(|id| (id, Instant::now())));
        Ok(())
    }
}

/// The answer of a method that a target of another release may lack.
fn if_there(answer: Result<Value, ClientError>) -> Result<Value, ClientError> {
    match answer {
        Err(ClientError::NoMethod { .. }) => Ok(Value::Null),
        other => other,
    }
}

fn histogram_of(id: &ExportId) -> Option<GetHistogram> {
    let (shelf, slot) = (u16::try_from(id.shelf).ok()?, u8::try_from(id.slot).ok()?);
    let vlan = id.vlan.and_then(|vlan| u16::try_from(vlan).ok()).and_then(VlanId::new);
    let address = ShelfSlot::new(Shelf(shelf), Slot(slot));
    Some(GetHistogram { export: OneExport { address, vlan, port: None } })
}
