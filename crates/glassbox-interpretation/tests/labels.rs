//! Labels, asked of a small HTTP server that answers as a careful reader would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use glassbox_interpretation::Unwatched;
use glassbox_interpretation::census::{BackgroundContext, Context};
use glassbox_interpretation::labels::{
    FeatureLabel, HttpEndpoint, LabelError, LabelSettings, label_features, read_labels,
};
use glassbox_interpretation::reports::{FeatureReport, IntervalContexts, TokenTexts};
use serde_json::{Value, json};

const KEY: &str = "secret-key-1234";

struct Server {
    address: String,
    requests: Arc<AtomicUsize>,
    headers: Arc<Mutex<Vec<String>>>,
}

/// A server that answers each request by `answer(number, body)`: a status and a text.
fn serve(answer: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/v1/", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let headers = Arc::new(Mutex::new(Vec::new()));
    let (answer, counted, seen) = (Arc::new(answer), Arc::clone(&requests), Arc::clone(&headers));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, counted, seen) = (Arc::clone(&answer), Arc::clone(&counted), Arc::clone(&seen));
            std::thread::spawn(move || handle(stream.unwrap(), &*answer, &counted, &seen));
        }
    });
    Server {
        address,
        requests,
        headers,
    }
}

fn handle(
    mut stream: TcpStream,
    answer: &dyn Fn(usize, &Value) -> (u16, String),
    requests: &AtomicUsize,
    headers: &Mutex<Vec<String>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        headers.lock().unwrap().push(line.trim().to_owned());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let number = requests.fetch_add(1, Ordering::SeqCst);
    let (status, text) = answer(number, &serde_json::from_slice(&body).unwrap());
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
}

fn completion(content: &str) -> (u16, String) {
    let value = json!({"choices": [{"message": {"role": "assistant", "content": content}}]});
    (200, value.to_string())
}

/// Explains every feature as the bet, and recognises it.
fn reader(request: &Value) -> (u16, String) {
    let system = request["messages"][0]["content"].as_str().unwrap();
    let user = request["messages"][1]["content"].as_str().unwrap();
    if system.contains("[EXPLANATION]") {
        return completion("The texts share a word.\n[EXPLANATION]: the word bet");
    }
    let wanted = if system.contains("marked") {
        "<< bet>>"
    } else {
        " bet"
    };
    let answers: Vec<&str> = user
        .lines()
        .filter(|line| line.starts_with("Text "))
        .map(|line| if line.contains(wanted) { "1" } else { "0" })
        .collect();
    completion(&format!("[{}]", answers.join(", ")))
}

fn texts() -> TokenTexts {
    let mut texts = vec![" bet".to_owned()];
    texts.extend((0..50).map(|i| format!(" w{i}")));
    TokenTexts::from_texts(texts)
}

fn context(number: u32, activation: f32) -> Context {
    let mut tokens: Vec<u32> = (0..6).map(|i| 1 + (number * 7 + i * 3) % 50).collect();
    let mut activations = vec![0.0; 6];
    if activation > 0.0 {
        tokens[3] = 0;
        activations[3] = activation;
    }
    Context {
        document: u64::from(number),
        token_number: u64::from(number),
        peak: 3,
        activation,
        tokens,
        activations,
    }
}

fn feature(number: u32) -> FeatureReport {
    FeatureReport {
        feature: number,
        name: format!("L1-{number}"),
        active: 20,
        density: 0.1,
        mean: 1.0,
        standard_deviation: 0.5,
        largest: 2.0,
        bin_width: 0.1,
        histogram: vec![20],
        tokens: Vec::new(),
        peak_tokens: Vec::new(),
        window_tokens: Vec::new(),
        top_contexts: (0..20)
            .map(|i| context(number * 100 + i, 2.0 - 0.01 * i as f32))
            .collect(),
        intervals: vec![IntervalContexts {
            from: 0.0,
            to: 0.4,
            share: 0.2,
            contexts: (0..5).map(|i| context(number * 100 + 50 + i, 0.3)).collect(),
        }],
        logits: None,
        nearest: Vec::new(),
        correlated: Vec::new(),
        consistency: None,
        label: None,
    }
}

fn background() -> Vec<BackgroundContext> {
    (0..40)
        .map(|i| BackgroundContext {
            context: context(5000 + i, 0.0),
            // The first are contexts in which feature 7 is active: no negatives for it.
            active: if i < 10 { vec![7] } else { vec![3, 9] },
        })
        .collect()
}

fn endpoint(server: &Server) -> HttpEndpoint {
    HttpEndpoint::new(
        &server.address,
        "reader-1",
        Some(KEY.to_owned()),
        Duration::from_secs(10),
    )
    .with_pause(Duration::from_millis(5))
}

