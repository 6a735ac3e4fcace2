//! Tables and pictures of the rows.

mod table;

pub use table::in_unit;

use crate::Result;
use crate::options::Options;
use crate::rows::{self, Row};
use crate::work;

/// Prints the tables of some rows.
pub fn print(rows: &[Row]) {
    for work in work::all() {
        let of_work: Vec<&Row> = rows.iter().filter(|row| row.work == work.name).collect();
        if !of_work.is_empty() {
            println!("\n### {}\n\n{}", work.title, table::of(&work, &of_work));
        }
    }
}

/// Writes tables and pictures of all rows that are kept.
pub fn write(options: &Options) -> Result<()> {
    if options.dry || options.quick {
        return Ok(());
    }
    print(&rows::load(&rows::path())?);
    Ok(())
}
