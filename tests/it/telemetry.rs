//! The features `metrics` and `tracing`: what the host's recorder and subscriber hear is what the documentation says.

/// The names in the table of `docs/metrics.md`, with their kinds.
#[cfg(feature = "metrics")]
mod facade {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use millpond::prelude::*;

    #[derive(Debug, Default)]
    struct Heard {
        described: Mutex<BTreeMap<String, &'static str>>,
        values: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    }

    impl Heard {
        fn slot(&self, key: &Key) -> Arc<AtomicU64> {
            let labels: Vec<_> = key.labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
            let name = format!("{}{{{}}}", key.name(), labels.join(","));
            self.values.lock().unwrap().entry(name).or_default().clone()
        }

        fn counter(&self, name: &str) -> u64 {
            self.values.lock().unwrap()[name].load(Ordering::Relaxed)
        }

        fn gauge(&self, name: &str) -> f64 {
            f64::from_bits(self.counter(name))
        }
    }

    impl Recorder for Heard {
        fn describe_counter(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
            self.described.lock().unwrap().insert(key.as_str().to_owned(), "counter");
        }

        fn describe_gauge(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
            self.described.lock().unwrap().insert(key.as_str().to_owned(), "gauge");
        }

        fn describe_histogram(&self, key: KeyName, _: Option<Unit>, _: SharedString) {
            panic!("there is no histogram, but {key:?}");
        }

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.slot(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.slot(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("there is no histogram, but {key:?}");
        }
    }

