//! Whatever the file holds, it is a state, or an error; and a state is written as it is read.
#![no_main]

use std::path::Path;

use ecs_deployd::state_store::{parse, render};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(state) = parse(Path::new("fuzz"), bytes) {
        assert_eq!(parse(Path::new("again"), &render(&state)).unwrap(), state);
    }
});
