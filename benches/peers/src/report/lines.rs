//! A line for each peer, both axes by powers of ten.

use super::svg::{Anchor, Svg};
use super::table::{Figure, in_unit};
use crate::peer::Kind;
use crate::peers;
use crate::rows::Row;
use crate::work::Unit;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
/// The corners of the field.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 330.0;
const COLORS: [&str; 7] = ["#57606a", "#bf8700", "#1a7f37", "#8250df", "#cf222e", "#bc4c00", "#1b7c83"];

/// An axis by powers of ten.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let low = values.clone().fold(f64::MAX, f64::min).log10();
        let high = values.fold(f64::MIN_POSITIVE, f64::max).log10();
        let room = ((high - low) * 0.05).max(0.05);
        Axis { low: low - room, high: high + room, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The powers of ten within; where there are few, their doubles and fives too.
    fn marks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|mark| (self.low..=self.high).contains(&mark.log10())).collect()
    }
}

/// The picture of a metric over the points.
pub fn draw(title: &str, rows: &[&Row], metric: &str, (x, y): (&str, &str), unit: Unit) -> String {
    let lines = lines(rows, metric);
    let points = lines.iter().flat_map(|(_, _, points)| points);
    let across = Axis::new(points.clone().map(|(x, _)| *x), LEFT, RIGHT);
    let up = Axis::new(points.map(|(_, y)| *y), BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, HEIGHT, title);
    let sizes = if x.starts_with("bytes") { Unit::Bytes } else { Unit::Count };
    grid(&mut svg, &across, &up, rows, metric, sizes, unit);
    svg.words(((LEFT + RIGHT) / 2.0, HEIGHT - 10.0), x, Anchor::Middle, "#57606a", false);
    svg.words((12.0, TOP - 4.0), y, Anchor::Start, "#57606a", false);
    let mut colors = COLORS.iter().cycle();
    for (at, (name, kind, points)) in lines.iter().enumerate() {
        let (color, width) = match kind {
            Kind::Millpond => ("#0969da", 2.5),
            Kind::Bound => ("#afb8c1", 1.5),
            _ => (*colors.next().unwrap_or(&"#57606a"), 1.5),
        };
        let places: Vec<(f64, f64)> = points.iter().map(|(x, y)| (across.at(*x), up.at(*y))).collect();
        svg.path(&places, color, width);
        let legend = TOP + 8.0 + 18.0 * at as f64;
        svg.line((RIGHT + 14.0, legend - 4.0), (RIGHT + 34.0, legend - 4.0), color, width);
        svg.words((RIGHT + 40.0, legend), name, Anchor::Start, "#1f2328", *kind == Kind::Millpond);
    }
    svg.finish()
}

type Line = (&'static str, Kind, Vec<(f64, f64)>);

/// Names, kinds and medians of the peers that have some.
fn lines(rows: &[&Row], metric: &str) -> Vec<Line> {
    let of_peer = |facts: crate::peer::Facts| -> Option<Line> {
        let is_it = |row: &&&Row| row.peer == facts.name && row.metric == metric;
        let mut names: Vec<(f64, &str)> = rows
            .iter()
            .filter(is_it)
            .filter_map(|row| Some((row.point.parse().ok()?, row.point.as_str())))
            .collect();
        names.sort_by(|a, b| a.0.total_cmp(&b.0));
        names.dedup();
        let median = |name: &str| Figure::of(rows, facts.name, name, metric).map(|figure| figure.median);
        let points: Vec<_> = names.iter().filter_map(|(x, name)| Some((*x, median(name)?))).collect();
        (!points.is_empty()).then_some((facts.name, facts.kind, points))
    };
    peers::all().iter().filter_map(|peer| of_peer(peer.facts())).collect()
}

fn grid(svg: &mut Svg, across: &Axis, up: &Axis, rows: &[&Row], metric: &str, sizes: Unit, unit: Unit) {
    // The points themselves are the marks below: they are few.
    let mut points: Vec<f64> =
        rows.iter().filter(|row| row.metric == metric).filter_map(|row| row.point.parse().ok()).collect();
    points.sort_by(f64::total_cmp);
    points.dedup();
    for point in points {
        let x = across.at(point);
        svg.line((x, TOP), (x, BOTTOM), "#eaeef2", 1.0);
        svg.words((x, BOTTOM + 18.0), &mark(point, sizes), Anchor::Middle, "#57606a", false);
    }
    for value in up.marks() {
        let y = up.at(value);
        svg.line((LEFT, y), (RIGHT, y), "#d0d7de", 1.0);
        svg.words((LEFT - 6.0, y + 4.0), &mark(value, unit), Anchor::End, "#57606a", false);
    }
}

/// A figure without digits that say nothing.
fn mark(value: f64, unit: Unit) -> String {
    in_unit(value, unit).replace(".00", "").replace(".0 ", " ").replace(".0k", "k").replace(".0M", "M")
}
