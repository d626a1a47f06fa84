use std::sync::Arc;
use std::task::{Context, Poll};

use futures::task::noop_waker;

use super::*;

fn stream(kind: Kind) -> Arc<Stream> {
    Arc::new(Stream::new("r.1".to_owned(), kind))
}

fn push(stream: &Arc<Stream>, text: &str) -> bool {
    let mut pushed = Box::pin(stream.push(text.as_bytes()));
    pushed.as_mut().poll(&mut Context::from_waker(&noop_waker())).is_ready()
}

/// What the reader gets now; `None` at the end.
fn read(reader: &mut Reader) -> Option<Vec<String>> {
    let mut events = Vec::new();
    loop {
        match reader.poll_next(&Context::from_waker(&noop_waker())) {
            Poll::Ready(Some(event)) => events.push(String::from_utf8(event.to_vec()).expect("text")),
            Poll::Ready(None) if events.is_empty() => return None,
            Poll::Ready(None) | Poll::Pending => return Some(events),
        }
    }
}

#[tokio::test]
async fn events_have_the_numbers_that_a_client_comes_back_with() {
    let stream = stream(Kind::Kept);
    push(&stream, "1");
    stream.prime(Duration::from_secs(3));
    stream.open().await;
    let mut reader = stream.read_on(Replaced::Ends).expect("there");
    assert_eq!(read(&mut reader).expect("events"), ["id: r.1-0\nretry: 3000\ndata: \n\n", "id: r.1-1\ndata: 1\n\n"]);
    push(&stream, "2");
    stream.finish(b"3");
    assert_eq!(read(&mut reader).expect("events"), ["id: r.1-2\ndata: 2\n\n", "id: r.1-3\ndata: 3\n\n"]);
    assert_eq!(read(&mut reader), None);
    let mut again = stream.read_from(2, Replaced::Ends).expect("kept");
    assert_eq!(read(&mut again).expect("events").len(), 2);
    assert_eq!(read(&mut again), None);
    assert!(stream.read_from(5, Replaced::Ends).is_none(), "there is no such event");
    push(&stream, "after the end");
    assert!(stream.read_from(4, Replaced::Ends).is_some_and(|mut reader| read(&mut reader).is_none()));
}

#[tokio::test]
async fn what_is_whole_before_anybody_looks_comes_in_one_piece() {
    let stream = stream(Kind::Kept);
    let begun = |stream: &Stream| stream.poll_begun(&Context::from_waker(&noop_waker()));
    assert!(begun(&stream).is_pending());
    push(&stream, "1");
    assert!(matches!(begun(&stream), Poll::Ready(Begun::Part)));
    stream.finish(b"2");
    let Poll::Ready(Begun::Whole(whole)) = begun(&stream) else { panic!("whole") };
    assert_eq!(&whole[..], b"id: r.1-1\ndata: 1\n\nid: r.1-2\ndata: 2\n\n");
}

#[tokio::test]
async fn a_newer_reader_takes_over_where_the_one_before_it_was() {
    let stream = stream(Kind::Kept);
    stream.open().await;
    push(&stream, "1");
    let (mut ends, mut stays) = (stream.read_on(Replaced::Ends).expect("there"), None);
    assert_eq!(read(&mut ends).expect("events").len(), 1);
    for _ in 0..2 {
        stays = stream.read_on(Replaced::Stays);
    }
    push(&stream, "2");
    assert_eq!(read(&mut ends), None);
    assert_eq!(read(stays.as_mut().expect("there")).expect("events"), ["id: r.1-2\ndata: 2\n\n"]);
    let mut newest = stream.read_on(Replaced::Stays).expect("there");
    push(&stream, "3");
    assert_eq!(read(stays.as_mut().expect("there")).expect("silent").len(), 0);
    drop(stays);
    assert_eq!(read(&mut newest).expect("events").len(), 1, "a reader that was replaced takes nobody's place with it");
}

#[tokio::test]
async fn a_passing_stream_keeps_nothing_and_names_nothing() {
    let stream = stream(Kind::Passing);
    stream.open().await;
    let mut reader = stream.read_on(Replaced::Ends).expect("there");
    push(&stream, "1");
    assert_eq!(read(&mut reader).expect("events"), ["data: 1\n\n"]);
    assert!(stream.is_empty());
    assert!(stream.read_from(1, Replaced::Ends).is_none(), "it is gone");
}

#[tokio::test]
async fn for_an_absent_client_the_newest_events_are_kept_and_the_writer_goes_on() {
    let stream = stream(Kind::Kept);
    stream.open().await;
    drop(stream.read_on(Replaced::Ends));
    let (event, before) = ("x".repeat(KEPT_BYTES / 4), evicted().get());
    for _ in 0..20 {
        assert!(push(&stream, &event), "nobody to wait for");
    }
    assert!(stream.bytes() <= KEPT_BYTES && evicted().get() - before >= 16);
    assert!(stream.read_from(FIRST, Replaced::Ends).is_none(), "the oldest are gone");
    assert!(stream.read_from(20, Replaced::Ends).is_some());
}

#[tokio::test]
async fn a_writer_waits_for_a_reader_that_is_slow() {
    let stream = stream(Kind::Kept);
    stream.open().await;
    let mut reader = stream.read_on(Replaced::Ends).expect("there");
    let event = "x".repeat(UNREAD_BYTES / 2);
    assert!(push(&stream, &event));
    push(&stream, &event);
    let waiting = tokio::spawn(stream.push(event.as_bytes()));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    assert_eq!(read(&mut reader).expect("events").len(), 3, "and nothing is lost");
    waiting.await.expect("goes on");
}
