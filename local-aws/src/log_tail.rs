//! The end of a log file, for error messages.

use std::fs;
use std::path::Path;

/// The last `count` lines of the file that say something; empty if it cannot be read.
pub(crate) fn last_lines(path: &Path, count: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_last_lines_and_skips_empty_ones() {
        let path = std::env::temp_dir().join(format!("local-aws-tail-{}", std::process::id()));
        fs::write(&path, "one\ntwo\n\nthree\n\n").expect("a writable temporary folder");
        assert_eq!(last_lines(&path, 2), "two\nthree");
        assert_eq!(last_lines(&path, 9), "one\ntwo\nthree");
        fs::remove_file(&path).expect("the file is ours");
        assert_eq!(last_lines(&path, 2), "");
    }
}
