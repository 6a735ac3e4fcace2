//! What `top` shows: from two sights of a directory to a picture of it.
//!
//! ```text
//!   Sight, Sight before --> Board (plain rows) --> draw(Frame)       a terminal
//!                                              `-> text(width)       one frame as lines
//! ```
//!
//! Invariants: no I/O and no clock: rates come from the times of the two sights; what does not fit is left out at
//! the end of a table, never in the middle of a row.

use std::time::Duration;

use millpond::broker::{ObservedGroup, PartitionDescription, PartitionLag, Sight, TopicDescription};
use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

/// All that is shown, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Board {
    title: String,
    topics: Vec<[String; 6]>,
    groups: Vec<[String; 8]>,
}

const TOPICS: [&str; 6] = ["TOPIC", "PARTITIONS", "RECORDS", "RECORDS/S", "SIZE", "HOTTEST"];
const GROUPS: [&str; 8] =
    ["GROUP", "MEMBERS", "PARTITION", "COMMITTED", "COMMITTED/S", "END", "LAG", "BEHIND"];

impl Board {
    /// Of what is seen now, with rates since `before`.
    pub(crate) fn of(data: &str, now: &Sight, before: Option<&Sight>) -> Board {
        let over = before.and_then(|before| now.at.since(before.at)).filter(|over| !over.is_zero());
        let rates = before.zip(over);
        let state = if now.live { "in use" } else { "not open" };
        let (topics, groups) = (count(now.topics.len(), "topic"), count(now.groups.len(), "group"));
        let mut rows: Vec<(u64, [String; 8])> =
            now.groups.iter().flat_map(|group| group_rows(group, now.live, rates)).collect();
        // Those furthest behind come first.
        rows.sort_by_key(|(lag, row)| (std::cmp::Reverse(*lag), row.clone()));
        let missing = match now.unreadable().len() {
            0 => String::new(),
            more => format!("  {} cannot be read: see verify", count(more, "partition")),
        };
        Board {
            title: format!("millpond top  {data} ({state})  {topics}, {groups}{missing}"),
            topics: now.topics.iter().map(|topic| topic_row(topic, rates)).collect(),
            groups: rows.into_iter().map(|(_, row)| row).collect(),
        }
    }

    /// Draws it.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let topics = u16::try_from(self.topics.len() + 2).unwrap_or(u16::MAX);
        let half = frame.area().height / 2;
        let areas = [Constraint::Length(2), Constraint::Max(topics.min(half.max(4))), Constraint::Min(0)];
        let [title, above, below] = Layout::vertical(areas).areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Paragraph::new(Line::styled(self.title.as_str(), bold)), title);
        frame.render_widget(table(TOPICS, &self.topics), above);
        frame.render_widget(table(GROUPS, &self.groups), below);
    }

    /// One frame as lines, as wide as this, and as high as it needs.
    pub(crate) fn text(&self, width: u16) -> String {
        let height = u16::try_from(self.topics.len().max(2) * 2 + self.groups.len() + 8).unwrap_or(u16::MAX);
        let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height.min(u16::MAX / width.max(1))));
        let Ok(_) = terminal.draw(|frame| self.draw(frame));
        let buffer = terminal.backend().buffer();
        let mut text = String::new();
        for row in buffer.content().chunks(usize::from(width.max(1))) {
            let line: String = row.iter().map(|cell| cell.symbol()).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// Each column is as wide as its widest cell.
fn table<'a, const N: usize>(head: [&'a str; N], rows: &'a [[String; N]]) -> Table<'a> {
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<Constraint> =
        (0..N).map(|column| Constraint::Length(u16::try_from(widest(column)).unwrap_or(u16::MAX))).collect();
    let head = Row::new(head).style(Style::new().add_modifier(Modifier::BOLD));
    Table::new(rows.iter().map(|row| Row::new(row.iter().map(String::as_str))), widths)
        .header(head)
        .column_spacing(2)
}

type Rates<'a> = Option<(&'a Sight, Duration)>;

fn topic_row(topic: &TopicDescription, rates: Rates<'_>) -> [String; 6] {
    let records: u64 = topic.partitions().iter().map(kept).sum();
    let before = rates.map(|(before, over)| {
        let known = before.topics.iter().find(|known| known.id() == topic.id());
        let grown =
            topic.partitions().iter().map(|partition| (partition.partition(), grown(partition, known)));
        (grown.collect::<Vec<_>>(), over)
    });
    let (rate, hottest) = match &before {
        Some((grown, over)) => {
            let sum: u64 = grown.iter().map(|(_, count)| count).sum();
            (per_second(sum, *over), hottest(grown, sum))
        }
        None => ("-".into(), "-".into()),
    };
    let count = topic.partitions().len().to_string();
    [topic.name().to_string(), count, records.to_string(), rate, size(topic.size_bytes()), hottest]
}

fn kept(partition: &PartitionDescription) -> u64 {
    partition.log_end_offset().distance_from(partition.log_start_offset()).unwrap_or(0)
}

/// How many records have come since; a partition that was not there had none.
fn grown(partition: &PartitionDescription, known: Option<&TopicDescription>) -> u64 {
    let before = known.and_then(|topic| {
        let same = |known: &&PartitionDescription| known.partition() == partition.partition();
        topic.partitions().iter().find(same).map(PartitionDescription::log_end_offset)
    });
    partition.log_end_offset().distance_from(before.unwrap_or_default()).unwrap_or(0)
}

/// The partition that got most, and its share, where there are several and anything came.
fn hottest(grown: &[(u32, u64)], sum: u64) -> String {
    match grown.iter().max_by_key(|(number, count)| (*count, std::cmp::Reverse(*number))) {
        Some((number, count)) if sum > 0 && grown.len() > 1 => {
            format!("{number} ({}%)", u128::from(*count) * 100 / u128::from(sum))
        }
        _ => "-".into(),
    }
}

fn group_rows(group: &ObservedGroup, live: bool, rates: Rates<'_>) -> Vec<(u64, [String; 8])> {
    let members = if live && group.has_members() { "yes" } else { "none" };
    let before = rates.and_then(|(before, over)| {
        let known = before.groups.iter().find(|known| known.id() == group.id())?;
        Some((known, over))
    });
    let row = |lag: &PartitionLag| {
        let committed = lag.committed().map(|committed| committed.offset());
        let rate = before.and_then(|(known, over)| {
            let same = known.lag().iter().find(|known| known.partition() == lag.partition())?;
            let from = same.committed()?.offset();
            Some(per_second(committed?.distance_from(from)?, over))
        });
        let dash = || "-".to_owned();
        let row = [
            group.id().to_string(),
            members.to_owned(),
            lag.partition().to_string(),
            committed.map_or_else(dash, |offset| offset.to_string()),
            rate.unwrap_or_else(dash),
            lag.end().to_string(),
            lag.records().to_string(),
            lag.time().map_or_else(dash, time),
        ];
        (lag.records(), row)
    };
    group.lag().iter().map(row).collect()
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn per_second(count: u64, over: Duration) -> String {
    format!("{:.0}", count as f64 / over.as_secs_f64())
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut size = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

fn time(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds @ 3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
