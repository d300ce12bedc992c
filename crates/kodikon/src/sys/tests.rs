//! Each system call once for real, and the readers of the kernel's bytes on bytes no kernel wrote.

use std::os::unix::fs::FileExt as _;

use super::*;

#[test]
fn boot_time_is_never_behind_monotonic_time() {
    let awake = monotonic_time();
    let counted = boot_time();
    assert!(counted >= awake, "{counted:?} {awake:?}");
    assert!(awake > Duration::ZERO);
}

#[test]
fn a_thread_has_a_shorter_turn_and_is_scheduled_as_before_otherwise() {
    let before = scheduling().unwrap();
    set_slice(Some(Duration::from_micros(100))).unwrap();
    let after = scheduling().unwrap();
    // A kernel before 6.12 tells of no slice.
    assert!([0, 100_000].contains(&after.runtime), "{after:?}");
    assert_eq!(Scheduling { runtime: before.runtime, ..after }, before);
    set_slice(None).unwrap();
    assert_eq!(scheduling().unwrap(), before);
}

#[test]
fn random_bytes_differ_from_call_to_call() {
    let (mut first, mut second) = ([0u8; 32], [0u8; 32]);
    random(&mut first).unwrap();
    random(&mut second).unwrap();
    assert_ne!(first, second);
    assert_ne!(first, [0; 32]);
    random(&mut []).unwrap();
}

#[test]
fn a_datagram_tells_where_it_came_in_and_what_it_was_sent_to() {
    for (host, v6) in [("127.0.0.1", false), ("::1", true)] {
        let ip: IpAddr = host.parse().unwrap();
        let Ok(receiver) = UdpSocket::bind((ip, 0)) else {
            assert!(v6, "every test host has IPv4");
            continue;
        };
        report_arrival(receiver.as_fd(), v6).unwrap();
        let sender = UdpSocket::bind((ip, 0)).unwrap();
        sender.send_to(b"hello", receiver.local_addr().unwrap()).unwrap();

        let mut buffer = [0; 16];
        let received = receive(receiver.as_fd(), &mut buffer).unwrap();
        assert_eq!(&buffer[..received.len], b"hello");
        assert_eq!(received.from, sender.local_addr().unwrap());
        assert_eq!(received.destination, Some(ip));
        assert_eq!(received.accepted_for.is_some(), !v6);
        assert_ne!(received.interface, 0, "the loopback has a number");
        assert!(!received.truncated);
    }
}

#[test]
fn a_datagram_longer_than_the_buffer_is_marked_and_stays_within_it() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&[7; 100], receiver.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 10];
    let received = receive(receiver.as_fd(), &mut buffer).unwrap();
    assert_eq!((received.len, received.truncated), (10, true));
}

#[test]
fn an_empty_socket_would_block() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = receive(socket.as_fd(), &mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(take_error(socket.as_fd()).unwrap(), None);
}

#[test]
fn a_closed_port_is_found_in_the_error_queue_with_the_address_we_sent_to() {
    for (host, level, name) in
        [("127.0.0.1", libc::IPPROTO_IP, libc::IP_RECVERR), ("::1", libc::IPPROTO_IPV6, libc::IPV6_RECVERR)]
    {
        let ip: IpAddr = host.parse().unwrap();
        let Ok(socket) = UdpSocket::bind((ip, 0)) else {
            assert!(ip.is_ipv6(), "every test host has IPv4");
            continue;
        };
        set_option(socket.as_fd(), level, name, 1).unwrap();
        let closed = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap();
        socket.send_to(b"anyone?", closed).unwrap();

        let queued = take_error(socket.as_fd()).unwrap().expect("on the loopback the answer is there at once");
        assert_eq!(queued.destination, Some(closed));
        assert_eq!(queued.record.errno, libc::ECONNREFUSED);
        assert_eq!(queued.record.origin, if ip.is_ipv6() { 3 } else { 2 });
        assert_eq!(queued.record.offender, Some(ip));
        assert_eq!(take_error(socket.as_fd()).unwrap(), None, "one probe, one record");
    }
}

#[test]
fn datagrams_beyond_the_receive_buffer_are_counted_as_drops() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(drops(receiver.as_fd()).unwrap(), 0);
    socket2::SockRef::from(&receiver).set_recv_buffer_size(2_048).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..64 {
        sender.send_to(&[0; 1_000], receiver.local_addr().unwrap()).unwrap();
    }
    assert!(drops(receiver.as_fd()).unwrap() > 0);
}

