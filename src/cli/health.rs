//! `health`: for a container's HEALTHCHECK, which has no other program to ask with.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::Exit;
use crate::config::Source;

const WITHIN: Duration = Duration::from_secs(3);

/// Asks where the configuration says that the daemon listens. The daemon keeps the one that it began with, whatever became of the file since:
/// a mistake in it must not make a working daemon look dead.
pub(super) fn execute(source: &Source) -> ExitCode {
    let address = reachable(source.listens_at());
    match ask(address) {
        Ok((true, _)) => ExitCode::SUCCESS,
        Ok((false, text)) => {
            eprintln!("ecs-deployd: the daemon on {address} does not work: {text}");
            ExitCode::from(Exit::Failure)
        }
        Err(error) => {
            eprintln!("ecs-deployd: no answer from {address}: {error}");
            ExitCode::from(Exit::Failure)
        }
    }
}

/// An address that listens on every interface is reached on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn ask(address: SocketAddr) -> io::Result<(bool, String)> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    stream.write_all(format!("GET /healthz HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let ok = head.split(' ').nth(1) == Some("200");
    Ok((ok, body.trim().to_owned()))
}
