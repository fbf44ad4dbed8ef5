//! Image manifests that differ as asked.

use serde_json::json;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The manifest of a small image for one platform, as `docker push` writes it.
///
/// Two labels give two manifests, hence two digests; one label always gives the same. The layers that
/// it names exist nowhere.
pub fn image_manifest(label: &str) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": 7023,
            "digest": made_up_digest("config", label),
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "size": 32654,
            "digest": made_up_digest("layer", label),
        }],
    })
    .to_string()
}

/// Something in the form of a digest. Nothing is behind it, so a cryptographic hash is not needed.
fn made_up_digest(kind: &str, label: &str) -> String {
    let quarter = |number: u8| {
        let mut hasher = DefaultHasher::new();
        (kind, label, number).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    let hex: String = (0..4).map(quarter).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_make_the_difference() {
        assert_eq!(image_manifest("a"), image_manifest("a"));
        assert_ne!(image_manifest("a"), image_manifest("b"));
    }

    #[test]
    fn digests_have_the_right_form() {
        let digest = made_up_digest("config", "a");
        let hex = digest.strip_prefix("sha256:").expect("the prefix");
        assert_eq!(hex.len(), 64);
        assert!(hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
