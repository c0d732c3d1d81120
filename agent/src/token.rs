//! A token of a host's service account: whom it speaks for and for how long (RFC 7519; the API server's TokenRequest).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use safetytwin_crds::names::HostName;
use serde::Deserialize;

/// A token is renewed when this part of its life is over.
const RENEWED_AFTER: f64 = 1.0 / 7.0;
const LONGEST: usize = 16 * 1024;

/// What a text is not.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a JSON web token with the claims of a service account.
    #[error("it is no token of a service account: {0}")]
    Form(&'static str),
    /// Of an account that is no enrolled host's.
    #[error("it is the token of {0}, and an enrolled host's account is named ext-NAME")]
    Account(String),
    /// The API server gave none.
    #[error("the API server gave no token: {0}")]
    Refused(#[source] Box<kube::Error>),
}

/// A token. Its text is shown nowhere.
#[derive(Clone)]
pub struct Token {
    text: String,
    /// Namespace of the account.
    pub namespace: String,
    /// The account's name, which is the host's.
    pub host: HostName,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
}

impl Token {
    /// Reads a token. Only the API server can tell whether it is true.
    ///
    /// # Errors
    /// It has another form, or speaks for something else than a service account with the name of a host.
    pub fn read(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let mut parts = text.split('.');
        let (Some(_), Some(body), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Form("it has not three parts"));
        };
        if text.len() > LONGEST
            || !text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return Err(TokenError::Form(
                "it is too long, or has other characters than base64url",
            ));
        }
        let body = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| TokenError::Form("its claims are no base64url"))?;
        let claims: Claims =
            serde_json::from_slice(&body).map_err(|_| TokenError::Form("sub, iat or exp is missing"))?;
        let name = claims
            .sub
            .strip_prefix("system:serviceaccount:")
            .and_then(|name| name.split_once(':'));
        let Some((namespace, account)) = name else {
            return Err(TokenError::Form("its subject is no service account"));
        };
        let host = account
            .parse()
            .map_err(|_| TokenError::Form("its account cannot be a host's"))?;
        let time =
            |seconds| Timestamp::from_second(seconds).map_err(|_| TokenError::Form("a time is out of range"));
        Ok(Self {
            text: text.to_owned(),
            namespace: namespace.to_owned(),
            host,
            issued: time(claims.iat)?,
            expires: time(claims.exp)?,
        })
    }

    /// The token, if it speaks for an enrolled host.
    ///
    /// # Errors
    /// It is another account's.
    pub fn enrolled(self) -> Result<Self, TokenError> {
        match self.host.as_str().starts_with("ext-") {
            true => Ok(self),
            false => Err(TokenError::Account(format!("{}/{}", self.namespace, self.host))),
        }
    }

    /// The secret itself: to present it, and for the file that keeps it.
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// When it is to be renewed.
    pub fn due(&self) -> Timestamp {
        self.issued.saturating_add(self.rest()).unwrap_or(self.expires)
    }

    /// How long it is used before it is renewed.
    pub fn rest(&self) -> SignedDuration {
        let life = self.expires.duration_since(self.issued).as_secs_f64().max(0.0);
        SignedDuration::try_from_secs_f64(life * RENEWED_AFTER).unwrap_or_default()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "token of {}/{} until {}",
            self.namespace, self.host, self.expires
        )
    }
}

/// Asks for a new token of a host's account, for that long; the API server may answer with a shorter one.
///
/// # Errors
/// The account is not there, who asks may not, or the API server is not reached.
pub async fn request(
    client: &Client,
    namespace: &str,
    host: &HostName,
    lifetime: SignedDuration,
) -> Result<Token, TokenError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let asked = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(lifetime.as_secs()),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(host.as_str(), &PostParams::default(), &asked)
        .await
        .map_err(|error| TokenError::Refused(Box::new(error)))?;
    Token::read(&answer.status.map(|status| status.token).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(claims: &serde_json::Value) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!(
            "{}.{}.{}",
            part(r#"{"alg":"RS256"}"#),
            part(&claims.to_string()),
            part("signature")
        )
    }

    fn of(subject: &str) -> Result<Token, TokenError> {
        Token::read(&made(
            &serde_json::json!({"sub": subject, "iat": 1_000_000, "exp": 1_700_000}),
        ))
    }

    #[test]
    fn a_token_says_which_host_it_is_for_and_when_it_is_due() {
        let token = of("system:serviceaccount:safetytwin-hosts:ext-web-09").unwrap();
        assert_eq!(
            (token.namespace.as_str(), token.host.as_str()),
            ("safetytwin-hosts", "ext-web-09")
        );
        assert_eq!(token.due(), Timestamp::from_second(1_100_000).unwrap());
    }

    #[test]
    fn a_token_of_anything_else_is_refused() {
        let default = of("system:serviceaccount:kube-system:default").unwrap();
        let error = default.enrolled().unwrap_err().to_string();
        assert!(
            error.starts_with("it is the token of kube-system/default"),
            "{error}"
        );
        for subject in [
            "system:serviceaccount:a:ext-../../etc",
            "system:serviceaccount:ext-web",
            "system:node:web-01",
            "",
        ] {
            assert!(of(subject).is_err(), "{subject}");
        }
        for text in ["", "a.b", "a.b.c", "a.b.c.d", "a.\n.c"] {
            assert!(Token::read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = of("system:serviceaccount:safetytwin-hosts:ext-web-09").unwrap();
        assert!(!format!("{token:?}").contains(token.secret()));
    }
}
