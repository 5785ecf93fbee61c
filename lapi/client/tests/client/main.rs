//! The client against peers on real sockets.

#[cfg(test)]
mod decisions;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod transport;
