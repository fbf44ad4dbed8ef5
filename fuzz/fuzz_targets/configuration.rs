//! Whatever the file says, it is a configuration, or there are findings with their lines.
#![no_main]

use ecs_deployd::config::{Config, Places};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match Config::parse("fuzz.toml", &text) {
        Ok(_) => {}
        Err(invalid) => assert!(!invalid.to_string().is_empty()),
    }
    let _ = Places::of(&text);
});
