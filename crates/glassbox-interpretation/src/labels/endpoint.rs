//! Chat endpoints that speak OpenAI's protocol.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of this role.
    pub fn new(role: &str, content: impl Into<String>) -> Self {
        Self {
            role: role.to_owned(),
            content: content.into(),
        }
    }
}

/// Why an endpoint gave no answer. Messages never hold the key.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// It answered with an error.
    #[error("{url} answered {status}: {body}{}", remedy(*status))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of what it said.
        body: String,
    },
    /// It could not be reached, or was too slow.
    #[error(
        "{url} did not answer: {cause}; check the address and that the server runs, or give more time with --endpoint-timeout"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        cause: String,
    },
    /// What it answered is not the protocol's.
    #[error("{url} answered something that is no chat completion: {what}")]
    Malformed {
        /// The address.
        url: String,
        /// What is wrong.
        what: String,
    },
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "; check the key in the environment variable that --endpoint-key-variable names",
        404 => "; check the address (it should end before /chat/completions) and --label-model",
        429 => "; the endpoint limits requests: wait, or lower --label-requests",
        _ => "",
    }
}

impl EndpointError {
    /// Whether the same request may succeed a little later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 408 || *status == 429 || *status >= 500,
            Self::Unreachable { .. } => true,
            Self::Malformed { .. } => false,
        }
    }
}

/// Something that answers chats.
pub trait Endpoint: Sync {
    /// The answer to some messages.
    ///
    /// # Errors
    /// An [`EndpointError`], once it is clear that trying again is of no use.
    fn answer(&self, messages: &[Message]) -> Result<String, EndpointError>;

    /// What is asked: the address and the model, for the record.
    fn name(&self) -> String;
}

/// An endpoint behind HTTP.
pub struct HttpEndpoint {
    agent: ureq::Agent,
    url: String,
    model: String,
    key: Option<String>,
    tries: u32,
    pause: Duration,
}

impl std::fmt::Debug for HttpEndpoint {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpEndpoint")
            .field("url", &self.url)
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// Bytes of an error's body that are shown.
const SHOWN_BODY: usize = 300;

impl HttpEndpoint {
    /// An endpoint at an address such as `http://localhost:8000/v1`. A request is given up after `timeout`, and tried four times in
    /// all with growing pauses where the failure may pass.
    pub fn new(address: &str, model: &str, key: Option<String>, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            url: format!("{}/chat/completions", address.trim_end_matches('/')),
            model: model.to_owned(),
            key,
            tries: 4,
            pause: Duration::from_secs(1),
        }
    }

    /// Another first pause between tries.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Asks one short question, so that a wrong address, key or model is known before long work begins.
    ///
    /// # Errors
    /// As [`Endpoint::answer`].
    pub fn reach(&self) -> Result<(), EndpointError> {
        self.answer(&[Message::new("user", "Answer with the word yes.")])?;
        Ok(())
    }

    fn ask(&self, messages: &[Message]) -> Result<String, EndpointError> {
        let unreachable = |cause: ureq::Error| EndpointError::Unreachable {
            url: self.url.clone(),
            cause: cause.to_string(),
        };
        let body =
            serde_json::json!({"model": self.model, "messages": messages, "temperature": 0}).to_string();
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(unreachable)?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(unreachable)?;
        if !(200..300).contains(&status) {
            let mut body = text.replace('\n', " ");
            if let Some(key) = &self.key {
                body = body.replace(key, "…");
            }
            let end = (0..=SHOWN_BODY.min(body.len()))
                .rev()
                .find(|end| body.is_char_boundary(*end))
                .unwrap_or(0);
            return Err(EndpointError::Status {
                url: self.url.clone(),
                status,
                body: body[..end].to_owned(),
            });
        }
        let malformed = |what: String| EndpointError::Malformed {
            url: self.url.clone(),
            what,
        };
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|cause| malformed(cause.to_string()))?;
        value["choices"][0]["message"]["content"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| malformed("choices[0].message.content is no text".to_owned()))
    }
}

impl Endpoint for HttpEndpoint {
    fn answer(&self, messages: &[Message]) -> Result<String, EndpointError> {
        let mut pause = self.pause;
        for _ in 1..self.tries {
            match self.ask(messages) {
                Err(error) if error.is_passing() => std::thread::sleep(pause),
                outcome => return outcome,
            }
            pause *= 2;
        }
        self.ask(messages)
    }

    fn name(&self) -> String {
        format!("{} at {}", self.model, self.url)
    }
}
