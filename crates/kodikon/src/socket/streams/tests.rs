//! Streams on the real loopback: what a peer, a stranger and a dying process do to them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream as StdStream};

use super::super::Ports;
use super::*;

const SOON: Duration = Duration::from_secs(10);
const PEER: NodeId = NodeId([7; 16]);

#[tokio::test]
async fn frames_pass_both_ways_and_each_side_learns_of_the_end() {
    let (mut near, _) = open();
    let (mut far, port) = open();
    near.wish(connect(port));
    let StreamEvent::Opened { stream: ours, peer: PEER, .. } = next(&mut near).await else { panic!("not opened") };
    let StreamEvent::Offered { stream: theirs, .. } = next(&mut far).await else { panic!("not offered") };
    let long = vec![9; 65_535];
    near.wish(StreamWish::Send { stream: ours, bytes: b"hello".to_vec() });
    near.wish(StreamWish::Send { stream: ours, bytes: long.clone() });
    assert_eq!(next(&mut far).await, StreamEvent::Frame { stream: theirs, bytes: b"hello".to_vec() });
    // The long one does not fit into the kernel at once perhaps, so both sides must have their turns.
    let both = async {
        tokio::select! {
            event = far.next() => event,
            event = near.next() => panic!("{event:?}"),
        }
    };
    assert_eq!(tokio::time::timeout(SOON, both).await.unwrap(), StreamEvent::Frame { stream: theirs, bytes: long });
    far.wish(StreamWish::Send { stream: theirs, bytes: b"answer".to_vec() });
    assert_eq!(next(&mut near).await, StreamEvent::Frame { stream: ours, bytes: b"answer".to_vec() });

    far.wish(StreamWish::Close { stream: theirs });
    assert!(far.open.is_empty());
    assert_eq!(next(&mut near).await, StreamEvent::Ended { stream: ours });
    assert!(near.open.is_empty());
    nothing(&mut far).await;
}

#[tokio::test]
async fn a_frame_in_pieces_is_whole_in_the_end_and_several_in_one_piece_come_apart() {
    let (mut streams, port) = open();
    let mut client = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let StreamEvent::Offered { stream, .. } = next(&mut streams).await else { panic!("not offered") };
    for piece in [&[0][..], &[5], b"he", b"llo\0\x01a\0\x02bc\0"] {
        nothing(&mut streams).await;
        client.write_all(piece).unwrap();
    }
    for frame in [&b"hello"[..], b"a", b"bc"] {
        assert_eq!(next(&mut streams).await, StreamEvent::Frame { stream, bytes: frame.to_vec() });
    }
    nothing(&mut streams).await;
    drop(client);
    assert_eq!(next(&mut streams).await, StreamEvent::Ended { stream }, "half a length is no frame");
}

#[tokio::test]
async fn whoever_says_nothing_within_a_second_is_shown_out() {
    let (mut streams, port) = open();
    let mut silent = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let StreamEvent::Offered { stream, .. } = next(&mut streams).await else { panic!("not offered") };
    let mut talker = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    talker.write_all(&[0, 1, 1]).unwrap();
    let StreamEvent::Offered { stream: kept, .. } = next(&mut streams).await else { panic!("not offered") };
    assert!(matches!(next(&mut streams).await, StreamEvent::Frame { .. }));

    let before = std::time::Instant::now();
    assert_eq!(next(&mut streams).await, StreamEvent::Ended { stream });
    assert!(before.elapsed() < SOON);
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0, "its end is closed");
    assert!(streams.open.contains_key(&kept));
    assert_eq!(streams.stats(), StreamStats { silent: 1, ..StreamStats::default() });
}

