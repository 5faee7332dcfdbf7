//! A sequence of requests and events, held against the model.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kvblade_fuzz::scenario::check(input));
