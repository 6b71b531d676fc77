//! A future and what ends with it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// A future and a guard that is dropped after it. An `async` block around the two would hold the future twice, as what it has captured and as
    /// what it awaits, and every task of the process is in two of them.
    pub(super) struct Guarded<F, G> {
        #[pin]
        future: F,
        guard: G,
    }
}

impl<F, G> Guarded<F, G> {
    pub(super) fn new(future: F, guard: G) -> Self {
        Self { future, guard }
    }
}

impl<F: Future, G> Future for Guarded<F, G> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_no_larger_than_its_parts() {
        let buffer = [1u8; 1000];
        let future = async move {
            std::future::pending::<()>().await;
            buffer.len()
        };
        let size = size_of_val(&future);
        assert!(size >= 1000);
        assert_eq!(size_of_val(&Guarded::new(future, 0u64)), size.next_multiple_of(8) + 8);
    }
}
