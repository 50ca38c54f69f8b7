//! Market data: one feed of quotes, and books that readers keep of it.
//!
//! ```text
//!   exchange ── quotes, batched ──▶ group ──▶ reader 1: a book by symbol
//!                                       └───▶ reader 2: another one
//! ```
//!
//! `cargo run --release --example market_data [QUOTES]`. Quotes carry a sequence number of the application's own: a reader that misses one
//! would say so, and one that is told of a loss marks its book as stale until every symbol was quoted again.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use pgmx::endpoint::{Handler, MessageView};
use pgmx::protocol::Event;
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::OnLoss;
use pgmx::{Close, Encapsulation, Engine, PublisherConfig, Subscriber, SubscriberConfig};

const SYMBOLS: u32 = 64;

/// The best prices of one symbol, in 24 octets.
#[derive(Clone, Copy, Default)]
struct Quote {
    sequence: u64,
    symbol: u32,
    bid: u32,
    ask: u32,
    size: u32,
}

impl Quote {
    const LEN: usize = 24;

    fn write(&self, to: &mut [u8]) {
        to[..8].copy_from_slice(&self.sequence.to_le_bytes());
        for (place, value) in to[8..].chunks_exact_mut(4).zip([self.symbol, self.bid, self.ask, self.size]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn read(from: &[u8]) -> Option<Self> {
        let (sequence, rest) = from.split_first_chunk()?;
        let mut numbers = rest.chunks_exact(4).filter_map(|four| Some(u32::from_le_bytes(four.try_into().ok()?)));
        Some(Self {
            sequence: u64::from_le_bytes(*sequence),
            symbol: numbers.next()?,
            bid: numbers.next()?,
            ask: numbers.next()?,
            size: numbers.next()?,
        })
    }
}

/// What a reader knows of the market.
struct Book {
    quotes: Vec<Quote>,
    /// Quoted since the last loss.
    fresh: Vec<bool>,
    next: u64,
    seen: u64,
    missed: u64,
}

impl Book {
    fn new() -> Self {
        let (quotes, fresh) = (vec![Quote::default(); SYMBOLS as usize], vec![false; SYMBOLS as usize]);
        Self { quotes, fresh, next: 0, seen: 0, missed: 0 }
    }
}

impl Handler for Book {
    fn message(&mut self, message: MessageView<'_>) {
        // In place: nothing is copied but the numbers.
        let Some(quote) = message.as_slice().and_then(Quote::read) else { return };
        self.missed += quote.sequence.saturating_sub(self.next);
        self.next = quote.sequence + 1;
        self.seen += 1;
        if let Some(place) = self.quotes.get_mut(quote.symbol as usize) {
            *place = quote;
            self.fresh[quote.symbol as usize] = true;
        }
    }

    fn event(&mut self, event: Event) {
        if let Event::Loss { first, last, cause, .. } = event {
            println!("packets {first} to {last} are lost ({cause:?}): the book is stale");
            self.fresh.fill(false);
        }
    }
}

/// Reads until all quotes were seen, or nothing came for a while.
fn keep_book(mut subscriber: Subscriber, quotes: u64) -> Result<Book, pgmx::ReceiveError> {
    let mut book = Book::new();
    let mut heard = Instant::now();
    while book.next < quotes && heard.elapsed() < Duration::from_secs(5) {
        if subscriber.poll(256, &mut book)? > 0 {
            heard = Instant::now();
        } else {
            thread::yield_now();
        }
    }
    Ok(book)
}

fn main() -> Result<(), Box<dyn Error>> {
    let quotes: u64 = std::env::args().nth(1).map_or(Ok(200_000), |text| text.parse())?;
    // PGM in UDP on loopback needs no rights; `.interface("eth0")` and native PGM are what a market uses.
    let engine = Engine::builder()
        .interface("lo")
        .encapsulation(Encapsulation::one_port(7511))
        .profile(Profile::LowLatency)
        .frames(16_384)
        .build()?;
    engine.paths().for_each(|path| println!("{path}"));

    let group = [239, 192, 0, 2].into();
    let mut readers = Vec::new();
    for _ in 0..2 {
        let subscriber = engine.subscriber(&SubscriberConfig::new(group, 7500).on_loss(OnLoss::Skip))?;
        readers.push(thread::spawn(move || keep_book(subscriber, quotes)));
    }

    let mut exchange = engine.publisher(&PublisherConfig::new(group, 7500).window(1024).batch(true))?;
    let begun = Instant::now();
    for sequence in 0..quotes {
        let drift = (sequence / 100 % 50) as u32;
        let symbol = (sequence % u64::from(SYMBOLS)) as u32;
        let quote = Quote { sequence, symbol, bid: 9_990 + drift, ask: 10_010 + drift, size: 100 };
        // Written where it leaves from.
        let mut claim = exchange.claim(Quote::LEN)?;
        quote.write(&mut claim);
        claim.commit();
    }
    exchange.flush(Duration::from_secs(10))?;
    let took = begun.elapsed();
    let stats = exchange.stats()?;
    println!("{quotes} quotes in {took:.1?}, in {} packets and {} repairs", stats.odata, stats.rdata);

    for (n, reader) in readers.into_iter().enumerate() {
        let book = reader.join().map_err(|_| "a reader panicked")??;
        let fresh = book.fresh.iter().filter(|fresh| **fresh).count();
        let spread: u32 = book.quotes.iter().map(|quote| quote.ask.saturating_sub(quote.bid)).sum();
        println!("reader {n}: {} quotes, {} missed, {fresh} symbols fresh, spread {spread}", book.seen, book.missed);
    }
    exchange.close(Close::Graceful).wait(Duration::from_secs(10))?;
    Ok(())
}
