//! What the capture `key` of an expression may look like.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Samples at most: enough for the alternatives that people write.
const MOST: usize = 64;
/// The longest sample: the longest tag (OCI distribution specification).
const LONGEST: usize = 128;

/// Texts that the capture `key` may match, as close to a number as the expression allows: digits wherever it takes digits, and each number of
/// repetitions that makes a difference. Empty where the expression cannot be taken apart, or has too many alternatives to tell.
pub(super) fn samples_of_key(expression: &str) -> Vec<String> {
    // Without Unicode, as regex-lite reads the classes of digits and words.
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(expression);
    let samples = parsed.ok().and_then(|hir| find_key(&hir).map(samples)).unwrap_or_default();
    if samples.len() > MOST { Vec::new() } else { samples }
}

fn find_key(hir: &Hir) -> Option<&Hir> {
    match hir.kind() {
        HirKind::Capture(capture) if capture.name.as_deref() == Some("key") => Some(&capture.sub),
        HirKind::Capture(capture) => find_key(&capture.sub),
        HirKind::Repetition(repetition) => find_key(&repetition.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().find_map(find_key),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => None,
    }
}

fn samples(hir: &Hir) -> Vec<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => vec![String::new()],
        HirKind::Literal(literal) => vec![String::from_utf8_lossy(&literal.0).into_owned()],
        HirKind::Class(class) => nearest_to_a_number(class).map(String::from).into_iter().collect(),
        HirKind::Capture(capture) => samples(&capture.sub),
        HirKind::Repetition(repetition) => {
            let once = samples(&repetition.sub);
            let least = usize::try_from(repetition.min).unwrap_or(LONGEST).min(LONGEST);
            let more = repetition.max.is_none_or(|max| max > repetition.min);
            let fewest = vec![String::new()];
            let fewest = (0..least).fold(fewest, |all, _| joined(&all, &once));
            if more { fewest.iter().cloned().chain(joined(&fewest, &once)).take(MOST + 1).collect() } else { fewest }
        }
        HirKind::Concat(parts) => parts.iter().fold(vec![String::new()], |all, part| joined(&all, &samples(part))),
        HirKind::Alternation(parts) => parts.iter().flat_map(samples).take(MOST + 1).collect(),
    }
}

fn joined(all: &[String], further: &[String]) -> Vec<String> {
    let pairs = all.iter().flat_map(|one| further.iter().map(move |more| format!("{one}{more}")));
    pairs.filter(|text| text.len() <= LONGEST).take(MOST + 1).collect()
}

fn nearest_to_a_number(class: &Class) -> Option<char> {
    let takes = |c: char| match class {
        Class::Unicode(class) => class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&c)),
        Class::Bytes(class) => u8::try_from(c)
            .is_ok_and(|byte| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte))),
    };
    // What a tag may hold, the likeliest part of a number first.
    let of_tags = ('0'..='9').chain(['.', '-', '_', 'v']).chain('a'..='z').chain('A'..='Z');
    of_tags.into_iter().find(|c| takes(*c))
}
