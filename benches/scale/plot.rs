//! Plots as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 8] = ["#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#7f7f7f"];

/// A line of a plot.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    /// Whether it is what is possible rather than what was measured.
    pub dashed: bool,
}

/// A plot of lines, whose axes begin at 0. `log` makes both logarithmic.
pub fn draw(title: &str, x: &str, y: &str, log: bool, lines: &[Line]) -> String {
    let scale = |value: f64| if log { value.max(1.0).log10() } else { value };
    let most = |of: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|line| &line.points).map(of).fold(1.0, f64::max);
    let (right, top) = (scale(most(|point| point.0)), scale(most(|point| point.1)) * 1.05);
    let at = |(x, y): (f64, f64)| {
        (LEFT + scale(x) / right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - scale(y) / top * (HEIGHT - TOP - BOTTOM))
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n"
    );
    for step in 0..=5 {
        let part = f64::from(step) / 5.0;
        let value = |end: f64| if log { 10f64.powf(end * part) } else { end * part };
        let ((across, bottom), (_, up)) = (at((value(right), 0.0)), at((0.0, value(top))));
        let end = WIDTH - RIGHT;
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{up:.1}\" y2=\"{up:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>\n<text x=\"{across:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0}</text>\n",
            LEFT - 6.0,
            up + 4.0,
            value(top),
            bottom + 18.0,
            value(right)
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let dash = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let mut points = String::new();
        for point in &line.points {
            let (x, y) = at(*point);
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let legend = TOP + 18.0 * number as f64;
        let from = WIDTH - RIGHT + 12.0;
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{dash} points=\"{points}\"/>\n\
             <line x1=\"{from}\" x2=\"{}\" y1=\"{legend}\" y2=\"{legend}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\n\
             <text x=\"{}\" y=\"{}\">{}</text>\n",
            from + 18.0,
            from + 24.0,
            legend + 4.0,
            line.name
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\n\
         <text x=\"16\" y=\"{}\" transform=\"rotate(-90 16 {})\" text-anchor=\"middle\">{y}</text>\n</svg>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        HEIGHT / 2.0,
        HEIGHT / 2.0
    );
    svg
}
