use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, AAAA, CNAME, MX, TXT};

use super::*;
use crate::reactor;

/// A stand-in for a name server, on both transports, in a thread of the test; it counts the questions it answers.
struct Server {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

fn answer(question: &[u8], truncate: bool) -> Vec<u8> {
    let asked = Packet::parse(question).expect("a question");
    let name = asked.questions[0].qname.to_string();
    let mut reply = Packet::new_reply(asked.id());
    reply.questions = asked.questions.clone();
    let mut add = |owner: &'static str, data| reply.answers.push(ResourceRecord::new(Name::new_unchecked(owner), CLASS::IN, 60, data));
    match (name.as_str(), asked.questions[0].qtype) {
        ("host.test", QTYPE::TYPE(TYPE::A)) => add("host.test", RData::A(A { address: 0x0a00_0001 })),
        ("host.test", QTYPE::TYPE(TYPE::AAAA)) => add("host.test", RData::AAAA(AAAA { address: 1 })),
        ("alias.test", QTYPE::TYPE(TYPE::A)) => {
            add("alias.test", RData::CNAME(CNAME(Name::new_unchecked("host.test"))));
            add("host.test", RData::A(A { address: 0x0a00_0001 }));
        }
        ("loop.test", QTYPE::TYPE(TYPE::A)) => add("loop.test", RData::CNAME(CNAME(Name::new_unchecked("loop.test")))),
        ("mail.test", QTYPE::TYPE(TYPE::MX)) => {
            add("mail.test", RData::MX(MX { preference: 10, exchange: Name::new_unchecked("host.test") }));
        }
        ("text.test", QTYPE::TYPE(TYPE::TXT)) => add("text.test", RData::TXT(TXT::new().with_string("v=spf1 -all").expect("a text"))),
        ("long.test", QTYPE::TYPE(TYPE::A)) if truncate => reply.set_flags(PacketFlag::TRUNCATION),
        ("long.test", QTYPE::TYPE(TYPE::A)) => (1..=100).for_each(|address| add("long.test", RData::A(A { address }))),
        ("1.0.0.10.in-addr.arpa", QTYPE::TYPE(TYPE::PTR)) => {
            add("1.0.0.10.in-addr.arpa", RData::PTR(simple_dns::rdata::PTR(Name::new_unchecked("host.test"))));
        }
        ("refused.test", _) => *reply.rcode_mut() = RCODE::Refused,
        ("half.test", QTYPE::TYPE(TYPE::AAAA)) => *reply.rcode_mut() = RCODE::ServerFailure,
        ("half.test", _) => {}
        ("host.test" | "alias.test" | "loop.test" | "long.test", _) => {}
        _ => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.build_bytes_vec().expect("a packet")
}

impl Server {
    fn start() -> Server {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("an address")) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                let question = &buffer[..length];
                // What a forger would send first: another number, another question.
                let mut forged = answer(question, true);
                forged[0] ^= 1;
                udp.send_to(&forged, from).expect("sent");
                udp.send_to(b"noise", from).expect("sent");
                udp.send_to(&answer(question, true), from).expect("sent");
            }
        });
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            for stream in tcp.incoming() {
                let mut stream = stream.expect("a connection");
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("a length");
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).expect("a question");
                let answer = answer(&question, false);
                stream.write_all(&(answer.len() as u16).to_be_bytes()).expect("written");
                stream.write_all(&answer).expect("written");
            }
        });
        Server { address, asked }
    }

    fn resolver(&self) -> Rc<Resolver> {
        let mut system = System::parse("10.9.9.9 known.test\n", "search test\noptions timeout:1 attempts:1");
        system.servers = vec![self.address];
        Resolver::new(system)
    }
}

