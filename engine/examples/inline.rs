//! Without a thread: the application's own loop drives the endpoint, and reads each message where it lies.
//!
//! `cargo run --example inline` on two terminals: `inline send`, `inline recv`. Over UDP on loopback, so that it needs no rights.

use std::error::Error;
use std::time::{Duration, Instant};

use pgmx::Encapsulation;
use pgmx::endpoint::{Endpoint, EndpointConfig, Handler, Inbox, MessageView};
use pgmx::link::auto::{LinkConfig, open};
use pgmx::protocol::Event;
use pgmx::protocol::config::Profile;
use pgmx::protocol::receiver::ReceiverConfig;
use pgmx::protocol::source::SourceConfig;
use pgmx::time::Time;
use pgmx::wire::{Gsi, Tsi};

/// What the application does with what it hears.
struct Print;

impl Handler for Print {
    fn message(&mut self, message: MessageView<'_>) {
        println!("{} {}", message.sqn.get(), String::from_utf8_lossy(&message.to_vec()));
    }

    fn event(&mut self, event: Event) {
        println!("{event:?}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let sends = match std::env::args().nth(1).as_deref() {
        Some("send") => true,
        Some("recv") => false,
        _ => return Err("usage: inline send|recv".into()),
    };
    let group = [239, 192, 0, 1].into();
    let mut config = LinkConfig::new("lo").encapsulation(Encapsulation::one_port(7500));
    // Frames as large as loopback's packets, 65,536 octets, of which few are ever touched.
    config.frames = Some(4096);
    // NAKs come to our address, and Linux gives them to one socket of the host: the publisher's.
    config.hear_unicast = sends;
    let opened = open(&config)?;
    println!("{}", opened.path);
    let mut endpoint = Endpoint::new(opened.link, opened.pool, &EndpointConfig::default())?;

    let begun = Instant::now();
    let now = || Time::from_nanos(begun.elapsed().as_nanos() as u64);
    let mut publisher = None;
    if sends {
        let mut source = SourceConfig::profile(Profile::LowLatency, group, 7500);
        source.window_slots = 1024;
        let tsi = Tsi::new(Gsi::from_host_name("inline.example.com"), std::process::id() as u16);
        publisher = Some(endpoint.add_source(&source, tsi, now(), 1)?.1);
    } else {
        endpoint.add_receiver(&ReceiverConfig::profile(Profile::LowLatency, group, 7500), 2)?;
    }

    let mut inbox = Inbox::new(Print);
    let mut next = Duration::ZERO;
    let mut count = 0_u64;
    while begun.elapsed() < Duration::from_secs(30) {
        if let Some(publisher) = &mut publisher
            && begun.elapsed() >= next
        {
            count += 1;
            publisher.publish(format!("message {count}").as_bytes())?;
            next += Duration::from_millis(500);
        }
        let at = now();
        if endpoint.poll(at, inbox.at(at))? == 0 {
            // Whoever has a core to spare spins here instead.
            endpoint.wait(at, Duration::from_millis(10), None)?;
        }
    }
    Ok(())
}
