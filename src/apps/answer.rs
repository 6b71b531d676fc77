//! From what a program writes to a response (RFC 3875 §6).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_lite::Stream;

use super::failure::Failure;
use super::work::{Program, Work};
use crate::codec::cgi::{BlockError, BlockLimits, BlockParser, Reply};
use crate::codec::http::{Fields, Method, status};
use crate::request::file::{SentFiles, X_SENDFILE};
use crate::request::{Request, Response, ResponseBody};

/// The response with what a program writes. `sent` has the files that it may name in the place of its body.
pub(super) async fn answer(mut program: impl Program, request: &Request, sent: &SentFiles, work: &Rc<Work>) -> Response {
    let (reply, mut ahead) = match head(&mut program).await {
        Ok(head) => head,
        Err(failure) => return failure.response(work),
    };
    let (status, fields, length) = match reply {
        Reply::LocalRedirect(target) => {
            work.leave_fed(program).await;
            return request.onward.send(request, &target).await;
        }
        Reply::Document { status, fields, length } => (status, fields, length),
    };
    if sent.is_on() && fields.contains(X_SENDFILE) {
        work.leave_fed(program).await;
        let named = document(status, &fields, ResponseBody::Empty);
        return sent.follow(named, &request.head, |why| work.error(why)).await;
    }
    let body = if request.head.method == Method::Head || status::is_bodiless(status) {
        work.leave_fed(program).await;
        match length {
            _ if status::is_bodiless(status) => ResponseBody::Empty,
            Some(length) => ResponseBody::Measured(Box::pin(futures_lite::stream::empty()), length),
            None => ResponseBody::Stream(Box::pin(futures_lite::stream::empty())),
        }
    } else {
        // A length that was announced has no room for more.
        if length.is_none() {
            let said = program.errors_into_answer();
            if !said.is_empty() {
                ahead = [said, ahead].concat().into();
            }
        }
        let output = Box::pin(Output { program: Some(program), ahead, left: length, work: work.clone() });
        match length {
            Some(length) => ResponseBody::Measured(output, length),
            None => ResponseBody::Stream(output),
        }
    };
    document(status, &fields, body)
}

/// The header block, and what was read behind it.
async fn head(program: &mut impl Program) -> Result<(Reply, Bytes), Failure> {
    let (mut parser, limits) = (BlockParser::default(), BlockLimits::default());
    let mut block = BytesMut::new();
    loop {
        match poll_fn(|cx| program.poll_output(cx)).await? {
            Some(piece) => block.extend_from_slice(&piece),
            None => return Err(Failure::Block(BlockError::Ended(block.len()))),
        }
        if let Some((reply, consumed)) = parser.parse(&block, limits).map_err(Failure::Block)? {
            return Ok((reply, block.split_off(consumed).freeze()));
        }
    }
}

/// A response with a program's fields. Framing is the server's, and left out there.
fn document(status: u16, fields: &Fields, body: ResponseBody) -> Response {
    let mut response = Response::new(status, body);
    for (name, value) in fields.iter() {
        // The parser has taken no field that cannot be sent.
        if let Err(error) = response.fields.push(name, value) {
            return Response::error(502, &error.to_string());
        }
    }
    response
}

/// The body of a program's answer as it comes. Dropped before its end it breaks the program off: the client has gone.
struct Output<P: Program> {
    /// `None` at its end.
    program: Option<P>,
    /// What was read with the header block.
    ahead: Bytes,
    /// What must still come, where the program has said how long its body is.
    left: Option<u64>,
    work: Rc<Work>,
}

// Nothing in it is pinned.
impl<P: Program> Unpin for Output<P> {}

impl<P: Program> Output<P> {
    /// The end of the answer. The program may still have something to do.
    fn end(&mut self) {
        if let Some(program) = self.program.take() {
            self.work.leave(program);
        }
    }

    fn fail(&mut self, what: &str) -> Poll<Option<io::Result<Bytes>>> {
        self.program = None;
        self.work.warn(what);
        Poll::Ready(Some(Err(io::Error::other(what.to_owned()))))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        match &mut self.program {
            Some(_) if !self.ahead.is_empty() => Poll::Ready(Ok(Some(std::mem::take(&mut self.ahead)))),
            Some(program) => program.poll_output(cx),
            None => Poll::Ready(Ok(None)),
        }
    }
}

impl<P: Program> Stream for Output<P> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // One that still reads the request's body is not left before that is through; what it writes meanwhile is too much.
        if self.left == Some(0) && self.program.as_ref().is_some_and(Program::is_fed) {
            self.end();
        }
        match ready!(self.poll_piece(cx)) {
            Ok(Some(mut piece)) => {
                if let Some(left) = &mut self.left {
                    piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= piece.len() as u64;
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Ok(None) => match self.left {
                Some(left @ 1..) if self.program.is_some() => {
                    self.fail(&format!("its body is {left} bytes shorter than its Content-Length"))
                }
                _ => {
                    self.end();
                    Poll::Ready(None)
                }
            },
            Err(Failure::Body(error)) => {
                // The client's doing, and no news for the log.
                self.program = None;
                Poll::Ready(Some(Err(io::Error::other(error.to_string()))))
            }
            Err(failure) => self.fail(&failure.to_string()),
        }
    }
}