    fn documented() -> BTreeMap<String, String> {
        let text = include_str!("../../docs/metrics.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `millpond_"));
        rows.map(|row| {
            let mut cells = row.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`');
            (format!("millpond_{name}"), cells.next().unwrap().to_owned())
        })
        .collect()
    }

    #[test]
    fn a_recorder_hears_what_is_documented() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path()).unwrap();
        let topic = broker.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
        let producer = topic.producer().unwrap();
        for n in 0..5_u32 {
            producer.send(Record::new("value").partition(n % 2)).unwrap().wait().unwrap();
        }
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        let mut seen = 0;
        while seen < 5 {
            let records = consumer.poll().wait().unwrap();
            seen += records.iter().count();
            consumer.commit(&records).wait().unwrap();
        }
        producer.send(Record::new("value").partition(0)).unwrap().wait().unwrap();

        let heard = Heard::default();
        metrics::with_local_recorder(&heard, || broker.publish_metrics());
        metrics::with_local_recorder(&heard, || broker.publish_metrics());
        assert_eq!(heard.counter("millpond_records_in_total{topic=t,partition=0}"), 4);
        assert_eq!(heard.counter("millpond_records_out_total{topic=t,partition=0}"), 3);
        assert!(heard.counter("millpond_flushes_total{topic=t,partition=1}") >= 2);
        assert_eq!(heard.gauge("millpond_log_end_offset{topic=t,partition=1}"), 2.0);
        assert_eq!(heard.gauge("millpond_group_members{group=g}"), 1.0);
        assert_eq!(heard.gauge("millpond_group_lag_records{group=g,topic=t,partition=0}"), 1.0);
        assert_eq!(heard.gauge("millpond_group_committed_offset{group=g,topic=t,partition=1}"), 2.0);

        let described = heard.described.lock().unwrap();
        let described: BTreeMap<String, String> =
            described.iter().map(|(name, kind)| (name.clone(), (*kind).to_owned())).collect();
        assert_eq!(described, documented());
        let values = heard.values.lock().unwrap();
        for name in described.keys() {
            let published = values.keys().any(|value| value.split('{').next() == Some(name));
            assert!(published, "{name} is described and never set");
        }
        for value in values.keys() {
            assert!(described.contains_key(value.split('{').next().unwrap()), "{value} is not described");
        }
    }
}

#[cfg(feature = "tracing")]
mod events {
    use std::fmt::Write;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use millpond::config::{Background, BrokerConfig};
    use millpond::prelude::*;
    use millpond::testing::{Failure, Fault, Op, SimEnvironment};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record as SpanRecord};
    use tracing::{Event, Metadata, Subscriber};

    /// Writes every span and event down, a line each.
    #[derive(Clone, Debug, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            match field.name() {
                "message" => self.0.insert_str(0, &format!("{value:?} ")),
                name => write!(self.0, "{name}={value:?} ").unwrap(),
            }
        }
    }

    impl Heard {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }

        fn put(&self, metadata: &Metadata<'_>, line: String) {
            self.0.lock().unwrap().push(format!("{} {}", metadata.level(), line.trim_end()));
        }
    }

    impl Subscriber for Heard {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "millpond"
        }

        fn new_span(&self, span: &Attributes<'_>) -> Id {
            let mut line = Line(String::new());
            span.record(&mut line);
            self.put(span.metadata(), format!("span {} {}", span.metadata().name(), line.0));
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut line = Line(String::new());
            event.record(&mut line);
            self.put(event.metadata(), line.0);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    fn open(sim: &SimEnvironment) -> Broker {
        let manual = BrokerConfig::new().background(Background::Manual);
        Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
    }

    /// Runs with everything of this thread told. Where there is one listener only, `tracing` asks the thread that meets an
    /// event first whether anybody wants it: of another test, where nobody does.
    fn listen(heard: &Heard, run: impl FnOnce()) {
        let _another = tracing::Dispatch::new(Heard::default());
        tracing::subscriber::with_default(heard.clone(), run);
    }

    #[track_caller]
    fn assert_heard(heard: &Heard, expected: &[&str]) {
        let lines = heard.take();
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{line}: {expected}");
        }
    }

    #[test]
    fn openings_rolls_retention_and_rebalances_are_told() {
        let heard = Heard::default();
        let sim = SimEnvironment::new(8);
        listen(&heard, || {
            let broker = open(&sim);
            assert_heard(&heard, &["INFO span open dir=/data", "INFO opened partitions=0 clean=true"]);
            let config = TopicConfig::new()
                .durability(Durability::Memory)
                .segment_size(ByteSize::kib(4))
                .retention(Retention::age(Duration::from_secs(60)));
            let topic = broker.create_topic("t", config).unwrap();
            let producer = topic.producer().unwrap();
            let value = [b'v'; 1000];
            for _ in 0..4 {
                producer.send(Record::new(&value)).unwrap().wait().unwrap();
            }
            assert_heard(&heard, &["DEBUG rolled partition=t-0 base_offset=3"]);

            let mut first = broker.group("g").unwrap().join("t").unwrap();
            drop(first.poll().wait().unwrap());
            assert_heard(&heard, &["INFO joined group=g", "INFO assigned group=g"]);
            drop(first);
            assert_heard(&heard, &["INFO left group=g"]);

            sim.clock().advance(Duration::from_secs(61));
            broker.tick().unwrap();
            let expected = [
                "DEBUG rolled partition=t-0 base_offset=4",
                "INFO retained partition=t-0 segments=2 log_start_offset=4",
            ];
            assert_heard(&heard, &expected);

            let after = SimEnvironment::on(sim.disk().after_kill(), 9);
            let again = open(&after);
            let lines = heard.take();
            assert!(lines.iter().any(|line| line.starts_with("INFO recovered partition=t-0")), "{lines:#?}");
            assert!(lines.last().unwrap().starts_with("INFO opened partitions=2 clean=false"), "{lines:#?}");
            drop((again, broker));
        });
    }

    #[test]
    fn a_failed_flush_is_told() {
        let heard = Heard::default();
        let sim = SimEnvironment::new(10);
        listen(&heard, || {
            let broker = open(&sim);
            let producer = broker.create_topic("t", TopicConfig::new()).unwrap().producer().unwrap();
            producer.send(Record::new("held")).unwrap().wait().unwrap();
            heard.take();
            sim.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
            producer.send(Record::new("lost")).unwrap().wait().unwrap_err();
            assert_heard(&heard, &["ERROR flush failed partition=t-0"]);
        });
    }
}
