//! A fake of kvblade-dpdk's management socket: SPDK's bdev list in a map, the real registry behind the `aoe_`
//! methods, and no data path. It speaks as SPDK's server does, without framing.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use control::registry::unknown_bdev;
use control::{
    Action, Deletion, Effect, Event, ExportInfo, ExportKey, ExportList, InitiatorStats, PortInfo, PortTable,
    Registry, ServedBdev, Stats,
};
use serde_json::{Deserializer, Value, json};
use tempfile::TempDir;

/// What a script makes of a call instead of the usual answer.
pub(crate) enum Reply {
    /// Answer as the target would.
    Usual,
    /// Refuse with this code and message.
    Error(i64, &'static str),
    /// Answer with this.
    Result(Value),
    /// Send these pieces, one by one, and nothing else.
    Pieces(Vec<Vec<u8>>),
    /// Say nothing, but stay connected.
    Silence,
    /// Close the connection.
    Close,
}

type Script = Box<dyn FnMut(&str, &Value) -> Reply + Send>;

/// The fake; its thread ends with the test's process.
pub(crate) struct FakeTarget {
    directory: TempDir,
    state: Arc<Mutex<State>>,
}

pub(crate) struct State {
    pub(crate) registry: Registry,
    /// As `bdev_get_bdevs` lists them.
    pub(crate) bdevs: Vec<Value>,
    /// Every call: method and parameters.
    pub(crate) calls: Vec<(String, Value)>,
    script: Script,
}

impl FakeTarget {
    /// Ports 0 (net_af_packet0, veth0) and 1 (0000:03:00.0), a bdev `Malloc0` of 64 MiB, no exports.
    pub(crate) fn start() -> Self {
        let port = |number, name: &str, netif: Option<&str>| PortInfo {
            number,
            name: name.into(),
            netif: netif.map(Into::into),
            mtu: 9000,
            mac: [2, 0, 0, 0, 0, 1],
        };
        let ports =
            PortTable::new(vec![port(0, "net_af_packet0", Some("veth0")), port(1, "0000:03:00.0", None)]);
        let state = Arc::new(Mutex::new(State {
            registry: Registry::new(ports, 1),
            bdevs: vec![bdev("Malloc0", 131_072, json!({}))],
            calls: Vec::new(),
            script: Box::new(|_, _| Reply::Usual),
        }));
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("rpc.sock")).unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { directory, state }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("rpc.sock")
    }

    /// A file of that size beside the socket.
    pub(crate) fn file(&self, name: &str, bytes: u64) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Looks at each call first.
    pub(crate) fn script(&self, script: impl FnMut(&str, &Value) -> Reply + Send + 'static) {
        self.state().script = Box::new(script);
    }

