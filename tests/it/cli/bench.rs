//! `bench`, in a hurry.

use super::tool::Tool;

#[test]
fn bench_reports_every_measurement_and_leaves_nothing_behind() {
    let tool = Tool::new();
    let done = tool.run("bench --seconds 0.01").ok();
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines.len(), 17, "{}", done.text());
    for what in ["send  ", "read  ", "send + wait  ", "send to read  "] {
        assert_eq!(
            lines.iter().filter(|line| line.starts_with(what) && line.contains(" records/s")).count(),
            4
        );
    }
    assert_eq!(std::fs::read_dir(tool.data()).unwrap().count(), 0);
}
