//! The configuration of a running target, as SPDK's rpc.py saves and loads it: entries of its subsystems, each of them a call.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use control::error::Quoted;
use control::json_comments::without_comments;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use rpc_client::command::CommandError;
use rpc_client::{Client, ClientError};

/// Fetches the configuration.
///
/// # Errors
/// Errors of the calls.
pub fn fetch(client: &mut Client) -> Result<Value, ClientError> {
    #[derive(Deserialize)]
    struct Subsystem {
        subsystem: String,
    }
    let names: Vec<Subsystem> = client.call("framework_get_subsystems", None)?;
    let mut subsystems = Vec::new();
    for Subsystem { subsystem } in names {
        let config: Value = client.call("framework_get_config", Some(json!({ "name": subsystem })))?;
        subsystems.push(json!({ "subsystem": subsystem, "config": config }));
    }
    Ok(json!({ "subsystems": subsystems }))
}

/// Writes a configuration to a file, which has all of it or what it had before.
///
/// # Errors
/// One sentence.
pub fn write(path: &Path, configuration: &Value) -> Result<(), CommandError> {
    let failed =
        |error: std::io::Error| CommandError::Refused(format!("cannot write '{}': {error}", path.display()));
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(failed)?;
    if let Ok(before) = std::fs::metadata(path) {
        file.as_file().set_permissions(before.permissions()).map_err(failed)?;
    }
    file.write_all(format!("{configuration:#}\n").as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A call of a configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it stands, for messages.
    place: String,
    method: String,
    params: Option<Value>,
}

/// Reads the entries of a configuration file, in their order. As in SPDK, comments are allowed.
///
/// # Errors
/// One sentence naming the place, and what is allowed there.
pub fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let root: Value =
        serde_json::from_str(&without_comments(text)).map_err(|error| format!("{error}; it must be JSON"))?;
    let subsystems = root.get("subsystems").and_then(Value::as_array).ok_or(
        "there is no list \"subsystems\"; a file as kv config save or SPDK's save_config writes it is needed",
    )?;
    let mut entries = Vec::new();
    for (number, subsystem) in (1..).zip(subsystems) {
        let name = subsystem.get("subsystem").and_then(Value::as_str);
        let name = name.ok_or_else(|| format!("subsystem number {number} has no string \"subsystem\""))?;
        let config = match subsystem.get("config") {
            Some(Value::Array(config)) => config.as_slice(),
            Some(Value::Null) => &[],
            _ => return Err(format!("subsystem {} has no list \"config\"; it may be empty", Quoted(name))),
        };
        for (number, entry) in (1..).zip(config) {
            // SPDK 26.05 takes a list of entries in the place of one.
            let parts = entry.as_array().map_or(std::slice::from_ref(entry), Vec::as_slice);
            for entry in parts {
                let place = format!("entry {number} of subsystem {}", Quoted(name));
                let method = entry.get("method").and_then(Value::as_str);
                let method = method.ok_or_else(|| format!("{place} has no string \"method\""))?.to_owned();
                let params = entry.get("params").filter(|params| !params.is_null()).cloned();
                entries.push(Entry { place, method, params });
            }
        }
    }
    Ok(entries)
}

/// Makes the calls of a configuration in a running target. `done` gets the number of those that were made. Returns the methods
/// of entries that a running target does not take, such as those that set the size of a pool at the start.
///
/// # Errors
/// One sentence naming the entry that was refused. Nothing has changed if its method does not exist; otherwise the entries
/// before it hold.
pub fn load(
    client: &mut Client,
    entries: &[Entry],
    done: impl Fn(usize),
) -> Result<BTreeSet<String>, CommandError> {
    let mut methods = |current: bool| -> Result<BTreeSet<String>, ClientError> {
        client.call("rpc_get_methods", Some(json!({ "current": current, "include_aliases": true })))
    };
    let (all, current) = (methods(false)?, methods(true)?);
    if let Some(entry) = entries.iter().find(|entry| !all.contains(&entry.method)) {
        let what =
            format!("{}: there is no method {}; nothing was changed", entry.place, Quoted(&entry.method));
        return Err(CommandError::Refused(what));
    }
    let mut skipped = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        done(index);
        if !current.contains(&entry.method) {
            skipped.insert(entry.method.clone());
            continue;
        }
        let answer = client.call::<Value>(&entry.method, entry.params.clone());
        answer.map_err(|error| refused(entry, &error, index))?;
    }
    Ok(skipped)
}

fn refused(entry: &Entry, error: &ClientError, before: usize) -> CommandError {
    // The messages of SPDK's methods begin with their names.
    let message = error.to_string();
    let message =
        if message.contains(&entry.method) { message } else { format!("{}: {message}", entry.method) };
    let kept = match before {
        0 => "nothing was changed".to_owned(),
        1 => "the entry before it holds".to_owned(),
        _ => format!("the {before} entries before it hold"),
    };
    CommandError::Refused(format!("{}: {message}; {kept}", entry.place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_their_places() {
        let text = r#"{"subsystems": [ // two of them
            {"subsystem": "iobuf", "config": null},
            {"subsystem": "bdev", "config": [
                {"method": "bdev_wait_for_examine"},
                [{"method": "bdev_malloc_create", "params": {"name": "m"}}]]}]}"#;
        let entry = |number: u32, method: &str, params: Option<Value>| Entry {
            place: format!("entry {number} of subsystem 'bdev'"),
            method: method.into(),
            params,
        };
        let expected = vec![
            entry(1, "bdev_wait_for_examine", None),
            entry(2, "bdev_malloc_create", Some(json!({ "name": "m" }))),
        ];
        assert_eq!(parse(text), Ok(expected));
        for (text, part) in [
            ("{", "it must be JSON"),
            ("{}", "no list \"subsystems\""),
            (r#"{"subsystems": [{}]}"#, "subsystem number 1"),
            (r#"{"subsystems": [{"subsystem": "bdev"}]}"#, "'bdev' has no list"),
            (r#"{"subsystems": [{"subsystem": "bdev", "config": [{}]}]}"#, "entry 1 of subsystem 'bdev'"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("saved.json");
        write(&path, &json!([1])).unwrap();
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        write(&path, &json!([2])).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), mode()), ("[\n  2\n]\n", 0o640));
        let error = write(&directory.path().join("none/saved.json"), &json!([])).unwrap_err();
        assert!(error.to_string().contains("none/saved.json"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
