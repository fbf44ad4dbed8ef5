use super::*;

#[tokio::test(start_paused = true)]
async fn the_budget_spaces_requests() {
    let mut budget = Budget::new(0.5);
    let begun = clock::instant();
    for _ in 0..4 {
        budget.ready().await;
        budget.spend();
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(6));
    clock::sleep(Duration::from_secs(100)).await;
    budget.ready().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(106), "an idle time is not saved up");
}
