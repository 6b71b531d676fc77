//! Events as Server-Sent Events (HTML living standard, section 9.2): a body that native code writes, however many pages listen.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::Stream;

use super::envelope;
use super::feed::Feed;
use crate::events::Delivery;
use crate::reactor::Alarm;
use crate::script::context::AppContext;

/// The longest time in which a page comes back by itself, so that not all come at once.
const RETRY: u64 = 2000;

/// The body of a reply to a page that listens. It ends when the worker goes, newer code takes over, or every subscription has ended.
pub(super) struct EventBody {
    feed: Feed,
    /// What is told first.
    first: Option<Bytes>,
    quiet: Duration,
    alarm: Alarm,
    retired: Pin<Box<dyn Future<Output = ()>>>,
    over: bool,
}

impl EventBody {
    pub(super) fn new(app: &Rc<AppContext>, feed: Feed, refused: &[String], quiet: Duration) -> EventBody {
        let mut first = format!("retry: {}\n\n", spread(RETRY)).into_bytes();
        for refused in refused {
            first.extend_from_slice(&envelope::line(refused.as_bytes()));
        }
        let context = app.clone();
        let retired = Box::pin(async move { context.until_retired().await });
        EventBody { feed, first: Some(first.into()), quiet, alarm: Alarm::new(), retired, over: false }
    }

    fn tell(&self, index: usize, delivery: &Delivery) -> Option<Bytes> {
        if let Delivery::Event(event) = delivery {
            if self.feed.is_single() {
                return Some(envelope::sse(event));
            }
            return Some([self.id().as_bytes(), &envelope::sse_data(event)].concat().into());
        }
        let notice = envelope::notice(self.feed.name(index), delivery)?;
        Some([self.id().as_bytes(), &envelope::line(notice.as_bytes())].concat().into())
    }

    /// The line that says how far the page has come.
    fn id(&self) -> String {
        format!("id: {}\n", self.feed.positions())
    }
}

/// Milliseconds, from a quarter of `most` to `most`.
fn spread(most: u64) -> u64 {
    // Without randomness all come back at once, which is no error.
    let random = getrandom::u32().unwrap_or(u32::MAX);
    most / 4 + u64::from(random) * (most - most / 4) / u64::from(u32::MAX)
}

impl Stream for EventBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            this.alarm.set(this.quiet);
            return Poll::Ready(Some(Ok(first)));
        }
        if this.over {
            return Poll::Ready(None);
        }
        loop {
            match this.feed.poll_next(cx) {
                Poll::Ready(Some((index, delivery))) => {
                    if let Some(text) = this.tell(index, &delivery) {
                        this.alarm.set(this.quiet);
                        return Poll::Ready(Some(Ok(text)));
                    }
                }
                Poll::Ready(None) => {
                    this.over = true;
                    return Poll::Ready(None);
                }
                Poll::Pending => break,
            }
        }
        if this.retired.as_mut().poll(cx).is_ready() {
            this.over = true;
            return Poll::Ready(Some(Ok(envelope::line(envelope::GOODBYE.as_bytes()).into())));
        }
        if this.alarm.poll(cx).is_ready() {
            this.alarm.set(this.quiet);
            let _ = this.alarm.poll(cx);
            return Poll::Ready(Some(Ok(Bytes::from_static(b":\n\n"))));
        }
        Poll::Pending
    }
}
