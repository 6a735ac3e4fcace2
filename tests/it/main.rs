//! The suite through the public API, one module per promise, and the shape of the repository.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod shape;
