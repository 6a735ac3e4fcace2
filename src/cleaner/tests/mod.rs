//! Tests of compaction: against a model, with crashes at every call, with faults at every call.

mod crash;
mod model;
mod rules;
mod vectors;
mod world;
