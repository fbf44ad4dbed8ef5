//! Tables and words for people: aligned, coloured on a terminal only.

use std::io::{IsTerminal as _, Write as _};

use crate::domain::printable::{LONGEST, printable};

/// How a text is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

impl Tone {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
            Self::Faint => Some("2"),
        }
    }
}

/// A text in a table.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: printable(text.as_ref(), LONGEST), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under a heading.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|text| Cell::new(text, Tone::Faint)).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The text, a line for each row. The last column is as wide as it is.
    pub(super) fn render(&self, colour: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let texts = self.rows.iter().filter_map(|row| row.get(column));
            texts.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = if column + 1 == row.len() { 0 } else { widths[column] - cell.text.chars().count() + 2 };
                line.push_str(&paint(&cell.text, cell.tone, colour));
                line.extend(std::iter::repeat_n(' ', pad));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Names on as few lines as they need, each line indented.
pub(super) fn listed(names: &[String]) -> String {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 == names.len() { "" } else { "," };
        let word = format!("{}{comma}", printable(name, LONGEST));
        match lines.last_mut().filter(|line| line.chars().count() + word.chars().count() < WIDTH) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(format!("    {word}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Writes to standard output. Whoever reads no further has what they wanted.
pub(super) fn show(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// A text in its colour.
pub(super) fn paint(text: &str, tone: Tone, colour: bool) -> String {
    match tone.code().filter(|_| colour && !text.is_empty()) {
        Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        None => text.to_owned(),
    }
}

/// Whether standard output is to be coloured (<https://no-color.org>).
pub(super) fn colour() -> bool {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !no_colour && !dumb
}

/// A bar of a rollout's tasks.
pub(super) fn bar(done: i32, of: i32) -> String {
    const WIDTH: i32 = 10;
    let filled = if of > 0 { (done.clamp(0, of) * WIDTH) / of } else { WIDTH };
    let part = |of: &str, length: i32| of.repeat(usize::try_from(length).unwrap_or(0));
    format!("[{}{}]", part("#", filled), part("-", WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_colour_is_no_width() {
        let mut table = Table::new(&["SERVICE", "STATE"]);
        table.row(vec!["web/a".into(), Cell::new("ok", Tone::Good)]);
        table.row(vec!["web/a-longer-name".into(), Cell::new("held", Tone::Bad)]);
        assert_eq!(table.render(false), "SERVICE            STATE\nweb/a              ok\nweb/a-longer-name  held\n");
        let coloured = table.render(true);
        assert!(coloured.contains("web/a              \u{1b}[32mok\u{1b}[0m\n"), "{coloured:?}");
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let mut table = Table::new(&["A"]);
        table.row(vec!["\u{1b}[2Jx\ny".into()]);
        assert_eq!(table.render(false), "A\n\u{fffd}[2Jx y\n");
    }

    #[test]
    fn bars_are_short() {
        assert_eq!(
            (bar(0, 4), bar(2, 4), bar(9, 4)),
            ("[----------]".into(), "[#####-----]".into(), "[##########]".into())
        );
        assert_eq!(bar(0, 0), "[##########]");
    }
}
