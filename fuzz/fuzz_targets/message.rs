//! A message of a queue is somebody else's input: whatever it says, it is a push, foreign or malformed.
#![no_main]

use std::collections::BTreeSet;

use ecs_deployd::domain::image_event::{Home, excerpt, read};
use ecs_deployd::domain::types::{AccountId, Region, RepositoryName};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (Ok(account), Ok(region), Ok(repository)) =
        (AccountId::parse("111111111111"), Region::parse("eu-west-1"), RepositoryName::parse("hello"))
    else {
        return;
    };
    let body = String::from_utf8_lossy(bytes);
    let _ = read(&body, &Home { account, region, repositories: BTreeSet::from([repository]) });
    let _ = excerpt(&body);
});
