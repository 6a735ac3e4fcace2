//! What may be lent and what not; over heap pages, so that Miri can watch.

use std::sync::Mutex;

use super::*;

const LEN: usize = 1 << 16;

fn fresh(end: u32, prepared: u64) -> (Arc<SegmentMap>, MapWriter) {
    let region = Region::heap(HeapPages::zeroed(LEN), LEN, None);
    SegmentMap::new(region, Mark { position: end, delta: 0 }, prepared)
}

/// Stores a record into the open batch and publishes up to its end.
fn publish(writer: &mut MapWriter, range: Range<u64>, byte: u8) {
    writer.window(range.clone()).unwrap().fill(byte);
    writer.commit(range.clone());
    writer.publish(Mark { position: u32::try_from(range.end).unwrap(), delta: 1 });
}

#[test]
fn nothing_is_lent_above_the_published_end() {
    let (map, mut writer) = fresh(0, 4096);
    assert_eq!(map.slice(0..0), Some(&[][..]));
    assert_eq!(map.slice(0..1), None);
    publish(&mut writer, 61..100, 1);
    assert_eq!(map.slice(61..100), Some(&[1; 39][..]));
    assert_eq!(map.slice(61..101), None);
    assert_eq!(map.slice(100..100), Some(&[][..]));
    assert_eq!(map.slice(101..101), None);
    assert_eq!(map.published(), Mark { position: 100, delta: 1 });
}

#[test]
fn the_open_header_is_never_lent() {
    let (map, mut writer) = fresh(0, 4096);
    publish(&mut writer, 61..100, 1);
    for start in [0, 1, 60] {
        assert_eq!(map.slice(start..100), None, "from {start}");
    }
    assert_eq!(map.slice(0..61), None);
    let header = writer.open_header().unwrap();
    header.fill(2);
    writer.commit(0..61);
    assert_eq!(map.slice(0..61), None);
    writer.seal(100);
    assert_eq!(map.sealed(), 100);
    assert_eq!(map.slice(0..100), Some(&[[2; 61].as_slice(), &[1; 39]].concat()[..]));

    publish(&mut writer, 161..200, 3);
    assert_eq!(map.slice(0..100).unwrap().len(), 100);
    assert_eq!(map.slice(0..101), None);
    assert_eq!(map.slice(99..200), None);
    assert_eq!(map.slice(160..200), None);
    assert_eq!(map.slice(161..200), Some(&[3; 39][..]));
}

#[test]
fn what_was_there_at_opening_is_sealed() {
    let pages = HeapPages::zeroed(LEN);
    pages.copy_in(0, &[5; 300]);
    let (map, mut writer) =
        SegmentMap::new(Region::heap(pages, LEN, None), Mark { position: 300, delta: 7 }, 300);
    assert_eq!(map.slice(0..300), Some(&[5; 300][..]));
    assert!(writer.window(300..301).is_none(), "not allocated");
    assert!(writer.open_header().is_none(), "not allocated either");
    map.raise_prepared(400);
    map.raise_prepared(350);
    assert_eq!(map.prepared(), 400);
    assert!(writer.window(300..400).is_some());
    assert!(writer.window(300..401).is_none());
    assert!(writer.open_header().is_some());
}

#[test]
fn the_window_refuses_what_is_visible_and_what_is_not_allocated() {
    let (_map, mut writer) = fresh(0, 4096);
    publish(&mut writer, 61..100, 1);
    assert!(writer.window(99..110).is_none(), "published");
    assert!(writer.window(0..61).is_none(), "the header has its own way");
    assert!(writer.window(100..4096).is_some());
    assert!(writer.window(100..4097).is_none());
    let (start, end) = (200, 150);
    assert!(writer.window(start..end).is_none());
    writer.seal(180);
    assert!(writer.window(150..200).is_none(), "sealed but not published");
    assert!(writer.window(180..200).is_some());
}

#[test]
#[should_panic(expected = "assertion failed")]
fn a_published_end_never_falls() {
    let (_map, mut writer) = fresh(0, 4096);
    publish(&mut writer, 61..100, 1);
    writer.publish(Mark { position: 99, delta: 1 });
}

#[test]
#[should_panic(expected = "assertion failed")]
fn a_header_is_never_published_by_half() {
    let (_map, mut writer) = fresh(100, 4096);
    writer.publish(Mark { position: 160, delta: 1 });
}

#[test]
fn a_reader_beside_the_writer_sees_whole_records() {
    const RECORD: u64 = 50;
    let records: u64 = if cfg!(miri) { 20 } else { 1_000 };
    let (map, mut writer) = fresh(0, LEN as u64);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while seen < records {
                let published = map.published();
                for n in seen..u64::from(published.delta) {
                    let start = HEADER_LEN + n * RECORD;
                    let bytes = map.slice(start..start + RECORD).unwrap();
                    assert!(bytes.iter().all(|byte| u64::from(*byte) == n % 251));
                }
                seen = published.delta.into();
                std::hint::spin_loop();
            }
        });
        for n in 0..records {
            let start = HEADER_LEN + n * RECORD;
            writer.window(start..start + RECORD).unwrap().fill((n % 251) as u8);
            let (position, delta) = ((start + RECORD) as u32, n as u32 + 1);
            writer.publish(Mark { position, delta });
        }
        reader.join().unwrap();
    });
}

#[derive(Default)]
struct Heard(Mutex<Vec<Range<u64>>>);

impl StoreTap for Heard {
    fn stored(&self, range: Range<u64>) {
        self.0.lock().unwrap().push(range);
    }
}

#[test]
fn the_tap_hears_of_stores() {
    let heard = Arc::new(Heard::default());
    let region = Region::heap(HeapPages::zeroed(LEN), LEN, Some(heard.clone()));
    assert!(region.populate(0..LEN as u64) && region.forget(0..LEN as u64));
    let (_map, mut writer) = SegmentMap::new(region, Mark { position: 0, delta: 0 }, 4096);
    publish(&mut writer, 61..100, 1);
    let cells = CellMap::new(Region::heap(HeapPages::zeroed(LEN), 128, Some(heard.clone())));
    cells.store(1, 2, 3);
    assert_eq!(*heard.0.lock().unwrap(), [61..100, 80..88]);
}

#[test]
fn cells_are_words_and_nothing_lies_outside() {
    let pages = HeapPages::zeroed(LEN);
    let cells = CellMap::new(Region::heap(pages.clone(), 2 * CELL_LEN + 10, None));
    assert_eq!(cells.cells(), 2);
    cells.store(1, 7, u64::MAX);
    cells.store(2, 0, 1);
    cells.store(0, 8, 1);
    assert_eq!(cells.load(1, 7), u64::MAX);
    assert_eq!((cells.load(2, 0), cells.load(0, 8), cells.load(usize::MAX, 0)), (0, 0, 0));
    let mut bytes = vec![0; LEN];
    pages.copy_out(0, &mut bytes);
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 8);
    assert_eq!(bytes[CELL_LEN + 56..2 * CELL_LEN], [0xFF; 8]);
}

#[test]
fn an_empty_region_is_one() {
    let region = Region::heap(HeapPages::zeroed(0), 0, None);
    assert!(region.is_empty());
    assert_eq!(CellMap::new(region).cells(), 0);
    assert!(!Region::heap(HeapPages::zeroed(1), 1, None).is_empty());
}
