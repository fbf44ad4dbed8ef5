//! What the gates of services need to know of images: their scans and signatures.

use futures_util::future::{join, join_all, try_join_all};

use super::{Observer, with_retries};
use crate::aws::{AwsContext, AwsError};
use crate::domain::gate::scan::{Progress, Report};
use crate::domain::gate::{Found, Question};

impl Observer {
    /// Asks ECR about images.
    pub async fn at_gates(&self, questions: Vec<Question>) -> Vec<(Question, Result<Found, AwsError>)> {
        let answers = questions.into_iter().map(|question| async move {
            let answer = self.at_gate(&question).await;
            (question, answer)
        });
        join_all(answers).await
    }

    async fn at_gate(&self, question: &Question) -> Result<Found, AwsError> {
        let context = self.context(&question.repository.aws)?;
        let (scans, signatures) = join(scans(context, question), async {
            let (name, digest) = (&question.repository.name, &question.digest);
            match question.signatures {
                true => with_retries(|| context.ecr.signatures(name, digest)).await,
                false => Ok(Vec::new()),
            }
        })
        .await;
        Ok(Found { scans: scans?, signatures: signatures? })
    }
}

/// The scan of an image, or of each image of an index.
async fn scans(context: &AwsContext, question: &Question) -> Result<Vec<Report>, AwsError> {
    let (name, digest) = (&question.repository.name, &question.digest);
    if !question.scan {
        return Ok(Vec::new());
    }
    let images = match question.index {
        true => with_retries(|| context.ecr.images_of_index(name, digest)).await?,
        false => vec![digest.clone()],
    };
    let asked = images.iter().map(|digest| with_retries(move || context.ecr.scan(name, digest)));
    let mut reports = try_join_all(asked).await?;
    if reports.iter().any(|report| report.progress == Progress::NotBegun)
        && with_retries(|| context.ecr.is_scanned(name)).await? == Some(false)
    {
        for report in reports.iter_mut().filter(|report| report.progress == Progress::NotBegun) {
            report.progress = Progress::Off;
        }
    }
    Ok(reports)
}
