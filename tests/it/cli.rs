//! The command-line tool and the quickstart as a user meets them: processes, streams, exit codes.

mod bench;
mod files;
mod groups;
mod kill;
mod pipelines;
mod quickstart;
mod records;
mod tool;
mod topics;
mod transactions;
mod usage;
