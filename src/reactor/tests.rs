use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Weak;

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

#[test]
fn a_read_waits_for_bytes_and_then_for_the_end() {
    let (a, b) = pair();
    let got = run(async move {
        let reader = Io::new(a).unwrap();
        let task = spawn(async move {
            let mut all = Vec::new();
            let mut buffer = [0; 16];
            loop {
                let n = reader.read_with(|mut s| s.read(&mut buffer)).await.unwrap();
                if n == 0 {
                    return all;
                }
                all.extend_from_slice(&buffer[..n]);
                if n < buffer.len() {
                    reader.drained();
                }
            }
        });
        yield_now().await;
        (&b).write_all(b"hello ").unwrap();
        sleep(Duration::from_millis(2)).await;
        // Bytes and the end of the stream arrive together: the short read must not hide the end.
        (&b).write_all(b"world").unwrap();
        drop(b);
        task.await
    });
    assert_eq!(got.unwrap(), b"hello world");
}

#[test]
fn sleeps_end_in_the_order_of_their_times() {
    let order = run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let scope = Scope::new();
        for millis in [9u64, 3, 6, 0] {
            let order = order.clone();
            scope.spawn(async move {
                sleep(Duration::from_millis(millis)).await;
                order.borrow_mut().push(millis);
            });
        }
        scope.wait().await;
        order.take()
    });
    assert_eq!(order.unwrap(), [0, 3, 6, 9]);
}

#[test]
fn an_alarm_that_moved_rings_once_at_its_last_time() {
    run(async {
        let alarm = Alarm::new();
        let begun = Instant::now();
        alarm.set(Duration::from_millis(5));
        let moved = alarm.guard(sleep(Duration::from_millis(1))).await;
        assert_eq!(moved, Ok(()));
        alarm.set(Duration::from_millis(20));
        assert_eq!(alarm.guard(std::future::pending::<()>()).await, Err(TimedOut));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        alarm.set(Duration::from_millis(50));
        alarm.set(Duration::from_millis(1));
        let begun = Instant::now();
        assert_eq!(alarm.guard(std::future::pending::<()>()).await, Err(TimedOut));
        assert!(begun.elapsed() < Duration::from_millis(50), "an earlier deadline counts");
        alarm.clear();
        assert_eq!(alarm.guard(sleep(Duration::from_millis(1))).await, Ok(()));
    })
    .unwrap();
}

#[test]
fn another_thread_wakes_the_loop() {
    let value = run(async {
        let (sender, receiver) = async_channel::bounded(1);
        std::thread::spawn(move || sender.send_blocking(42).unwrap());
        receiver.recv().await.unwrap()
    });
    assert_eq!(value.unwrap(), 42);
    assert_eq!(run(async { blocking::unblock(|| 7).await }).unwrap(), 7);
}

/// Tells through a weak reference whether a future was dropped.
fn witness() -> (Rc<()>, Weak<()>) {
    let alive = Rc::new(());
    let weak = Rc::downgrade(&alive);
    (alive, weak)
}

#[test]
fn a_scope_waits_for_its_tasks_and_cancels_them() {
    run(async {
        let scope = Scope::new();
        let (alive, gone) = witness();
        scope.spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        scope.spawn(sleep(Duration::from_millis(1)));
        assert_eq!(scope.len(), 2);
        scope.cancel().await;
        assert!(scope.is_empty());
        assert!(gone.upgrade().is_none());
        let (alive, gone) = witness();
        scope.spawn(async move { drop(alive) });
        assert!(gone.upgrade().is_none(), "a cancelled scope takes no task");
    })
    .unwrap();
}

#[test]
fn tasks_left_over_are_dropped_with_the_reactor() {
    let gone = run(async {
        let (alive, gone) = witness();
        spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        })
        .detach();
        yield_now().await;
        gone
    });
    assert!(gone.unwrap().upgrade().is_none());
    assert!(!is_running());
}

#[test]
fn a_hang_up_is_told_without_reading() {
    run(async {
        let (a, b) = pair();
        let watched = Io::new(a).unwrap();
        let task = spawn(async move {
            std::future::poll_fn(|cx| watched.poll_hang_up(cx)).await;
            watched.is_hung_up()
        });
        yield_now().await;
        drop(b);
        assert!(task.await);
    })
    .unwrap();
}

#[test]
fn a_busy_task_starves_neither_time_nor_sockets() {
    run(async {
        let busy = spawn(async {
            loop {
                yield_now().await;
            }
        });
        let (a, b) = pair();
        let reader = Io::new(a).unwrap();
        (&b).write_all(b"x").unwrap();
        let mut buffer = [0];
        timeout(Duration::from_secs(5), reader.read_with(|mut s| s.read(&mut buffer))).await.unwrap().unwrap();
        sleep(Duration::from_millis(1)).await;
        busy.cancel().await;
    })
    .unwrap();
}

#[test]
fn a_file_of_a_disk_is_always_ready() {
    run(async {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"x").unwrap();
        let io = Io::new(std::os::fd::OwnedFd::from(file)).unwrap();
        let limit = Duration::from_secs(5);
        timeout(limit, io.write_with(|fd| Ok(nix::unistd::write(fd, b"y")?))).await.unwrap().unwrap();
        let end = timeout(limit, io.read_with(|fd| Ok(nix::unistd::read(fd, &mut [0; 4])?))).await.unwrap().unwrap();
        assert_eq!(end, 0);
    })
    .unwrap();
}

#[test]
fn room_to_write_is_told_to_who_waits_for_it_only() {
    let (ours, mut theirs) = pair();
    run(async move {
        let io = Io::mostly_read(ours).unwrap();
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..2 {
            // The peer reads only when no more can be written.
            let mut full = false;
            while !std::mem::take(&mut full) {
                let written = std::future::poll_fn(|cx| {
                    let polled = io.poll_write_with(cx, |mut stream| stream.write(&[7; 8 << 10]));
                    if polled.is_pending() {
                        full = true;
                        while theirs.read(&mut buffer).is_ok() {}
                    }
                    polled
                });
                assert!(timeout(Duration::from_secs(10), written).await.unwrap().unwrap() > 0);
            }
        }
    })
    .unwrap();
}
