//! Append in batches of 100, nothing synced.

use super::append::{SIZES, run};
use super::{Call, Chart, ChartKind, Unit, Work, column, files};

pub fn work() -> Work {
    Work {
        name: "batch",
        title: "Append in batches of 100",
        what: "One thread, 100 records a call, by the best call there is for that; nothing synced.",
        columns: SIZES.iter().map(|(_, name)| column(name, name, "rate", Unit::Rate)).collect(),
        takes: files,
        warm: 1024,
        run: |bench| run(bench, Call::Batch(100)),
        charts: vec![
            Chart { file: "batch-100", title: "Batches of 100 x 100 B", kind: ChartKind::Bars { column: 0 } },
            Chart { file: "batch-1k", title: "Batches of 100 x 1 KiB", kind: ChartKind::Bars { column: 1 } },
        ],
    }
}
