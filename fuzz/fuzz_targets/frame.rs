//! One frame of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| kvblade_fuzz::frame::check(input));