#[test]
fn the_netlink_socket_answers_a_dump() {
    let socket = netlink_socket().unwrap();
    let mut request = [0u8; 20];
    request[..4].copy_from_slice(&20u32.to_ne_bytes());
    request[4..6].copy_from_slice(&18u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    socket.send(&request).unwrap();
    let mut buffer = vec![0; 32_768];
    let len = socket.recv(&mut buffer).expect("a dump is ready when the request returns");
    assert!(len > 16, "{len}");
}

#[test]
fn an_option_on_something_that_is_no_socket_is_an_error() {
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(report_arrival(file.as_fd(), false).is_err());
    assert!(drops(file.as_fd()).is_err());
    assert!(receive(file.as_fd(), &mut [0; 4]).is_err());
}

#[test]
fn control_messages_end_where_their_length_lies() {
    let message = |len: usize, data: &[u8]| {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend(libc::IPPROTO_IP.to_ne_bytes());
        bytes.extend(libc::IP_PKTINFO.to_ne_bytes());
        bytes.extend(data);
        bytes
    };
    let head = WORD + 8;
    let table: &[(&[u8], usize)] = &[
        (&[], 0),
        (&message(head, &[]), 1),
        (&message(head - 1, &[]), 0),
        (&message(0, &[1; 12]), 0),
        (&message(usize::MAX, &[1; 12]), 0),
        (&message(head + 12, &[1; 12]), 1),
        (&message(head + 12, &[1; 11]), 0),
        (&[message(head + 8, &[1; 8]), message(head + 8, &[2; 8])].concat(), 2),
    ];
    for (index, &(bytes, expected)) in table.iter().enumerate() {
        assert_eq!(ControlMessages(bytes).count(), expected, "row {index}");
    }
}

#[test]
fn no_bytes_make_the_readers_panic() {
    let mut bytes = [0u8; 96];
    for round in 0..20_000 {
        random(&mut bytes).unwrap();
        let len = round % bytes.len();
        if round % 2 == 0 {
            // Half of the rounds carry a plausible head, so that the inner readers are reached.
            bytes[..WORD].copy_from_slice(&(len + round % 5).to_ne_bytes());
            bytes[WORD..WORD + 4].copy_from_slice(&libc::IPPROTO_IP.to_ne_bytes());
            let kind = if round % 4 == 0 { libc::IP_RECVERR } else { libc::IP_PKTINFO };
            bytes[WORD + 4..WORD + 8].copy_from_slice(&kind.to_ne_bytes());
        }
        let mut received = Received {
            len: 0,
            truncated: false,
            from: ([0; 4], 0).into(),
            interface: 0,
            destination: None,
            accepted_for: None,
        };
        for control in ControlMessages(&bytes[..len]) {
            read_packet_info(control, &mut received);
            let _ = parse_error_record(control);
        }
        let _ = parse_address(&bytes[..len]);
    }
}

#[tokio::test]
async fn a_timer_set_twice_fires_for_the_later_setting_only() {
    let timer = Timer::new().unwrap();
    timer.set(Some(boot_time() + Duration::from_secs(3_600))).unwrap();
    timer.set(Some(Duration::ZERO)).unwrap();
    tokio::time::timeout(Duration::from_secs(5), timer.fired()).await.expect("due at once").unwrap();
    timer.set(Some(Duration::MAX)).unwrap();
    tokio::time::timeout(Duration::from_millis(20), timer.fired()).await.unwrap_err();
}

/// What tokio's epoll instance waits for on a descriptor, as the kernel tells it.
fn watched_events(fd: &impl AsRawFd) -> Vec<u32> {
    let prefix = format!("tfd: {:8} events: ", fd.as_raw_fd());
    let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let texts: Vec<String> = infos.filter_map(|info| std::fs::read_to_string(info.path()).ok()).collect();
    let of_fd = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix(&prefix));
    of_fd.map(|rest| u32::from_str_radix(rest.split_whitespace().next().unwrap(), 16).unwrap()).collect()
}

#[tokio::test]
async fn a_datagram_that_has_left_does_not_wake_who_waits_for_others() {
    let socket = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let watched = watch_receiving(socket()).unwrap();
    let usual = tokio::net::UdpSocket::from_std(socket()).unwrap();
    let is_woken_by = |events: &[u32], kind: c_int| events.iter().any(|events| events & kind as u32 != 0);
    let (ours, theirs) = (watched_events(&watched), watched_events(&usual));
    assert!(is_woken_by(&ours, libc::EPOLLIN) && !is_woken_by(&ours, libc::EPOLLOUT), "{ours:x?}");
    assert!(is_woken_by(&theirs, libc::EPOLLOUT), "tokio's own are woken by it: {theirs:x?}");
}

#[test]
fn what_a_program_does_not_run_is_not_kept_mapped() {
    // Of the code of this very program: where it lies, and how much of it is mapped.
    let code = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let here = what_a_program_does_not_run_is_not_kept_mapped as *const () as usize;
        let mut range = 0..0;
        for line in maps.lines() {
            let (first, rest) = line.split_once(' ').unwrap();
            if let Some((begin, end)) = first.split_once('-') {
                let at = |text| usize::from_str_radix(text, 16).unwrap();
                range = at(begin)..at(end);
            } else if first == "Rss:" && range.contains(&here) {
                return (range, rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap());
            }
        }
        panic!("this function lies nowhere: {maps}");
    };
    // As a start that needs everything would, read all of it.
    let (range, _) = code();
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut bytes = vec![0; range.len()];
    memory.read_exact_at(&mut bytes, u64::try_from(range.start).unwrap()).unwrap();
    let (_, before) = code();
    assert!(unmap_idle_program() >= range.len());
    let (_, after) = code();
    assert!(after < before / 2, "{after} of {before} KiB");
}
