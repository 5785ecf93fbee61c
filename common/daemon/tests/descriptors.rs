//! A process without free file descriptors: accepting pauses instead of spinning, and goes on when there are some.

use std::{convert::Infallible, time::Duration};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes};
use palisade_daemon::listen::{Connections, Limits, ListenSocket, Listener, ReceivedBody, bind};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

async fn answer(_: Request<ReceivedBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("here")))
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("time does not run backwards")
}

#[tokio::test(flavor = "multi_thread")]
async fn accepting_pauses_without_descriptors_and_goes_on_with_them() {
    let (connections, stop) =
        (Connections::new(Limits { connections: 1000, ..Limits::default() }), CancellationToken::new());
    let tcp = bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let tasks = TaskTracker::new();
    let (accepting, end) = (connections.clone(), stop.clone());
    tasks.spawn(async move {
        let listener = Listener::new(ListenSocket::Tcp(tcp));
        accepting.accept(listener, tower::service_fn(answer), end).await;
    });
    let (running, end) = (connections.clone(), stop.clone());
    tasks.spawn(async move { running.run(end).await });

    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(60), maximum: before.maximum }).unwrap();
    // Each takes a descriptor here and one of the listener, until there is none.
    let mut clients = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Ok(client) = TcpStream::connect(address).await {
        clients.push(client);
        assert!(Instant::now() < deadline && clients.len() < 1000);
    }
    let used = processor_time();
    sleep(Duration::from_secs(1)).await;
    let used = processor_time() - used;
    assert!(used < Duration::from_millis(500), "{used:?} of a second");
    // The sockets of half of them serve for others.
    clients.truncate(clients.len() / 2);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let asked = timeout(Duration::from_secs(2), async {
            let mut client = TcpStream::connect(address).await?;
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.map(|_| answer)
        });
        if matches!(asked.await, Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200 ")) {
            break;
        }
        assert!(Instant::now() < deadline, "it does not go on");
    }
    setrlimit(Resource::Nofile, before).unwrap();
    stop.cancel();
    tasks.close();
    timeout(Duration::from_secs(20), tasks.wait()).await.expect("it ends");
}
