//! How the daemon's process ends, and what its disk does meanwhile.

use std::time::Duration;

use jiff::SignedDuration;

use super::life::Life;
use crate::harness::pass;

impl Life {
    pub(super) async fn die(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.kill().await;
        if self.rng.percent(50) {
            self.say("crash of the machine");
            self.disk.crash(&mut self.rng);
        } else {
            self.say("crash of the process");
            self.disk.outlive();
        }
    }

    pub(super) async fn crash(&mut self) {
        self.die().await;
        let downtime = *self.rng.pick(&[0, 0, 1, 20, 600, 10_000, 200_000]);
        pass(downtime).await;
    }

    pub(super) async fn crash_in_a_commit(&mut self) {
        if self.process.is_none() {
            return;
        }
        let step = u32::try_from(self.rng.below(5)).unwrap();
        self.say(&format!("the next commit ends at step {step}"));
        self.disk.die_in(step);
        self.push().await;
        for _ in 0..400 {
            if self.disk.died() {
                break;
            }
            pass(1).await;
        }
        self.die().await;
    }

    pub(super) async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            self.say("stop");
            process.stop().await;
        }
    }

    /// Longer than CloudTrail remembers, while pushes go on.
    pub(super) async fn stay_away(&mut self) {
        self.stop().await;
        self.expire();
        self.say("away for months");
        self.push().await;
        let months = 8_000_000 + self.rng.below(3_000_000);
        self.absent += Duration::from_secs(months);
        self.compared_at = self.world.now() + SignedDuration::from_secs(i64::try_from(months).unwrap());
        pass(months).await;
        if self.rng.percent(50) {
            self.push().await;
            pass(60).await;
        }
        self.start();
    }

    pub(super) async fn fill_disk(&mut self) {
        self.say("the disk is full");
        self.disk.set_full(true);
        let span = self.rng.below(1800);
        if self.rng.percent(50) {
            self.push().await;
        }
        pass(span).await;
        if self.rng.percent(30) {
            self.die().await;
        }
        self.disk.set_full(false);
        self.say("there is space again");
    }

    pub(super) async fn lose_state(&mut self) {
        if self.kind.forgetful {
            self.die().await;
            self.expire();
            self.say("the state is lost");
            self.compared_at = self.world.now();
            self.disk.lose();
        }
    }
}
