//! The throttle buckets of ECS (Amazon ECS API Reference, "Request throttling for the Amazon ECS API").

use std::collections::HashMap;
use std::time::Duration;

#[derive(Debug, Default)]
pub struct Limits {
    /// Tokens left and when, by the group of operations.
    buckets: HashMap<&'static str, (f64, Duration)>,
}

/// The group of an operation, its burst, and how many calls a second fill it.
fn bucket(operation: &str) -> Option<(&'static str, f64, f64)> {
    Some(match operation {
        "RegisterTaskDefinition" => ("register", 20.0, 1.0),
        "DescribeTaskDefinition" => ("task definitions", 50.0, 20.0),
        "UpdateService" => ("service writes", 50.0, 5.0),
        "DescribeServices" => ("service reads", 100.0, 20.0),
        "DescribeServiceDeployments" => ("service deployments", 50.0, 20.0),
        "ListTasks" | "DescribeTasks" => ("tasks", 100.0, 20.0),
        _ => return None,
    })
}

impl Limits {
    /// Whether a call is within its limit.
    pub fn take(&mut self, operation: &str, at: Duration) -> bool {
        let Some((name, burst, rate)) = bucket(operation) else { return true };
        let (tokens, filled) = self.buckets.entry(name).or_insert((burst, at));
        *tokens = (*tokens + at.saturating_sub(*filled).as_secs_f64() * rate).min(burst);
        *filled = at;
        let fits = *tokens >= 1.0;
        if fits {
            *tokens -= 1.0;
        }
        fits
    }
}

/// The shortest time in which ECS takes so many registrations and updates, in seconds.
pub fn shortest(registrations: usize, updates: usize) -> f64 {
    let time = |operation, calls: usize| {
        let Some((_, burst, rate)) = bucket(operation) else { return 0.0 };
        (calls as f64 - burst).max(0.0) / rate
    };
    time("RegisterTaskDefinition", registrations).max(time("UpdateService", updates))
}
