//! The target as its caller sees it: frames in, verdicts and frames out.

mod claims;
mod frames;
mod model;
mod replies;
mod requests;
mod tshark;
#[path = "../../../aoe-wire/tests/vector_file/mod.rs"]
mod vector_file;
mod verdicts;
