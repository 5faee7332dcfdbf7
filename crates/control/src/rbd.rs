//! An image of Ceph's RBD: its spelling, and the RPC that creates a bdev for it.

use std::fmt;

use serde_json::{Value, json};

use crate::backing_file::SECTOR;
use crate::error::Quoted;

/// The RPC that opens an image as a bdev.
pub const CREATE: &str = "bdev_rbd_create";

/// The RPC that closes it.
pub const DELETE: &str = "bdev_rbd_delete";

/// The sentence for programs that were built without Ceph.
pub const LEFT_OUT: &str = "this kvblade-dpdk was built without Ceph: install the package kvblade-dpdk-ceph, or build it \
                            with cargo build --release -p kvblade-dpdk --features rbd";

/// An image, with the Ceph user and configuration file that reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RbdImage {
    /// Pool.
    pub pool: String,
    /// Namespace in the pool; `None` is the pool's own.
    pub namespace: Option<String>,
    /// Name of the image.
    pub image: String,
    /// Ceph user without `client.`; `None` is `admin`.
    pub user: Option<String>,
    /// Ceph's configuration file; `None` is that of `CEPH_CONF`, or `/etc/ceph/ceph.conf`.
    pub conf: Option<String>,
}

impl RbdImage {
    /// Reads `POOL/IMAGE` or `POOL/NAMESPACE/IMAGE`.
    ///
    /// # Errors
    /// A sentence naming the text and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "write rbd:POOL/IMAGE, or rbd:POOL/NAMESPACE/IMAGE";
        let parts: Vec<&str> = text.split('/').collect();
        let (pool, namespace, image) = match parts.as_slice() {
            [pool, image] => (*pool, None, *image),
            [pool, namespace, image] => (*pool, Some(*namespace), *image),
            _ => return Err(format!("rbd:{text} names no image: {FORM}")),
        };
        if text.contains('@') {
            return Err(format!("rbd:{text} names a snapshot, which can't be exported: {FORM}"));
        }
        if pool.is_empty() || image.is_empty() || namespace.is_some_and(str::is_empty) {
            return Err(format!("rbd:{text} has an empty name in it: {FORM}"));
        }
        Ok(Self {
            pool: pool.into(),
            namespace: namespace.map(Into::into),
            image: image.into(),
            ..Self::default()
        })
    }

    /// The parameters of [`CREATE`] for a bdev of that name.
    #[must_use]
    pub fn to_params(&self, bdev_name: &str, read_only: bool) -> Value {
        let mut params = json!({
            "name": bdev_name,
            "pool_name": self.pool,
            "rbd_name": self.image,
            "block_size": SECTOR,
        });
        let optional =
            [("namespace_name", &self.namespace), ("user_id", &self.user), ("config_file", &self.conf)];
        for (name, value) in optional {
            if let Some(value) = value {
                params[name] = value.as_str().into();
            }
        }
        if read_only {
            params["read_only"] = true.into();
        }
        params
    }

    /// Whether a bdev takes writes, if it is this image. `driver_specific` is a part of the answer to `bdev_get_bdevs`.
    #[must_use]
    pub fn found_in(&self, driver_specific: &Value) -> Option<bool> {
        let rbd = driver_specific.get("rbd")?;
        let text = |name| rbd.get(name).and_then(Value::as_str);
        let is_same = text("pool_name") == Some(&self.pool)
            && text("namespace_name") == self.namespace.as_deref()
            && text("rbd_name") == Some(&self.image)
            && text("user_id") == self.user.as_deref()
            && text("config_file") == self.conf.as_deref();
        is_same.then(|| rbd.get("read_only").and_then(Value::as_bool) != Some(true))
    }
}

impl fmt::Display for RbdImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rbd:{}/", self.pool)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.image)
    }
}

/// A Ceph user.
///
/// # Errors
/// A sentence naming the text and what is allowed.
pub fn parse_user(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with("client.") {
        return Err(format!(
            "user {} is no Ceph user: write ID, without \"client.\" before it",
            Quoted(text)
        ));
    }
    Ok(text.into())
}

/// Path of a Ceph configuration file, made absolute: the program that reads it has another working directory.
///
/// # Errors
/// A sentence naming the text and what is allowed.
pub fn parse_conf(text: &str) -> Result<String, String> {
    let path =
        std::path::absolute(text).map_err(|error| format!("conf {}: {error}: give a path", Quoted(text)))?;
    path.into_os_string().into_string().map_err(|path| format!("conf {path:?} is not UTF-8, as it must be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_read_and_written_the_same() {
        for text in ["rbd/disk", "pool/space/disk.1"] {
            assert_eq!(RbdImage::parse(text).unwrap().to_string(), format!("rbd:{text}"));
        }
    }

    #[test]
    fn what_names_no_image_is_refused_with_the_form() {
        for text in ["", "disk", "a/b/c/d", "/b", "a/", "a//b", "a/b@snap"] {
            let sentence = RbdImage::parse(text).unwrap_err();
            assert!(
                sentence.contains(&format!("rbd:{text} ")) && sentence.contains("POOL/IMAGE"),
                "{sentence}"
            );
        }
        for user in ["", "client.admin"] {
            assert!(parse_user(user).unwrap_err().contains("without \"client.\""));
        }
    }

    #[test]
    fn a_bdev_is_found_by_all_that_names_its_image() {
        let image = RbdImage { user: Some("u".into()), ..RbdImage::parse("p/n/i").unwrap() };
        let described = |params: Value| json!({ "rbd": params });
        assert_eq!(image.found_in(&described(image.to_params("b", false))), Some(true));
        assert_eq!(image.found_in(&described(image.to_params("b", true))), Some(false));
        for (name, other) in [
            ("pool_name", "x"),
            ("namespace_name", "x"),
            ("rbd_name", "x"),
            ("user_id", "x"),
            ("config_file", "/x"),
        ] {
            let mut params = image.to_params("b", false);
            params[name] = other.into();
            assert_eq!(image.found_in(&described(params)), None, "{name}");
        }
        assert_eq!(image.found_in(&json!({ "aio": {} })), None);
    }
}
