//! The throttle buckets of ECS (Amazon ECS API Reference, "Request throttling"), kept by AWS.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_deployd::aws::Fault;

use super::World;

#[derive(Debug, Default)]
pub struct Limits {
    /// Tokens left and when, by the first operation of the group.
    buckets: BTreeMap<&'static str, (f64, Duration)>,
    refused: usize,
}

/// The bucket of an operation, its burst, and how many calls a second fill it.
fn bucket(operation: &str) -> Option<(&'static str, f64, f64)> {
    Some(match operation {
        "RegisterTaskDefinition" => ("register", 20.0, 1.0),
        "DescribeTaskDefinition" => ("task definitions", 50.0, 20.0),
        "UpdateService" | "UpdateExpressGatewayService" | "ContinueServiceDeployment" | "StopServiceDeployment" => {
            ("service writes", 50.0, 5.0)
        }
        "DescribeServices" => ("service reads", 100.0, 20.0),
        "ListServiceDeployments" | "DescribeServiceDeployments" | "DescribeServiceRevisions" => {
            ("service deployments", 50.0, 20.0)
        }
        "ListTasks" | "DescribeTasks" | "RunTask" | "StopTask" => ("tasks", 100.0, 20.0),
        _ => return None,
    })
}

impl Limits {
    pub(super) fn refuse(&mut self, operation: &str, at: Duration) -> Option<Fault> {
        let (name, burst, rate) = bucket(operation)?;
        let (tokens, filled) = self.buckets.entry(name).or_insert((burst, at));
        *tokens = (*tokens + (at - *filled).as_secs_f64() * rate).min(burst);
        *filled = at;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return None;
        }
        self.refused += 1;
        Some(Fault::Throttled)
    }
}

impl World {
    /// How many calls were more than a bucket held.
    pub fn refused_by_limits(&self) -> usize {
        self.lock().limits.refused
    }
}
