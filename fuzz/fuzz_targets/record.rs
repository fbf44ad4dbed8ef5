//! A CloudTrail record is somebody else's input: whatever it says, it is read, skipped with a reason, or foreign.
#![no_main]

use ecs_deployd::domain::event::{Record, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let body = String::from_utf8_lossy(bytes).into_owned();
    let time = jiff::Timestamp::from_second(1_763_812_800).ok();
    let _ = read(&Record { time, id: Some("fuzz".to_owned()), body: Some(body.clone()) });
    let _ = read(&Record { time: None, id: None, body: Some(body) });
});
