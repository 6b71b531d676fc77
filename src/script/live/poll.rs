//! Long polling: what has come since the page asked last, or, when there is nothing, what comes within a while.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use super::envelope;
use super::feed::Feed;
use crate::events::Delivery;
use crate::reactor::timeout;
use crate::script::context::AppContext;

/// Bytes of messages after which an answer goes out; what is left comes with the next one.
const ENOUGH: usize = 1 << 20;

/// The messages of one answer.
struct Messages {
    text: String,
    /// One of them is worth an answer: an event, a notice, or the first place of a topic.
    worth: bool,
}

impl Messages {
    fn push(&mut self, feed: &Feed, index: usize, delivery: &Delivery) {
        let message = match delivery {
            Delivery::Event(event) => String::from_utf8_lossy(&envelope::event(event)).into_owned(),
            other => match envelope::notice(feed.name(index), other) {
                Some(notice) => notice,
                None => return,
            },
        };
        self.worth |= !matches!(delivery, Delivery::Ready { recovered: Some(true), .. });
        self.push_text(&message);
    }

    fn push_text(&mut self, message: &str) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(message);
    }
}

/// Waits for something to tell, at most for `limit`, and gives the answer: `{"messages":[…],"next":"…"}`. Nothing comes between `next` and the
/// subscription of the page's next question that its history does not have, or the page is told.
pub(super) async fn answer(app: &Rc<AppContext>, mut feed: Feed, refused: &[String], limit: Duration) -> String {
    let mut messages = Messages { text: String::new(), worth: !refused.is_empty() };
    refused.iter().for_each(|refused| messages.push_text(refused));
    let something = async {
        while !(feed.is_ready() && messages.worth) && messages.text.len() < ENOUGH {
            let Some((index, delivery)) = poll_fn(|cx| feed.poll_next(cx)).await else { return };
            messages.push(&feed, index, &delivery);
        }
        // What came along with it goes along with it.
        while messages.text.len() < ENOUGH
            && let Some((index, delivery)) = feed.try_next()
        {
            messages.push(&feed, index, &delivery);
        }
    };
    let retired = app.until_retired();
    // Whatever ended the wait, what was read by then is told.
    let _ = timeout(limit, futures_lite::future::or(something, retired)).await;
    let next = serde_json::to_string(&feed.positions()).unwrap_or_default();
    format!("{{\"messages\":[{}],\"next\":{next}}}", messages.text)
}
