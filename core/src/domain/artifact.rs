//! What in a repository is a container image, and what is something else: a signature, an attestation, a chart.

use super::event::shorten;
use super::lenient::{Object, Objects, Opaque, Text, object};
use super::types::Tag;

/// The manifest of a Docker image for one platform.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// What older Docker clients, and some builders to this day, call the configuration of an image.
const OCTETS: &str = "application/octet-stream";

/// Whether something is a container image, by the media type of its configuration or by its artifact type, and by the media type of its
/// manifest where that is known. Some registries and builders give the type of a manifest or index as the artifact type of a plain image.
#[must_use]
pub fn is_image(media_type: &str, manifest_type: Option<&str>) -> bool {
    const IMAGE: &[&str] = &[
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        DOCKER_MANIFEST,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    ];
    IMAGE.contains(&media_type) || (media_type == OCTETS && manifest_type == Some(DOCKER_MANIFEST))
}

/// Why a tag marks no image: cosign gives such tags (`sha256-<digest>`, with or without an ending) to what it attaches to an image.
#[must_use]
pub fn of_tag(tag: &Tag) -> Option<String> {
    let rest = tag.as_str().strip_prefix("sha256-")?;
    let (hex, ending) = rest.split_at_checked(64)?;
    let attached = hex.bytes().all(|b| b.is_ascii_hexdigit()) && (ending.is_empty() || ending.starts_with('.'));
    attached.then(|| format!("the tag {tag} marks a signature or attestation"))
}

object!(
    /// What of a manifest tells whether it is that of an image.
    Manifest {
        media_type: Text<'a> = "mediaType",
        subject: Object<Opaque> = "subject",
        artifact_type: Text<'a> = "artifactType",
        config: Object<Descriptor<'a>> = "config",
        layers: Objects<Descriptor<'a>> = "layers",
    }
);

object!(
    /// What a manifest refers to.
    Descriptor {
        media_type: Text<'a> = "mediaType",
    }
);

/// Why a manifest is not that of an image. What is no manifest at all is taken for that of an image. `media_type` is the manifest's media
/// type as the registry was told it.
#[must_use]
pub fn of_manifest(text: &str, media_type: Option<&str>) -> Option<String> {
    let manifest: Object<Manifest<'_>> = serde_json::from_str(text).ok()?;
    let manifest = manifest.get()?;
    let manifest_type = manifest.media_type.get().or(media_type);
    let is_other = |kind: &&str| !is_image(kind, manifest_type);
    if manifest.subject.get().is_some() {
        return Some("the manifest refers to another image (subject)".to_owned());
    }
    if let Some(kind) = manifest.artifact_type.get().filter(is_other) {
        return Some(format!("the manifest is an artifact of type {}", shorten(kind)));
    }
    let config = manifest.config.get().and_then(|config| config.media_type.get());
    if let Some(config) = config.filter(is_other) {
        return Some(format!("the manifest's configuration is of type {}", shorten(config)));
    }
    let layers = manifest.layers.iter().filter_map(|layer| layer.media_type.get());
    let signature = of_signature(layers)?;
    Some(format!("the manifest's layer is of type {}", shorten(signature)))
}

/// The first media type that marks a layer which is a signature or attestation.
fn of_signature<'a>(media_types: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut before = "";
    media_types
        // As a rule all layers are of one type.
        .filter(|kind| std::mem::replace(&mut before, kind) != *kind)
        .find(|kind| kind.contains("cosign") || kind.contains("in-toto") || kind.contains("dsse"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::test_support::image;
    use crate::domain::view::ImageView;

    const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

    #[test]
    fn a_manifest_is_an_image_by_its_types_together() {
        for (manifest, told, is_image) in [
            (json!({"config": {"mediaType": OCI_CONFIG}}), None, true),
            (json!({"artifactType": OCI_CONFIG, "config": {"mediaType": OCI_CONFIG}}), None, true),
            (json!({"artifactType": DOCKER_CONFIG, "config": {"mediaType": DOCKER_CONFIG}}), None, true),
            (json!({"artifactType": OCI_MANIFEST, "config": {"mediaType": OCI_CONFIG}}), None, true),
            (
                json!({"artifactType": OCI_CONFIG, "config": {"mediaType": "application/vnd.oci.empty.v1+json"}}),
                None,
                false,
            ),
            (json!({"artifactType": "application/vnd.example", "config": {"mediaType": OCI_CONFIG}}), None, false),
            (json!({"mediaType": DOCKER_MANIFEST, "config": {"mediaType": OCTETS}}), None, true),
            (json!({"config": {"mediaType": OCTETS}}), Some(DOCKER_MANIFEST), true),
            (json!({"mediaType": OCI_MANIFEST, "config": {"mediaType": OCTETS}}), Some(DOCKER_MANIFEST), false),
            (json!({"config": {"mediaType": OCTETS}}), None, false),
            (json!({"mediaType": DOCKER_MANIFEST, "config": {"mediaType": OCTETS}, "subject": {}}), None, false),
            (
                json!({"mediaType": DOCKER_MANIFEST, "config": {"mediaType": OCTETS}, "layers": [{"mediaType": "application/vnd.dsse+json"}]}),
                None,
                false,
            ),
        ] {
            assert_eq!(of_manifest(&manifest.to_string(), told).is_none(), is_image, "{manifest} {told:?}");
        }
    }

    #[test]
    fn a_listed_image_is_judged_by_the_same_types() {
        for (manifest_type, artifact_type, is_image) in [
            (Some(OCI_MANIFEST), Some(OCI_CONFIG), true),
            (Some(OCI_MANIFEST), None, true),
            (Some(DOCKER_MANIFEST), Some(OCTETS), true),
            (Some(OCI_MANIFEST), Some(OCTETS), false),
            (None, Some(OCTETS), false),
            (Some(OCI_MANIFEST), Some("application/vnd.cncf.helm.config.v1+json"), false),
        ] {
            let view = ImageView {
                manifest_type: manifest_type.map(str::to_owned),
                artifact_type: artifact_type.map(str::to_owned),
                ..image('a', &["latest"])
            };
            assert_eq!(view.not_an_image().is_none(), is_image, "{manifest_type:?} {artifact_type:?}");
        }
    }
}
