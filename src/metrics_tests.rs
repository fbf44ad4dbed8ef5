use super::*;

#[test]
fn what_leaves_the_configuration_leaves_the_gauges() {
    let metrics = Metrics::new("1", "c", Timestamp::UNIX_EPOCH).unwrap();
    let [first, second] = ["first", "second"].map(|name| ContextName::parse(name).unwrap());
    let key = ServiceKey::try_from("first/web/shop".to_owned()).unwrap();
    metrics.expect(&[&first, &second], &[], &[&key], Detail::default());
    metrics.polled(&first, PollOutcome::Ok, Timestamp::UNIX_EPOCH);
    metrics.service_counts(&key, ServiceCounts { held: 1, configured: true, ..ServiceCounts::default() });
    metrics.polled(&second, PollOutcome::Ok, Timestamp::UNIX_EPOCH);
    metrics.task_ended(&key, TaskKind::Before, TaskOutcome::Failed);
    metrics.expect(&[&second], &[], &[], Detail::default());
    // It leaves while it rolls, and its rollout ends afterwards.
    metrics.deployment_ended(&key, OutcomeKind::Completed, Duration::from_secs(60));
    metrics.push_stable(&key, Duration::from_secs(60));
    metrics.task_ended(&key, TaskKind::Verify, TaskOutcome::Succeeded);
    for rolling in [1, 0] {
        metrics.service_counts(&key, ServiceCounts { rolling, ..ServiceCounts::default() });
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert_eq!(text.contains("deployments_in_progress{"), rolling == 1, "{text}");
    }
    let text = String::from_utf8(metrics.render().unwrap()).unwrap();
    for gone in [
        "timestamp_seconds{aws=\"first\"}",
        "held{",
        "in_progress{",
        "undecided{",
        "deployments_total{",
        "duration_seconds_count{",
        "stable_seconds_count{",
        "tasks_total{",
    ] {
        assert!(!text.contains(gone), "{gone} is still in\n{text}");
    }
    assert!(text.contains("timestamp_seconds{aws=\"second\"}"));
    assert!(text.contains("polls_total{aws=\"first\",outcome=\"ok\"} 1"), "counters count on");
}

#[test]
fn of_thousands_of_services_there_are_the_series_that_tell_something() {
    let metrics = Metrics::new("1", "c", Timestamp::UNIX_EPOCH).unwrap();
    let keys: Vec<ServiceKey> = (0..10_000)
        .map(|number| ServiceKey::try_from(format!("default/cluster-{}/service-{number}", number % 30)).unwrap())
        .collect();
    let repositories: Vec<RepositoryName> =
        (0..10_000).map(|number| RepositoryName::parse(&format!("team/app-{number}")).unwrap()).collect();
    let context = ContextName::default();
    let services: Vec<&ServiceKey> = keys.iter().collect();
    let detail = Detail { zeros: false, histograms: false };
    metrics.expect(&[&context], &repositories.iter().collect::<Vec<_>>(), &services, detail);
    let text = || String::from_utf8(metrics.render().unwrap()).unwrap();
    assert!(text().len() < 20_000, "nothing has happened yet, and it is {} bytes", text().len());
    let rolling = ServiceCounts { rolling: 1, configured: true, ..ServiceCounts::default() };
    metrics.service_counts(&keys[0], rolling);
    assert!(text().contains("deployments_in_progress{cluster=\"cluster-0\",service=\"service-0\"} 1"));
    metrics.service_counts(&keys[0], ServiceCounts { rolling: 0, ..rolling });
    assert!(!text().contains("service-0\""), "0 is not told");
    for (key, repository) in keys.iter().zip(&repositories) {
        metrics.deployment_ended(key, OutcomeKind::Completed, Duration::from_secs(60));
        metrics.push_stable(key, Duration::from_secs(60));
        metrics.push_delivered(repository, Duration::from_secs(60));
        metrics.push_deployed(repository);
        metrics.push_skipped(Some(repository), SkipReason::Duplicate);
    }
    let all = text();
    assert!(all.len() < 4_000_000, "{} bytes", all.len());
    assert!(all.contains("push_delivery_seconds_count{repository=\"_all\"} 10000"));
    metrics.expect(&[&context], &[], &[&keys[1]], Detail::default());
    assert!(text().contains("held{cluster=\"cluster-1\",service=\"service-1\"} 0"), "a reload may make it few");
}
