//! The RPCs of the module: bdev_file_create, bdev_file_delete and bdev_file_rescan.

use std::ffi::CStr;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{FileError, create, delete, options::FileBdevOptions, rescan};
use crate::{
    AppThread,
    rpc::{INTERNAL_ERROR, INVALID_PARAMS, Method, Request},
};

/// `bdev_file_create`: its parameters are [`FileBdevOptions`], its result is the bdev's name.
pub(crate) struct Create;

/// `bdev_file_delete`: its result is true, once the file is closed.
pub(crate) struct Delete;

/// `bdev_file_rescan`: its result is the number of blocks.
pub(crate) struct Rescan;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RescanParams {
    name: String,
    #[serde(default)]
    clear_failure: bool,
}

/// The parameters, or `None` after the refusal.
fn decode<P: DeserializeOwned>(params: Option<&str>, request: Request) -> Option<(P, Request)> {
    match serde_json::from_str(params.unwrap_or("{}")) {
        Ok(params) => Some((params, request)),
        Err(error) => {
            request.error(INVALID_PARAMS, &error.to_string());
            None
        }
    }
}

fn refuse(request: Request, error: &FileError) {
    request.error(-error.errno, &error.sentence);
}

/// Calls `work` on the app's thread, where SPDK calls methods.
fn on_app_thread(request: Request, work: impl FnOnce(AppThread<'_>, Request)) {
    let mut request = Some(request);
    let called = AppThread::with(|app| request.take().map(|request| work(app, request)));
    if let (Err(error), Some(request)) = (called, request) {
        request.error(INTERNAL_ERROR, &error.to_string());
    }
}

impl Method for Create {
    const NAME: &'static CStr = c"bdev_file_create";

    fn call(params: Option<&str>, request: Request) {
        let Some((options, request)) = decode::<FileBdevOptions>(params, request) else { return };
        on_app_thread(request, |app, request| match create(app, &options) {
            Ok(()) => request.result(&json!(options.name).to_string()),
            Err(error) => refuse(request, &error),
        });
    }
}

impl Method for Delete {
    const NAME: &'static CStr = c"bdev_file_delete";

    fn call(params: Option<&str>, request: Request) {
        let Some((Named { name }, request)) = decode(params, request) else { return };
        on_app_thread(request, |app, request| {
            delete(app, &name, move |result| match result {
                Ok(()) => request.result("true"),
                Err(error) => refuse(request, &error),
            });
        });
    }
}

impl Method for Rescan {
    const NAME: &'static CStr = c"bdev_file_rescan";

    fn call(params: Option<&str>, request: Request) {
        let Some((params, request)) = decode::<RescanParams>(params, request) else { return };
        on_app_thread(request, |app, request| match rescan(app, &params.name, params.clear_failure) {
            Ok(found) => request.result(&found.blocks.to_string()),
            Err(error) => refuse(request, &error),
        });
    }
}