    pub(crate) fn bdev_names(&self) -> Vec<String> {
        self.state().bdevs.iter().map(|bdev| bdev["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Each export as `SHELF.SLOT PORTS BDEV`.
    pub(crate) fn exports(&self) -> Vec<String> {
        let state = self.state();
        let record = |record: &&control::Record| {
            format!("{} {} {}", record.address(), record.ports(), record.bdev_name())
        };
        state.registry.exports().iter().map(record).collect()
    }

    pub(crate) fn methods(&self) -> Vec<String> {
        self.state().calls.iter().map(|(method, _)| method.clone()).collect()
    }
}

pub(crate) fn bdev(name: &str, blocks: u64, driver_specific: Value) -> Value {
    json!({
        "name": name, "aliases": [], "product_name": "fake", "block_size": 512, "num_blocks": blocks,
        "claimed": false, "driver_specific": driver_specific,
    })
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let mut values = Deserializer::from_slice(&received).into_iter::<Value>();
        if let Some(Ok(request)) = values.next() {
            let end = values.byte_offset();
            received.drain(..end);
            if !answer(&mut stream, state, &request) {
                return;
            }
            continue;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(length) => received.extend_from_slice(&piece[..length]),
        }
    }
}

/// False when the connection is to be closed.
fn answer(stream: &mut UnixStream, state: &Mutex<State>, request: &Value) -> bool {
    let method = request["method"].as_str().unwrap();
    let params = &request["params"];
    let mut state = state.lock().unwrap();
    state.calls.push((method.to_owned(), params.clone()));
    let reply = match (state.script)(method, params) {
        Reply::Usual => state.carry_out(method, params),
        Reply::Result(result) => Ok(result),
        Reply::Error(code, message) => Err((code, message.to_owned())),
        Reply::Pieces(pieces) => {
            drop(state);
            return pieces.iter().all(|piece| stream.write_all(piece).is_ok());
        }
        Reply::Silence => return true,
        Reply::Close => return false,
    };
    drop(state);
    let id = &request["id"];
    let answer = match reply {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    };
    stream.write_all(format!("{answer}\n").as_bytes()).is_ok()
}

impl State {
    fn carry_out(&mut self, method: &str, params: &Value) -> Result<Value, (i64, String)> {
        match method {
            "bdev_get_bdevs" if params["name"].is_null() => Ok(self.bdevs.clone().into()),
            "bdev_get_bdevs" => {
                let mut found = self.bdevs.iter().filter(|bdev| bdev["name"] == params["name"]).peekable();
                found.peek().ok_or((-19_i64, String::from("No such device")))?;
                Ok(found.cloned().collect())
            }
            "bdev_aio_create" | "bdev_file_create" => {
                let kind = if method == "bdev_aio_create" { "aio" } else { "file" };
                let filename = params["filename"].as_str().unwrap();
                let bytes = std::fs::metadata(filename)
                    .map_err(|_| (-2, "No such file or directory".to_owned()))?
                    .len();
                let name = params["name"].as_str().unwrap();
                self.bdevs.push(bdev(name, bytes / 512, json!({kind: {"filename": filename}})));
                Ok(name.into())
            }
            "bdev_rbd_create" => {
                let name = params["name"].as_str().unwrap();
                self.bdevs.push(bdev(name, 2048, json!({"rbd": params})));
                Ok(name.into())
            }
            "bdev_aio_delete" | "bdev_file_delete" | "bdev_rbd_delete" => {
                let before = self.bdevs.len();
                self.bdevs.retain(|bdev| bdev["name"] != params["name"]);
                if self.bdevs.len() < before { Ok(true.into()) } else { Err((-19, "No such device".into())) }
            }
            _ => self
                .aoe(method, params)
                .map_err(|error| (error.code().number().into(), error.message().into())),
        }
    }

    /// An event, and all that follows from it where the one lcore does everything at once.
    fn happens(&mut self, key: ExportKey, event: Event) {
        for effect in self.registry.step(key, event) {
            match effect {
                Effect::Run(_, round) => self.happens(key, Event::Reported { round, done: true }),
                Effect::Free => assert!(self.registry.free(key).is_some()),
                _ => {}
            }
        }
    }

    fn aoe(&mut self, method: &str, params: &Value) -> Result<Value, control::RpcError> {
        match Action::decode(method, Some(params))? {
            Action::CreateExport(request) => {
                let names = self.bdevs.iter().filter_map(|bdev| bdev["name"].as_str());
                let wanted = request.bdev_name.as_str();
                let is_called = |bdev: &&Value| {
                    let mut aliases = bdev["aliases"].as_array().into_iter().flatten();
                    bdev["name"] == wanted || aliases.any(|alias| alias == wanted)
                };
                let found = self.bdevs.iter().find(is_called);
                let found = found.ok_or_else(|| unknown_bdev(&request.bdev_name, names))?;
                let bdev = ServedBdev {
                    name: found["name"].as_str().unwrap().into(),
                    uuid: String::new(),
                    sectors: found["num_blocks"].as_u64().unwrap(),
                    files: Vec::new(),
                };
                let key = self.registry.create(&request, &bdev)?.key();
                self.happens(key, Event::Create);
                Ok(json!(ExportInfo::of(self.registry.get(key).unwrap(), self.registry.ports())))
            }
            Action::DeleteExport(request) => {
                for deletion in self.registry.delete(&request)? {
                    match deletion {
                        Deletion::Remove(key) => self.happens(key, Event::Delete { force: request.force }),
                        Deletion::Rebind(key, _) => self.happens(key, Event::LeavePorts),
                    }
                }
                Ok(true.into())
            }
            Action::GetExports(wanted) => {
                Ok(serde_json::from_str(&ExportList::of(&self.registry).to_json(&wanted)).unwrap())
            }
            // No command calls these.
            Action::UpdateExport(_)
            | Action::ReplaceBdev(_)
            | Action::ResetStats(_)
            | Action::EnableHistogram(_)
            | Action::GetHistogram(_)
            | Action::SetLogLevel(_)
            | Action::GetLogLevel(_)
            | Action::StartCapture(_)
            | Action::StopCapture(_)
            | Action::GetCaptures(_)
            | Action::GetPorts(_)
            | Action::GetLcores(_)
            | Action::HandOver(_)
            | Action::Upgrade(_)
            | Action::SetConfigString(_)
            | Action::SetMaskList(_)
            | Action::SetReservation(_)
            | Action::GetHealth(_) => Ok(Value::Null),
            Action::Announce(request) => self.registry.announced(&request).map(|_| true.into()),
            Action::GetStats(_) => Ok(serde_json::from_str(&Stats::default().to_json()).unwrap()),
            // Nobody keeps anything here.
            Action::ClearInitiatorState(_) => Ok(Value::Bool(true)),
            Action::SetQos(request) => {
                let key = self.registry.one(&request.export)?.key();
                self.registry.set_limits(key, request.limits);
                Ok(Value::Bool(true))
            }
            Action::GetInitiators(_) => Ok(self.registry.initiators_report(&InitiatorStats::default())),
        }
    }
}
