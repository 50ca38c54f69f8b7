//! In tasks: publishing and receiving wait without a thread each, in whatever executor.
//!
//! `cargo run --example async`. The executor here is ten lines, to show that none is needed in particular.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use futures_core::Stream;
use pgmx::{Encapsulation, Engine, PublisherConfig, Received, SubscriberConfig};

/// Wakes the thread that runs the task.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a task on this thread.
fn block_on<T>(task: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut task = pin!(task);
    loop {
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => thread::park(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::builder().interface("lo").encapsulation(Encapsulation::one_port(7510)).frames(4096).build()?;
    let group = [239, 192, 0, 3].into();
    let mut subscriber = engine.subscriber(&SubscriberConfig::new(group, 7500))?;
    let mut publisher = engine.publisher(&PublisherConfig::new(group, 7500).window(256))?;

    let publishing = thread::spawn(move || {
        block_on(async move {
            for n in 0..10 {
                // Waits where the window is full.
                publisher.publish_async(format!("message {n}").as_bytes()).await?;
            }
            Ok::<_, pgmx::PublishError>(publisher)
        })
    });

    block_on(async {
        let mut left = 10;
        while left > 0 {
            // A subscriber is a stream; `subscriber.recv_async()` does the same by itself.
            let Some(received) = poll_fn(|cx| Pin::new(&mut subscriber).poll_next(cx)).await else { break };
            match received? {
                Received::Message(message) => {
                    println!("{} {}", message.sqn().get(), String::from_utf8_lossy(&message.to_vec()));
                    left -= 1;
                }
                Received::Event(channel, event) => println!("{channel}: {event:?}"),
            }
        }
        Ok::<_, pgmx::ReceiveError>(())
    })?;
    publishing.join().map_err(|_| "the publishing task panicked")??;
    Ok(())
}
