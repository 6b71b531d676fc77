use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::future::block_on;

use super::*;
use crate::request::form::multipart::MultipartError;
use crate::request::{BodyError, BodySource};

/// A body in pieces, and how it ends.
struct Pieces(RefCell<VecDeque<Bytes>>, Result<(), BodyError>);

impl BodySource for Pieces {
    fn poll_chunk(&self, _: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        match self.0.borrow_mut().pop_front() {
            Some(piece) => Poll::Ready(Ok(Some(piece))),
            None => Poll::Ready(self.1.clone().map(|()| None)),
        }
    }
}

fn body(bytes: &[u8], size: usize, end: Result<(), BodyError>) -> Body {
    let pieces = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    Body::from_source(Rc::new(Pieces(RefCell::new(pieces), end)), None)
}

const MULTIPART: Option<&[u8]> = Some(b"multipart/form-data; boundary=B");

/// A part as a browser sends it.
fn part(disposition: &str, content: &[u8]) -> Vec<u8> {
    [format!("--B\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: text/x-test\r\n\r\n").as_bytes(), content, b"\r\n"]
        .concat()
}

fn limits(directory: &Path) -> UploadLimits {
    let form = FormLimits { bytes: 1000, fields: 10, depth: 4 };
    UploadLimits { directory: directory.join("uploads"), max_file: 600_000, max_files: 3, memory: 100, form }
}

fn read(bytes: &[u8], limits: &UploadLimits) -> Result<FormData, FormReadError> {
    block_on(read_form(&body(bytes, 7000, Ok(())), MULTIPART, limits))
}

fn files_in(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn fields_and_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(folder.path());
    let large: Vec<u8> = (0..500_000u32).map(|at| (at ^ (at >> 8)) as u8).collect();
    let bytes = [
        part("name=\"a[]\"", b"one"),
        part("name=\"a[]\"", b"%41+"),
        part("name=small; filename=\"small.txt\"", b"tiny"),
        part("name=large; filename=\"C:\\x\\large.bin\"", &large),
        part("name=none; filename=\"\"", b""),
        b"--B--\r\nepilogue".to_vec(),
    ]
    .concat();
    for size in [1, 3000, bytes.len()] {
        let mut form = block_on(read_form(&body(&bytes, size, Ok(())), MULTIPART, &limits)).unwrap();
        let list = form.fields.get("a").unwrap().as_list().unwrap();
        assert_eq!(list.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>(), ["one", "%41+"]);
        assert_eq!(form.files.len(), 2);
        let file = form.files.pop().unwrap();
        assert_eq!((file.filename.as_slice(), file.size), (&b"large.bin"[..], 500_000));
        let Ok(UploadContent::File(temporary)) = file.content else { panic!("{:?}", file.content) };
        assert!(std::fs::read(temporary.path()).unwrap() == large);
        let small = form.files.pop().unwrap();
        assert_eq!(small.content_type.as_deref(), Some(&b"text/x-test"[..]));
        assert!(matches!(small.content, Ok(UploadContent::Memory(content)) if content == b"tiny"));
        assert_eq!(files_in(&limits.directory), 1);
        drop(temporary);
        assert_eq!(files_in(&limits.directory), 0);
    }
}

#[test]
fn a_file_that_is_too_large_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(folder.path());
    let bytes = [
        part("name=a; filename=a", &vec![b'a'; 600_000]),
        part("name=b; filename=b", &vec![b'b'; 600_001]),
        part("name=c; filename=c", b"c"),
        part("name=d; filename=d", b"d"),
        part("name=text", b"here"),
        b"--B--".to_vec(),
    ]
    .concat();
    let form = read(&bytes, &limits).unwrap();
    assert_eq!(form.fields.text("text"), Some("here"));
    let errors: Vec<_> = form.files.iter().map(|file| file.content.as_ref().err().cloned()).collect();
    assert_eq!(errors, [None, Some(UploadError::TooLarge(600_000)), None, Some(UploadError::TooMany)]);
    assert_eq!(form.files[1].size, 600_001);
    assert_eq!(files_in(&limits.directory), 1);
    drop(form);
    assert_eq!(files_in(&limits.directory), 0);
}