#[tokio::test]
async fn the_fifth_silent_connection_from_one_address_is_refused() {
    let (mut streams, port) = open();
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if number < 2 {
            client.write_all(&[0, 1, 1]).unwrap();
            assert!(matches!(next(&mut streams).await, StreamEvent::Offered { .. }));
            assert!(matches!(next(&mut streams).await, StreamEvent::Frame { .. }));
        } else {
            assert!(matches!(next(&mut streams).await, StreamEvent::Offered { .. }), "connection {number}");
        }
        clients.push(client);
    }
    let mut fifth = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    nothing(&mut streams).await;
    assert_eq!((streams.len(), streams.stats().refused), (6, 1));
    assert_eq!(fifth.read(&mut [0; 1]).unwrap_or(0), 0, "closed unread");
}

#[tokio::test]
async fn over_an_interface_that_is_not_used_no_connection_comes_or_goes() {
    let (mut near, _) = open();
    let (mut far, port) = open();
    far.admit(Admission::new(&["eth7".to_owned()], &[], &[]));
    let mut client = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    nothing(&mut far).await;
    assert_eq!((far.len(), far.stats().refused), (0, 1));
    let end = client.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(end, Err(io::ErrorKind::ConnectionReset));

    near.admit(Admission::new(&["eth7".to_owned()], &[], &[]));
    near.wish(connect(port));
    assert_eq!(next(&mut near).await, StreamEvent::Failed { peer: PEER, purpose: StreamUse::Canary });
    assert_eq!(near.len(), 0);
}

#[tokio::test]
async fn what_the_node_does_not_want_is_reset_and_counted_and_what_it_had_wanted_is_not() {
    let (mut streams, port) = open();
    for (said, refused) in [(false, 1), (true, 1)] {
        let mut client = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let StreamEvent::Offered { stream, .. } = next(&mut streams).await else { panic!("no offer") };
        if said {
            client.write_all(&[0, 1, 1]).unwrap();
            assert!(matches!(next(&mut streams).await, StreamEvent::Frame { .. }));
        }
        streams.wish(StreamWish::Close { stream });
        assert_eq!((streams.len(), streams.stats().refused), (0, refused), "said something: {said}");
        let end = client.read(&mut [0; 1]).map_err(|error| error.kind());
        let expected = if said { Ok(0) } else { Err(io::ErrorKind::ConnectionReset) };
        assert_eq!(end, expected, "said something: {said}");
    }
}

#[tokio::test]
async fn a_flood_of_connections_takes_no_more_than_its_places_and_leaves_ours_alone() {
    let (mut near, port) = open();
    let (mut far, far_port) = open();
    near.wish(connect(far_port));
    let StreamEvent::Opened { stream: ours, .. } = next(&mut near).await else { panic!("not opened") };
    assert!(matches!(next(&mut far).await, StreamEvent::Offered { .. }));

    let mut flood = Vec::new();
    for _ in 0..300 {
        let socket = TcpSocket::new_v4().unwrap();
        let client = socket.connect((Ipv4Addr::LOCALHOST, port).into());
        flood.push(tokio::time::timeout(SOON, client).await.unwrap());
        while let Ok(event) = tokio::time::timeout(Duration::ZERO, near.next()).await {
            assert!(!matches!(event, StreamEvent::Ended { stream } if stream == ours));
        }
    }
    assert!(near.len() <= 1 + HALF_OPEN_A_SOURCE, "{}", near.len());
    assert!(near.stats().refused >= 200, "{:?}", near.stats());
    assert!(near.open.contains_key(&ours));
}

#[tokio::test]
async fn sixty_four_stand_and_no_more() {
    let (mut streams, port) = open();
    let mut clients = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut client = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        client.write_all(&[0, 1, 1]).unwrap();
        assert!(matches!(next(&mut streams).await, StreamEvent::Offered { .. }));
        assert!(matches!(next(&mut streams).await, StreamEvent::Frame { .. }));
        clients.push(client);
    }
    streams.wish(connect(port));
    assert_eq!(next(&mut streams).await, StreamEvent::Failed { peer: PEER, purpose: StreamUse::Canary });
    let _one_more = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    nothing(&mut streams).await;
    assert_eq!((streams.len(), streams.stats().refused), (STREAMS_MAX, 2));
}

