//! The suite through the public API, one module per promise, and the shape of the repository.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod device_bytes;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod welcome;
