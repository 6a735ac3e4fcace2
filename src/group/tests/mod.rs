//! Groups: assignors by Kafka's vectors and by brute force, the coordinator by hand and by simulation.

mod assignors;
