//! What `top` shows of two sights of a directory: the example's own code, drawn to memory.

use std::time::Duration;

use millpond::config::{Background, BrokerConfig};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::{Observer, Offset};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

#[path = "../../examples/millpond/top/frame.rs"]
mod frame;

use frame::Board;

/// A topic of four partitions, of which one gets most, and a group that is behind; ten seconds go by.
fn board() -> Board {
    let sim = SimEnvironment::new(1);
    let manual = BrokerConfig::new().background(Background::Manual);
    let broker = Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap();
    let config = TopicConfig::new().partitions(4).durability(Durability::Memory);
    let clicks = broker.create_topic("clicks", config.segment_size(ByteSize::mib(1))).unwrap();
    broker.create_topic("quiet", TopicConfig::new()).unwrap();
    let producer = clicks.producer().unwrap();
    let send = |partition: u32, count: u32| {
        let records = (0..count).map(|_| Record::new("x").partition(partition));
        producer.send_batch(records).unwrap().wait().unwrap();
    };
    (0..4).for_each(|partition| send(partition, 10));
    let group = broker.group("billing").unwrap();
    group.reset("clicks", Offset::ZERO).unwrap();
    let mut watch = Observer::open_in(sim.environment(), "/data").unwrap().watch();
    let before = watch.look().unwrap();
    send(2, 90);
    send(3, 10);
    group.reset("clicks", Offset::new(5).unwrap()).unwrap();
    sim.clock().advance(Duration::from_secs(10));
    Board::of("data", &watch.look().unwrap(), Some(&before))
}

#[test]
fn one_frame_as_text() {
    let text = board().text(100);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |words: &[&str]| {
        let found = rows.iter().position(|row| row.starts_with(words));
        found.unwrap_or_else(|| panic!("{words:?} in {text}"))
    };
    assert!(text.starts_with("millpond top  data (in use)  2 topics, 1 group\n"), "{text}");
    assert_eq!(rows[row(&["TOPIC"])], ["TOPIC", "PARTITIONS", "RECORDS", "RECORDS/S", "SIZE", "HOTTEST"]);
    let clicks = &rows[row(&["clicks", "4", "140", "10"])];
    assert_eq!(&clicks[clicks.len() - 2..], ["2", "(90%)"]);
    assert_eq!(rows[row(&["quiet", "1", "0", "0"])].last(), Some(&"-"));
    // Furthest behind first: 95 records of partition 2, which are ten seconds old.
    let worst = row(&["billing", "none", "clicks-2", "5"]);
    assert_eq!(rows[worst][4..], ["0", "100", "95", "10.0", "s"]);
    assert_eq!(worst, row(&["GROUP"]) + 1);
    assert!(row(&["billing", "none", "clicks-3"]) > worst);
}

#[test]
fn a_small_terminal_shows_what_fits() {
    let board = board();
    for (width, height) in [(200, 50), (80, 24), (40, 10), (20, 3), (1, 1)] {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| board.draw(frame)).unwrap();
    }
    let mut terminal = Terminal::new(TestBackend::new(100, 24)).unwrap();
    terminal.draw(|frame| board.draw(frame)).unwrap();
    let text: String = terminal.backend().buffer().content().iter().map(|cell| cell.symbol()).collect();
    for words in ["millpond top", "clicks", "quiet", "billing", "clicks-2"] {
        assert!(text.contains(words), "{words}");
    }
    assert_eq!(board.text(100), board.text(100));
}

#[test]
fn without_an_earlier_sight_there_are_no_rates() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic("clicks", TopicConfig::new()).unwrap();
    let sight = Observer::open(dir.path()).unwrap().watch().look().unwrap();
    let text = Board::of("data", &sight, None).text(100);
    let row = text.lines().find(|line| line.starts_with("clicks")).unwrap();
    assert_eq!(row.split_whitespace().nth(3), Some("-"), "{text}");
}
