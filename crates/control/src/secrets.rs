//! Values that logs, and reports of faults, do not show: keys and passwords.

use serde_json::Value;

/// Parameters that are secrets of some method of SPDK.
const SECRETS: [&str; 8] = ["key", "key2", "tweak_key", "psk", "secret", "muser_secret", "password", "token"];

/// Replaces the secrets in a value by `***`.
pub fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if SECRETS.contains(&name.as_str()) {
                    *value = "***".into();
                } else {
                    hide_secrets(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_are() {
        let mut value = json!({"name": "c", "key": "k", "list": [{"psk": {"a": 1}}], "keys": 3});
        hide_secrets(&mut value);
        assert_eq!(value, json!({"name": "c", "key": "***", "list": [{"psk": "***"}], "keys": 3}));
    }
}