fn label(
    server: &Server,
    features: &[FeatureReport],
    path: &std::path::Path,
) -> Result<BTreeMap<u32, FeatureLabel>, LabelError> {
    let features: Vec<&FeatureReport> = features.iter().collect();
    let settings = LabelSettings::default();
    label_features(
        &endpoint(server),
        &features,
        &background(),
        &texts(),
        &settings,
        path,
        &Unwatched,
    )
}

#[test]
fn labels_are_scored_on_balanced_unseen_texts_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels.jsonl");
    // Every fifth request fails in passing.
    let server = serve(|number, request| match number % 5 {
        0 => (503, "busy".to_owned()),
        _ => reader(request),
    });
    let features = [feature(7), feature(8)];
    let found = label(&server, &features, &path).unwrap();
    assert_eq!(found.len(), 2);
    for (number, label) in &found {
        assert_eq!(label.label.as_deref(), Some("the word bet"));
        assert_eq!(
            label.exchanges.len(),
            9,
            "one explanation, four questions of each kind"
        );
        let detection = label.detection.unwrap();
        assert_eq!(
            (detection.right, detection.judged, detection.unread),
            (20, 20, 0),
            "feature {number}"
        );
        assert_eq!(detection.accuracy, Some(1.0));
        assert!(
            (detection.low.unwrap() - 0.8389).abs() < 1e-3,
            "Wilson's interval of 20 of 20"
        );
        assert_eq!(label.fuzzing.unwrap().right, 20);
        // No text that was explained from is scored on.
        let shown = &label.exchanges[0].messages[1].content;
        for exchange in &label.exchanges[5..] {
            for text in exchange.messages[1]
                .content
                .lines()
                .filter(|line| line.contains("<<"))
            {
                let text = text.split_once(": ").unwrap().1;
                assert!(!shown.contains(text), "{text}");
            }
        }
    }
    let asked = server.requests.load(Ordering::SeqCst);
    assert!(asked > 18, "{asked}");
    let headers = server.headers.lock().unwrap().clone();
    assert!(
        headers
            .iter()
            .any(|line| line == &format!("authorization: Bearer {KEY}"))
    );

    // A file that was cut off in its last line is continued; what is whole is not asked again.
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(!String::from_utf8(bytes.clone()).unwrap().contains(KEY));
    bytes.truncate(bytes.len() - 10);
    std::fs::write(&path, &bytes).unwrap();
    let again = label(&server, &features, &path).unwrap();
    assert_eq!(again, found);
    let after = server.requests.load(Ordering::SeqCst);
    assert!((9..=13).contains(&(after - asked)), "{}", after - asked);
    assert_eq!(label(&server, &features, &path).unwrap(), found);
    assert_eq!(server.requests.load(Ordering::SeqCst), after);
}

#[test]
fn answers_that_cannot_be_read_are_no_judgements() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|_, request| {
        let system = request["messages"][0]["content"].as_str().unwrap();
        match system.contains("[EXPLANATION]") {
            true => completion("[EXPLANATION]: bets"),
            false => completion("I would say yes, no, yes."),
        }
    });
    let found = label(&server, &[feature(8)], &folder.path().join("l.jsonl")).unwrap();
    let detection = found[&8].detection.unwrap();
    assert_eq!(
        (detection.judged, detection.unread, detection.accuracy),
        (0, 20, None)
    );
}

#[test]
fn an_endpoint_that_refuses_is_named_without_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("l.jsonl");
    let server = serve(|_, _| (401, format!("{{\"error\": \"{KEY} is no valid key\"}}")));
    let message = label(&server, &[feature(8)], &path).unwrap_err().to_string();
    assert!(
        message.contains("401") && message.contains("environment variable"),
        "{message}"
    );
    assert!(
        message.contains("feature 8") && !message.contains(KEY),
        "{message}"
    );
    assert_eq!(
        server.requests.load(Ordering::SeqCst),
        1,
        "it is of no use to try again"
    );
    assert!(!format!("{:?}", endpoint(&server)).contains(KEY));

    let nobody = Server {
        address: "http://127.0.0.1:9/v1".to_owned(),
        requests: Arc::default(),
        headers: Arc::default(),
    };
    let message = label(&nobody, &[feature(8)], &path).unwrap_err().to_string();
    assert!(message.contains("did not answer"), "{message}");

    std::fs::write(&path, "{\"feature\": 1}\n").unwrap();
    let message = read_labels(&path).unwrap_err().to_string();
    assert!(message.contains("line 1"), "{message}");
}
