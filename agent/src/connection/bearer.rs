//! The token that requests present (RFC 6750).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Request};
use kube::config::AuthInfo;
use secrecy::ExposeSecret as _;
use tower::util::MapRequestLayer;

use super::ConnectionError;

/// A file is read again after this time: the kubelet renews a pod's token long before it ends, as client-go has it.
const RENEWED: Duration = Duration::from_secs(60);

/// A token, or none yet. Cloning shares it.
#[derive(Clone, Default)]
pub struct Bearer(Arc<RwLock<Presented>>);

#[derive(Default)]
struct Presented {
    value: Option<HeaderValue>,
    /// Where it comes from, and when it was read there.
    file: Option<(PathBuf, Instant)>,
}

impl Bearer {
    /// The token of a user of a kubeconfig; a file is before a text, as with client-go.
    ///
    /// # Errors
    /// The file cannot be read, or it is no token.
    pub fn of(user: &AuthInfo) -> Result<Self, ConnectionError> {
        let presented = match (&user.token_file, &user.token) {
            (Some(path), _) => Presented {
                value: Some(read(path.as_ref())?),
                file: Some((path.into(), Instant::now())),
            },
            (None, Some(token)) => Presented {
                value: Some(header(token.expose_secret())?),
                file: None,
            },
            (None, None) => Presented::default(),
        };
        Ok(Self(Arc::new(RwLock::new(presented))))
    }

    /// Presents it with each request of a client's service.
    pub fn layer<B>(&self) -> MapRequestLayer<impl Fn(Request<B>) -> Request<B> + Clone + use<B>> {
        let bearer = self.clone();
        MapRequestLayer::new(move |mut request: Request<B>| {
            if let Some(value) = bearer.value(Instant::now()) {
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            request
        })
    }

    /// Presents this token from now on.
    ///
    /// # Errors
    /// It is no token.
    pub fn hold(&self, token: &str) -> Result<(), ConnectionError> {
        let value = Some(header(token)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Presented { value, file: None };
        Ok(())
    }

    fn value(&self, now: Instant) -> Option<HeaderValue> {
        let presented = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let path = match &presented.file {
            Some((path, read)) if now.saturating_duration_since(*read) >= RENEWED => path.clone(),
            _ => return presented.value.clone(),
        };
        drop(presented);
        let mut presented = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match read(&path) {
            Ok(value) => presented.value = Some(value),
            // One that may still be good (kubernetes/kubernetes#68164).
            Err(error) => tracing::warn!(%error, "the token stays as it was read last"),
        }
        presented.file = Some((path, now));
        presented.value.clone()
    }
}

fn read(path: &Path) -> Result<HeaderValue, ConnectionError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConnectionError::Read {
        path: path.into(),
        source,
    })?;
    header(text.trim())
}

fn header(token: &str) -> Result<HeaderValue, ConnectionError> {
    // A file that is being written.
    if token.is_empty() {
        return Err(ConnectionError::Token);
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ConnectionError::Token)?;
    // Shown in no log.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bearer: &Bearer, now: Instant) -> String {
        bearer
            .value(now)
            .map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_file_is_read_again_after_a_minute_and_stays_as_it_was_while_it_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let user = AuthInfo {
            token: Some("text".to_owned().into()),
            token_file: Some(path.display().to_string()),
            ..AuthInfo::default()
        };
        assert!(matches!(Bearer::of(&user), Err(ConnectionError::Read { .. })));
        std::fs::write(&path, "one\n").unwrap();
        let bearer = Bearer::of(&user).unwrap();
        let now = Instant::now();
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(shown(&bearer, now + RENEWED / 2), "Bearer one");
        assert_eq!(shown(&bearer, now + RENEWED), "Bearer two");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(shown(&bearer, now + 3 * RENEWED), "Bearer two");
        std::fs::write(&path, "three").unwrap();
        assert_eq!(shown(&bearer, now + 4 * RENEWED), "Bearer three");
    }

    #[test]
    fn a_token_is_presented_once_there_is_one_and_shown_by_nothing() {
        let bearer = Bearer::default();
        assert_eq!(shown(&bearer, Instant::now()), "");
        bearer.hold("abc").unwrap();
        assert_eq!(shown(&bearer, Instant::now()), "Bearer abc");
        assert!(!format!("{:?}", bearer.value(Instant::now())).contains("abc"));
        assert!(bearer.hold("a\nb").is_err() && bearer.hold("").is_err());
        assert_eq!(shown(&bearer, Instant::now()), "Bearer abc");
    }
}
