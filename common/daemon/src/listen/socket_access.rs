//! Access to a unix socket: mode and group of its file.

use std::fs;

use rustix::process::{Gid, getegid, geteuid, getgroups};

/// Mode and group of a unix socket. Connecting needs write permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAccess {
    /// Permission bits.
    pub mode: u32,
    /// Name or number of the group; `None` is the process's own.
    pub group: Option<String>,
}

/// Owner and group.
impl Default for SocketAccess {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

/// The group with this name or number, if the process may give a file to it.
pub(super) fn usable_group(name: &str) -> Result<Gid, String> {
    let groups =
        fs::read_to_string("/etc/group").map_err(|cause| format!("cannot read /etc/group: {cause}"))?;
    let id = find_group(&groups, name).ok_or_else(|| {
        format!("there is no group {name} in /etc/group; make it, or name another listen_socket_group")
    })?;
    let group = Gid::from_raw(id);
    let is_member = group == getegid() || getgroups().is_ok_and(|groups| groups.contains(&group));
    if is_member || geteuid().is_root() {
        Ok(group)
    } else {
        Err(format!(
            "this user is no member of the group {name}, and may not give the socket to it; add the user"
        ))
    }
}

/// The number of a group in the text of `/etc/group`; a number needs no entry.
fn find_group(groups: &str, name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number() {
        const GROUPS: &str = "root:x:0:\n# remark\ncrowdsec:x:998:a,b\nbad\ncrowd:x:many:\n";
        for (name, id) in [
            ("crowdsec", Some(998)),
            ("root", Some(0)),
            ("1234", Some(1234)),
            ("crowd", None),
            ("bad", None),
            ("", None),
        ] {
            assert_eq!(find_group(GROUPS, name), id, "{name}");
        }
        assert!(usable_group(&getegid().as_raw().to_string()).is_ok());
    }
}
