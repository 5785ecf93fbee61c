//! Joins fresh hosts by one Ethernet segment, in a network namespace of its own.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::fresh_host::FreshHost;
use crate::outcome::{Doing, Outcome};
use crate::tools;
use crate::wait::eventually;

/// The segment; it ends with this value.
pub struct FreshNetwork {
    // Keeps the namespace.
    switch: Child,
    hosts: usize,
}

impl Drop for FreshNetwork {
    fn drop(&mut self) {
        let _ = self.switch.kill();
        let _ = self.switch.wait();
    }
}

impl FreshNetwork {
    /// A segment on which this test itself has an address, with a prefix of 8 bits.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(own: Ipv4Addr) -> Outcome<Self> {
        let mut switch = Command::new("unshare");
        switch.args(["--net", "--kill-child", "--fork", "sleep", "infinity"]).stdin(Stdio::null());
        let switch = switch.spawn().doing("starting unshare")?;
        let (network, here) = (Self { switch, hosts: 0 }, std::fs::read_link("/proc/self/ns/net")?);
        eventually("the segment has a namespace", || {
            Ok(std::fs::read_link(format!("/proc/{}/ns/net", network.switch.id()))? != here)
        })?;
        network.run(&format!(
            "ip link set lo up && ip link add segment type bridge && ip addr add {own}/8 dev segment && \
             ip link set segment up"
        ))?;
        Ok(network)
    }

    /// Connects a host.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn connect(&mut self, host: &FreshHost, address: Ipv4Addr) -> Outcome {
        self.hosts += 1;
        let (port, process) = (self.hosts, host.first_process());
        self.run(&format!(
            "ip link add port{port} type veth peer name eth0 netns {process} && ip link set port{port} master segment up"
        ))?;
        let inside = format!("ip addr add {address}/8 dev eth0 && ip link set eth0 up");
        tools::output(Command::new("nsenter").args([
            "--net",
            "--target",
            &process.to_string(),
            "sh",
            "-c",
            &inside,
        ]))?;
        Ok(())
    }

    /// A command that runs on the segment, with this machine's files.
    ///
    /// # Errors
    /// When the peers are not unpacked.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Outcome<Command> {
        let mut command = tools::command("nsenter")?;
        command.args(["--net", "--target", &self.switch.id().to_string()]).arg(program);
        Ok(command)
    }

    fn run(&self, script: &str) -> Outcome {
        tools::output(self.command("sh")?.args(["-c", script])).map(drop)
    }
}