#[test]
fn nothing_stays_behind_when_the_form_breaks_off() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(folder.path());
    let whole = part("name=a; filename=a", &vec![b'a'; 300_000]);
    let error = block_on(read_form(&body(&whole, 5000, Err(BodyError::Gone)), MULTIPART, &limits)).unwrap_err();
    assert_eq!(error, FormReadError::Body(BodyError::Gone));
    assert_eq!(read(&whole, &limits).unwrap_err(), FormReadError::Multipart(MultipartError::Truncated));
    let second = [whole, b"--Bnonsense\r\n".to_vec()].concat();
    assert_eq!(read(&second, &limits).unwrap_err(), FormReadError::Multipart(MultipartError::Delimiter));
    assert_eq!(files_in(&limits.directory), 0);
}

/// A body that stops without an end, so that the reader waits for ever.
struct Endless(Pieces);
impl BodySource for Endless {
    fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        match self.0.poll_chunk(cx) {
            Poll::Ready(Ok(None)) => Poll::Pending,
            other => other,
        }
    }
}

#[test]
fn a_reader_that_is_dropped_in_the_middle_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(folder.path());
    let whole = part("name=a; filename=a", &vec![b'a'; 300_000]);
    let pieces = Pieces(RefCell::new(whole.chunks(5000).map(Bytes::copy_from_slice).collect()), Ok(()));
    let body = Body::from_source(Rc::new(Endless(pieces)), None);
    block_on(async {
        let reading = read_form(&body, MULTIPART, &limits);
        let stalled = async {
            while files_in(&limits.directory) == 0 {
                futures_lite::future::yield_now().await;
            }
        };
        futures_lite::future::or(async { drop(reading.await) }, stalled).await;
    });
    // What the thread pool was writing when the reader went is dropped there.
    let start = std::time::Instant::now();
    while files_in(&limits.directory) > 0 {
        assert!(start.elapsed().as_secs() < 10, "the file stays");
        std::thread::yield_now();
    }
}

#[test]
fn limits_of_the_whole_form_are_errors_of_the_form() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(folder.path());
    let many = [part("name=a", b"").repeat(14), b"--B--".to_vec()].concat();
    assert_eq!(read(&many, &limits).unwrap_err(), FormReadError::Form(FormError::TooManyFields));
    let long = [part("name=a", &[b'x'; 600]), part("name=b", &[b'x'; 600]), b"--B--".to_vec()].concat();
    let error = read(&long, &limits).unwrap_err();
    assert_eq!((error.clone(), error.status()), (FormReadError::Form(FormError::TooLarge), 413));
    let urlencoded =
        |bytes: &[u8]| block_on(read_form(&body(bytes, 10, Ok(())), Some(b"application/x-www-form-urlencoded; charset=utf-8"), &limits));
    assert_eq!(urlencoded(b"a=%u0414&b[c]=1").unwrap().fields.text("a"), Some("\u{414}"));
    assert_eq!(urlencoded(&[b'x'; 1001]).unwrap_err().status(), 413);
    let json = block_on(read_form(&body(b"{}", 10, Ok(())), Some(b"application/json"), &limits)).unwrap_err();
    assert_eq!(json.status(), 415);
    assert!(block_on(read_form(&Body::empty(), MULTIPART, &limits)).unwrap().files.is_empty());
}

#[test]
fn a_directory_that_cannot_be_written_fails_the_file_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("uploads"), "not a directory").unwrap();
    let bytes = [part("name=a; filename=a", &[b'a'; 500]), part("name=text", b"here"), b"--B--".to_vec()].concat();
    let form = read(&bytes, &limits(folder.path())).unwrap();
    assert!(matches!(form.files[0].content, Err(UploadError::Failed(_))));
    assert_eq!(form.fields.text("text"), Some("here"));
}

#[test]
fn a_file_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(folder.path());
    let bytes = [part("name=a; filename=a", &[b'a'; 500]), b"--B--".to_vec()].concat();
    let mut form = read(&bytes, &limits).unwrap();
    let Ok(UploadContent::File(file)) = form.files.pop().unwrap().content else { panic!("not in a file") };
    let kept = folder.path().join("kept");
    block_on(file.move_to(kept.clone())).unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), [b'a'; 500]);
    assert_eq!(files_in(&limits.directory), 0);
}

#[test]
fn what_dead_processes_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    // Process numbers on Linux end at 2²².
    let stale = folder.path().join(format!("{PREFIX}{}-x", (1 << 22) + 1));
    let ours = folder.path().join(format!("{PREFIX}{}-x", std::process::id()));
    for path in [&stale, &ours, &folder.path().join("other")] {
        std::fs::write(path, "x").unwrap();
    }
    assert_eq!(remove_stale(folder.path()).unwrap(), 1);
    assert!(!stale.exists() && ours.exists());
    assert_eq!(remove_stale(&folder.path().join("missing")).unwrap(), 0);
}
