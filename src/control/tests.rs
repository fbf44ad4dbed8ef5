use super::*;
use crate::config::Config;
use crate::domain::state::State;

/// A daemon that says when it was asked, to tell it from others.
fn daemon(path: &Path, second: i64) -> impl Future<Output = watch::Sender<bool>> {
    let path = path.to_owned();
    async move {
        let socket = Socket::open(&path).await.unwrap();
        let (asks, mut requests) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(socket.serve(asks, stopped));
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Status(answer) | Request::Glance(answer) => {
                        let at = jiff::Timestamp::from_second(second).unwrap();
                        let config = Config::parse("test", "").unwrap();
                        let _ = answer.send(Status::of(&config, &State::default(), at));
                    }
                    Request::Command(CommandRequest { service, command, by, answer }) => {
                        let reason = match command {
                            OperatorCommand::Hold { reason } | OperatorCommand::Reject { reason } => {
                                reason.unwrap_or_default()
                            }
                            OperatorCommand::Deploy
                            | OperatorCommand::DeployNow
                            | OperatorCommand::Release
                            | OperatorCommand::Rollback { .. }
                            | OperatorCommand::Approve { .. } => String::new(),
                        };
                        let _ = answer.send(Err(Refused(format!("{service}|{reason}|{by}|\u{1b}[2J\n"))));
                    }
                }
            }
        });
        stop
    }
}

async fn answers(path: &Path) -> Option<i64> {
    match ask(path, &Ask::Status).await {
        Ok(Told::Status(status)) => Some(status.at.as_second()),
        Ok(Told::Done(_) | Told::Refused(_)) => panic!("a status was asked for"),
        Err(Unreachable::Absent(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_socket_of_another_daemon_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let first = daemon(&path, 1).await;
    let refused = Socket::open(&path).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "another daemon answers on the control socket {}: stop it, or give this one another [control] socket",
            path.display()
        )
    );
    drop(refused);
    assert_eq!(answers(&path).await, Some(1), "the first one is still reached");
    first.send(true).unwrap();
    while path.exists() {
        tokio::task::yield_now().await;
    }
    let _second = daemon(&path, 2).await;
    assert_eq!(answers(&path).await, Some(2));
}

#[tokio::test]
async fn what_a_dead_daemon_left_is_replaced_and_what_is_no_socket_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the file stays when its process dies");
    let _daemon = daemon(&path, 7).await;
    assert_eq!(answers(&path).await, Some(7));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    let error = crate::wording::chain(&Socket::open(&file).await.unwrap_err());
    assert!(error.ends_with("there is something that is no socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn of_daemons_that_start_in_one_instant_on_an_abandoned_socket_one_gets_it() {
    const DAEMONS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let path = folder.path().join(format!("{round}.sock"));
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(DAEMONS);
        let opened: Vec<Result<Socket, NotOpened>> = std::thread::scope(|scope| {
            let daemon = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                start.wait();
                let opened = runtime.block_on(Socket::open(&path));
                (runtime, opened)
            };
            let daemons: Vec<_> = (0..DAEMONS).map(|_| scope.spawn(daemon)).collect();
            // The listeners live as long as the runtimes that they were made in.
            let (runtimes, opened): (Vec<_>, Vec<_>) = daemons.into_iter().map(|one| one.join().unwrap()).unzip();
            drop(runtimes);
            opened
        });
        let (ours, refused): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        assert_eq!(ours.len(), 1, "round {round}: {refused:?}");
        assert!(refused.iter().all(|one| matches!(one, Err(NotOpened::Taken(_)))), "round {round}: {refused:?}");
        let file = ours.iter().flatten().next().and_then(|socket| socket.file);
        assert_eq!(FileId::at(&path), file, "round {round}: it is reached by its name");
    }
}

#[tokio::test]
async fn only_its_own_socket_is_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let first = Socket::open(&path).await.unwrap();
    // Somebody took the file away, and another daemon made one of its own.
    std::fs::remove_file(&path).unwrap();
    let _second = daemon(&path, 2).await;
    drop(first);
    assert_eq!(answers(&path).await, Some(2));
}

#[tokio::test]
async fn what_an_operator_says_is_fit_to_be_shown_before_anybody_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let _daemon = daemon(&path, 1).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let ask = r#"{"order":{"service":"web/a\n2026-01-01 WARN forged","order":{"is":"hold","reason":"\u001b[31mred \u202eback"}}}"#;
    stream.write_all(format!("{ask}\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let Told::Refused(text) = serde_json::from_slice(&answer).unwrap() else { panic!("it is refused") };
    let said = text.as_str();
    assert!(said.starts_with("web/a 2026-01-01 WARN forged|\u{fffd}[31mred \u{fffd}back|"), "{said:?}");
    assert!(said.ends_with("|\u{fffd}[2J "), "{said:?}");
}
