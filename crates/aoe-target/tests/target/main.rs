//! The target as its caller sees it: frames in, dispositions and frames out.

mod dispositions;
mod frames;
mod initiator_state;
mod model;
mod replies;
mod requests;
mod tshark;
#[path = "../../../aoe-wire/tests/vector_file/mod.rs"]
mod vector_file;