#[test]
fn names_are_looked_up_followed_and_remembered() {
    let server = Server::start();
    let resolver = server.resolver();
    let asked = server.asked.clone();
    reactor::run(async move {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(resolver.lookup("known.test").await, Ok(vec![ip("10.9.9.9")]));
        assert_eq!(resolver.lookup("app.localhost").await, Ok(vec![ip("127.0.0.1"), ip("::1")]));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert_eq!(resolver.lookup("HOST.test.").await, Ok(vec![ip("10.0.0.1"), ip("::1")]));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(resolver.lookup("host").await, Ok(vec![ip("10.0.0.1"), ip("::1")]));
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the second time nobody is asked");
        assert_eq!(resolver.lookup("alias.test").await, Ok(vec![ip("10.0.0.1")]));
        assert_eq!(resolver.lookup("long.test").await.map(|all| all.len()), Ok(100));
        assert_eq!(resolver.lookup("loop.test").await, Err(DnsError::NoSuchName("loop.test".to_owned())));
        assert_eq!(resolver.lookup("missing.test").await, Err(DnsError::NoSuchName("missing.test".to_owned())));
        let mx = Record::Mx { preference: 10, host: "host.test".to_owned() };
        assert_eq!(resolver.resolve("mail.test", RecordType::Mx).await, Ok(vec![mx]));
        assert_eq!(resolver.resolve("text.test", RecordType::Txt).await, Ok(vec![Record::Text(b"v=spf1 -all".to_vec())]));
        assert_eq!(resolver.reverse(ip("10.0.0.1")).await, Ok(vec!["host.test".to_owned()]));
        assert_eq!(resolver.reverse(ip("10.9.9.9")).await, Ok(vec!["known.test".to_owned()]));
        let refused = resolver.resolve("refused.test", RecordType::A).await.expect_err("refused");
        assert_eq!(refused.to_string(), "the name server refused to answer (refused.test)");
        for bad in ["", "a..b", "a b", "ü", "a\\.b", &"a".repeat(300)] {
            assert!(matches!(resolver.resolve(bad, RecordType::A).await, Err(DnsError::BadName(_))), "{bad}");
        }
    })
    .expect("a reactor");
}

#[test]
fn a_silent_server_ends_in_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut system = System::parse("", "options timeout:1 attempts:1");
    system.servers = vec![silent.local_addr().expect("an address")];
    reactor::run(async move {
        let error = Resolver::new(system).resolve("host.test", RecordType::A).await.expect_err("nobody answers");
        assert_eq!(error.to_string(), "no name server answered (host.test)");
    })
    .expect("a reactor");
}

#[test]
fn equal_questions_share_one() {
    let server = Server::start();
    let resolver = server.resolver();
    let asked = server.asked.clone();
    reactor::run(async move {
        let one = || resolver.resolve("host.test", RecordType::A);
        let ((first, second), third) = futures_lite::future::zip(futures_lite::future::zip(one(), one()), one()).await;
        assert!(first.is_ok() && first == second && second == third);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(resolver.asking.borrow().is_empty());
    })
    .expect("a reactor");
}

#[test]
fn an_asker_that_gives_up_leaves_the_question_to_who_waited() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut system = System::parse("", "options timeout:30 attempts:1");
    system.servers = vec![server.local_addr().expect("an address")];
    // Only the second question is answered.
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        server.recv_from(&mut buffer).expect("the question of who gives up");
        let (length, from) = server.recv_from(&mut buffer).expect("the question of who waited");
        server.send_to(&answer(&buffer[..length], false), from).expect("sent");
    });
    reactor::run(async move {
        let resolver = Resolver::new(system);
        let mut given_up = Box::pin(resolver.resolve("mail.test", RecordType::Mx));
        assert!(futures_lite::future::poll_once(&mut given_up).await.is_none());
        let mut waiting = Box::pin(resolver.resolve("mail.test", RecordType::Mx));
        assert!(futures_lite::future::poll_once(&mut waiting).await.is_none());
        drop(given_up);
        assert!(waiting.await.is_ok());
        assert!(resolver.asking.borrow().is_empty());
    })
    .expect("a reactor");
}

#[test]
fn a_full_name_and_an_address_are_taken_as_they_are() {
    let server = Server::start();
    let resolver = server.resolver();
    let asked = server.asked.clone();
    reactor::run(async move {
        assert_eq!(resolver.lookup("host.").await, Err(DnsError::NoSuchName("host".to_owned())));
        assert_eq!(asked.load(Ordering::SeqCst), 2, "no domain was tried behind it");
        assert_eq!(resolver.lookup("192.0.2.7").await, Ok(vec![IpAddr::from([192, 0, 2, 7])]));
        assert_eq!(resolver.lookup("::1").await.map(|found| found.len()), Ok(1));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        let error = resolver.lookup("half.test").await.expect_err("one family fails, the other has nothing");
        assert_eq!(error.to_string(), "the name server failed (half.test)");
    })
    .expect("a reactor");
}

