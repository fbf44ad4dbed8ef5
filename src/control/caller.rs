//! Who gives a command.

use std::fs;

use crate::domain::printable::PrintableText;

/// What the kernel shows of a user that has no number in this process's user namespace (`/proc/sys/kernel/overflowuid`), unless it was set to
/// something else.
const OVERFLOW: u32 = 65_534;
/// The numbers that users can have: all but the one that stands for none (credentials(7)).
const ALL_USERS: u64 = u32::MAX as u64;

/// The user at the other end of the socket, as the kernel tells: by name where the machine's own list of users has one, else by number. Within
/// a user namespace that hides the caller (`PrivateUsers=` of a systemd unit, a rootless container) nobody can tell, and that is said instead
/// of the name that the number happens to have.
pub(super) fn of(uid: u32) -> PrintableText {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let overflow = read("/proc/sys/kernel/overflowuid").trim().parse().unwrap_or(OVERFLOW);
    name(uid, overflow, &read("/proc/self/uid_map"), &read("/etc/passwd"))
}

fn name(uid: u32, overflow: u32, uid_map: &str, users: &str) -> PrintableText {
    if uid == overflow && hides_users(uid_map) {
        return PrintableText::new("uid unknown: user namespace");
    }
    let number = uid.to_string();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)? == number).then_some(name)
    });
    named.map_or_else(|| PrintableText::from(format!("uid {uid}")), PrintableText::new)
}

/// Whether a user namespace has no number for some users of the machine: user_namespaces(7), "User and group ID mappings". Each line is the
/// first number inside, the first outside, and how many there are. Without the file there is no user namespace.
fn hides_users(uid_map: &str) -> bool {
    let mapped = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    !uid_map.trim().is_empty() && mapped.sum::<u64>() < ALL_USERS
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n\
                         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nevil\u{1b}[2J:x:1001:1001::/:/bin/sh\n";
    const HOST: &str = "         0          0 4294967295\n";
    /// What `PrivateUsers=yes` makes: root, and the service's own user.
    const PRIVATE: &str = "         0          0          1\n       997        997          1\n";

    #[test]
    fn the_caller_is_named_truly_or_not_at_all() {
        for (uid, map, expected) in [
            (0, HOST, "root"),
            (1000, HOST, "alice"),
            (4242, HOST, "uid 4242"),
            (65_534, HOST, "nobody"),
            (65_534, "", "nobody"),
            (65_534, PRIVATE, "uid unknown: user namespace"),
            (0, PRIVATE, "root"),
            (997, PRIVATE, "uid 997"),
            (65_534, "0 100000 65536\n", "uid unknown: user namespace"),
            (1001, HOST, "evil\u{fffd}[2J"),
        ] {
            assert_eq!(name(uid, OVERFLOW, map, USERS).as_str(), expected, "{uid} in {map:?}");
        }
        assert_eq!(
            name(7, 7, PRIVATE, USERS).as_str(),
            "uid unknown: user namespace",
            "the kernel's own number for it"
        );
    }
}
