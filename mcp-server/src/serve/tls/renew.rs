//! Polls the certificate files and swaps what they say in. As for the live file (see [`crate::settings`]), contents count
//! once two polls in a row have seen them: certificate and key are two files, and nobody writes both at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{error, info};

use super::Tls;
use super::material::{Files, Material, Unusable};

const PERIOD: Duration = Duration::from_secs(1);

impl Tls {
    /// Runs until it is dropped. A pair that is wrong changes nothing; it is told once.
    pub(in crate::serve) async fn renew(self: Arc<Self>) {
        let in_use = Some(self.current.load().digest);
        let (mut seen, mut tried) = (in_use, in_use);
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            // A file system may hang; the workers must not.
            let Ok(files) = tokio::task::spawn_blocking(move || Files::read(&tls.section)).await else { return };
            let now = files.as_ref().ok().map(Files::digest);
            let stands = now == seen;
            seen = now;
            if stands && now != tried {
                tried = now;
                self.replace(files);
            }
        }
    }

    fn replace(&self, files: Result<Files, Unusable>) {
        // Back again to what is in use: nothing is wrong any more.
        if files.as_ref().is_ok_and(|files| files.digest() == self.current.load().digest) {
            self.error.store(None);
            return;
        }
        match files.and_then(|files| files.build(&self.section)).and_then(|material| self.fresh(material)) {
            Ok(material) => {
                info!(not_after = %material.not_after, "certificate reloaded");
                self.metrics.certificate(material.not_after);
                self.metrics.reload(true);
                self.current.store(Arc::new(material));
                self.error.store(None);
            }
            Err(problem) => {
                error!(error = &problem as &dyn std::error::Error, "certificate refused; the earlier one stays");
                self.metrics.reload(false);
                self.error.store(Some(Arc::new(problem.to_string())));
            }
        }
    }

    fn fresh(&self, material: Material) -> Result<Material, Unusable> {
        if material.not_after > Timestamp::now() {
            return Ok(material);
        }
        Err(Unusable::Expired { path: self.section.cert_file.clone(), not_after: material.not_after })
    }
}
