//! What the gates of services need to know of images: their scans and signatures.

use futures_util::future::{join, join_all, try_join_all};

use super::{Observer, with_retries};
use crate::aws::{AwsContext, AwsError};
use crate::domain::gate::scan::{self, Progress, Report};
use crate::domain::gate::{ImageReport, ImageRequest};

impl Observer {
    /// Asks ECR about images.
    pub async fn at_gates(&self, requests: Vec<ImageRequest>) -> Vec<(ImageRequest, Result<ImageReport, AwsError>)> {
        let answers = requests.into_iter().map(|request| async move {
            let answer = self.at_gate(&request).await;
            (request, answer)
        });
        join_all(answers).await
    }

    async fn at_gate(&self, request: &ImageRequest) -> Result<ImageReport, AwsError> {
        let context = self.context(&request.repository.aws)?;
        let (scans, signatures) = join(scans(context, request), async {
            let (name, digest) = (&request.repository.name, &request.digest);
            match request.signatures {
                true => with_retries(|| context.ecr.signatures(name, digest)).await,
                false => Ok(Vec::new()),
            }
        })
        .await;
        Ok(ImageReport { scans: scans?, signatures: signatures? })
    }
}

/// The scan of an image, or of each image of an index.
async fn scans(context: &AwsContext, request: &ImageRequest) -> Result<Vec<Report>, AwsError> {
    let (name, digest) = (&request.repository.name, &request.digest);
    if !request.scan {
        return Ok(Vec::new());
    }
    let images = match request.index {
        true => with_retries(|| context.ecr.images_of_index(name, digest)).await?,
        false => vec![digest.clone()],
    };
    let asked = images.iter().map(|digest| with_retries(move || context.ecr.scan(name, digest)));
    let reports = try_join_all(asked).await?;
    if !reports.iter().any(|report| report.progress == Progress::NotBegun) {
        return Ok(reports);
    }
    scan::with_scanning(reports, with_retries(|| context.ecr.is_scanned(name)).await)
}