#[test]
fn servers_take_turns_when_asked_to() {
    let (one, other) = (Server::start(), Server::start());
    let mut system = System::parse("", "options timeout:1 attempts:1 rotate");
    system.servers = vec![one.address, other.address];
    reactor::run(async move {
        let resolver = Resolver::new(system);
        resolver.resolve("host.test", RecordType::A).await.expect("an address");
        resolver.resolve("alias.test", RecordType::A).await.expect("an address");
        assert_eq!((one.asked.load(Ordering::SeqCst), other.asked.load(Ordering::SeqCst)), (1, 1));
    })
    .expect("a reactor");
}

#[test]
fn changed_files_are_read_again() {
    let folder = tempfile::tempdir().expect("a directory");
    let (hosts, resolv) = (folder.path().join("hosts"), folder.path().join("resolv.conf"));
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    std::fs::write(&hosts, "10.1.1.1 one.test\n").expect("written");
    let began = Instant::now();
    let files = Files::read(&hosts, &resolv, began);
    let known = |files: &Files, name: &str, after: u64| {
        let (system, changed) = files.system(began + Duration::from_millis(after));
        (system.hosts.get(name).cloned(), changed)
    };
    assert_eq!(known(&files, "one.test", 5000), (Some(vec![ip("10.1.1.1")]), false));
    std::fs::write(&hosts, "10.2.2.22 one.test\n").expect("written");
    assert_eq!(known(&files, "one.test", 5999), (Some(vec![ip("10.1.1.1")]), false), "looked at within the last second");
    assert_eq!(known(&files, "one.test", 6000), (Some(vec![ip("10.2.2.22")]), true));
    // Replaced as editors do it, by a file of the same size.
    let other = folder.path().join("other");
    std::fs::write(&other, "10.3.3.33 one.test\n").expect("written");
    std::fs::rename(&other, &hosts).expect("renamed");
    assert_eq!(known(&files, "one.test", 7000), (Some(vec![ip("10.3.3.33")]), true));
    std::fs::write(&resolv, "search example.test\n").expect("written");
    assert_eq!(files.system(began + Duration::from_secs(8)).0.search, ["example.test"]);
    std::fs::remove_file(&hosts).expect("removed");
    assert_eq!(known(&files, "one.test", 9000), (None, true));
}

#[test]
fn a_resolver_forgets_with_its_settings_what_it_was_told_under_them() {
    let folder = tempfile::tempdir().expect("a directory");
    let (hosts, resolv) = (folder.path().join("hosts"), folder.path().join("resolv.conf"));
    let resolver = Resolver::of_files(&hosts, &resolv);
    let remember = || {
        let mut cache = resolver.cache.borrow_mut();
        cache.insert("old.test".into(), RecordType::A, Ok(Vec::new()), Duration::from_hours(1), Instant::now());
    };
    let is_known = || resolver.cache.borrow_mut().get("old.test", RecordType::A, Instant::now()).is_some();
    remember();
    assert_eq!(*resolver.system_at(Instant::now() + Duration::from_secs(2)), System::default());
    assert!(is_known());
    std::fs::write(&resolv, "nameserver 127.0.0.9\n").expect("written");
    assert_eq!(resolver.system_at(Instant::now() + Duration::from_secs(4)).servers, ["127.0.0.9:53".parse().expect("an address")]);
    assert!(!is_known());
}

#[test]
fn reverse_names_are_built_backwards() {
    assert_eq!(reverse_name("192.0.2.1".parse().expect("an address")), "1.2.0.192.in-addr.arpa");
    let name = reverse_name("2001:db8::1".parse().expect("an address"));
    assert!(name.starts_with("1.0.0.0.") && name.ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"), "{name}");
}

proptest::proptest! {
    #[test]
    fn answers_of_any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = is_answer(&bytes, &bytes);
        let _ = read_answer(&bytes, "host.test", RecordType::A);
    }
}
