//! A bar for each peer: its median, and a thin line from the least to the most.
//!
//! Rates begin at zero. Times go by powers of ten: they lie too far apart for anything else.

use super::color;
use super::svg::{Anchor, Svg};
use super::table::{Figure, in_unit};
use crate::peer::{Facts, Kind};
use crate::peers;
use crate::rows::Row;
use crate::work::Unit;

const WIDTH: f64 = 720.0;
const ROW: f64 = 20.0;
const TOP: f64 = 34.0;
/// Where the bars begin, and how long the longest is.
const LEFT: f64 = 130.0;
const LONGEST: f64 = 460.0;

/// The picture of one figure of all peers.
pub fn draw(title: &str, rows: &[&Row], point: &str, metric: &str, unit: Unit) -> String {
    let of_peer = |facts: Facts| Figure::of(rows, facts.name, point, metric).map(|figure| (facts, figure));
    let all: Vec<(Facts, Figure)> = peers::all().iter().filter_map(|peer| of_peer(peer.facts())).collect();
    let is_time = matches!(unit, Unit::Micros | Unit::Millis);
    let note = if is_time { " (less is better; by powers of ten)" } else { "" };
    let height = TOP + ROW * all.len() as f64 + 10.0;
    let mut svg = Svg::new(WIDTH, height, &format!("{title}{note}"));
    let most = all.iter().map(|(_, figure)| figure.most).fold(0.0, f64::max);
    let least = all.iter().map(|(_, figure)| figure.least).fold(f64::MAX, f64::min);
    let length = |value: f64| match is_time {
        // The shortest bar still has a length.
        true => LONGEST * ((value / least).ln() + 0.2) / ((most / least).ln() + 0.2),
        false => LONGEST * value / most,
    };
    for (at, (facts, figure)) in all.iter().enumerate() {
        let y = TOP + ROW * at as f64;
        let color = color(facts);
        let is_ours = facts.kind == Kind::Millpond;
        svg.words((LEFT - 8.0, y + 13.0), facts.name, Anchor::End, "#1f2328", is_ours);
        svg.rect((LEFT, y + 3.0), (length(figure.median).max(1.0), ROW - 7.0), color);
        let middle = y + ROW / 2.0 - 0.5;
        svg.line((LEFT + length(figure.least), middle), (LEFT + length(figure.most), middle), "#1f2328", 1.0);
        let end = LEFT + length(figure.most) + 8.0;
        svg.words((end, y + 13.0), &in_unit(figure.median, unit), Anchor::Start, "#1f2328", is_ours);
    }
    svg.finish()
}