#[tokio::test]
async fn a_stream_to_where_nobody_listens_fails() {
    let (mut streams, port) = open();
    drop(open());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for to in [closed, 0] {
        streams.wish(connect(to));
        assert_eq!(
            next(&mut streams).await,
            StreamEvent::Failed { peer: PEER, purpose: StreamUse::Canary },
            "port {to}"
        );
    }
    assert_ne!(port, closed);
}

#[tokio::test]
async fn an_empty_frame_or_a_reader_that_never_reads_ends_the_stream() {
    let (mut streams, port) = open();
    let mut client = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let StreamEvent::Offered { stream, .. } = next(&mut streams).await else { panic!("not offered") };
    client.write_all(&[0, 1, 1, 0, 0, 0, 1, 1]).unwrap();
    assert!(matches!(next(&mut streams).await, StreamEvent::Frame { .. }), "what came before it counts");
    assert_eq!(next(&mut streams).await, StreamEvent::Ended { stream });

    let _deaf = StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let StreamEvent::Offered { stream, .. } = next(&mut streams).await else { panic!("not offered") };
    // The kernel's buffers grow to some megabytes each before they take no more.
    for _ in 0..1_000 {
        streams.wish(StreamWish::Send { stream, bytes: vec![1; 60_000] });
        assert!(streams.open.get(&stream).is_none_or(|stream| stream.output.len() <= OUTPUT_MAX));
    }
    assert_eq!(next(&mut streams).await, StreamEvent::Ended { stream });
    assert_eq!(streams.stats().broken, 2);
}

#[tokio::test]
async fn wishes_for_a_stream_that_is_gone_are_nothing() {
    let (mut streams, _) = open();
    streams.wish(StreamWish::Send { stream: StreamId(9), bytes: vec![1] });
    streams.wish(StreamWish::Close { stream: StreamId(9) });
    nothing(&mut streams).await;
}

#[tokio::test]
async fn one_that_talks_without_end_does_not_silence_the_others() {
    let (mut streams, port) = open();
    let mut clients: Vec<StdStream> =
        (0..2).map(|_| StdStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()).collect();
    let chatter: Vec<u8> = [0, 1, 1].repeat(20_000);
    clients[0].set_nonblocking(true).unwrap();
    let _ = clients[0].write(&chatter);
    clients[1].write_all(&[0, 1, 2]).unwrap();
    let mut before = 0;
    loop {
        match next(&mut streams).await {
            StreamEvent::Frame { bytes, .. } if bytes == [2] => break,
            StreamEvent::Frame { .. } => before += 1,
            StreamEvent::Offered { .. } => {}
            ended @ (StreamEvent::Opened { .. } | StreamEvent::Failed { .. } | StreamEvent::Ended { .. }) => {
                panic!("{ended:?}")
            }
        }
        let _ = clients[0].write(&chatter);
    }
    assert!(before <= 2 * READ, "{before} frames came first");
}

fn open() -> (Streams, u16) {
    let ports = Ports::open(29_400).unwrap();
    (Streams::new(ports.tcp), ports.port)
}

fn connect(port: u16) -> StreamWish {
    StreamWish::Connect {
        peer: PEER,
        purpose: StreamUse::Canary,
        to: (Ipv4Addr::LOCALHOST, port).into(),
        interface: None,
    }
}

async fn next(streams: &mut Streams) -> StreamEvent {
    tokio::time::timeout(SOON, streams.next()).await.expect("an event in time")
}

/// Lets everything that is ready be worked on, and expects no event of it.
async fn nothing(streams: &mut Streams) {
    let event = tokio::time::timeout(Duration::from_millis(30), streams.next()).await;
    assert!(event.is_err(), "{event:?}");
}
