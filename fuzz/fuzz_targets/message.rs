//! A message of a queue is somebody else's input: whatever it says, it is a push, foreign or malformed.
#![no_main]

use ecs_deployd::domain::image_event::{Home, excerpt, read};
use ecs_deployd::domain::types::{AccountId, Region};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (Ok(account), Ok(region)) = (AccountId::parse("111111111111"), Region::parse("eu-west-1")) else { return };
    let body = String::from_utf8_lossy(bytes);
    let _ = read(&body, &Home { account, region });
    let _ = excerpt(&body);
});
