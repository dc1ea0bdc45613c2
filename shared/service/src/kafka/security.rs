//! How a client shows the broker who it is, and makes sure that it talks to the right one: TLS and
//! SASL, from the environment or from files, checked before any client is made.
//!
//! Whether the broker agrees is found out by `connection`.

use super::protocol::{Mechanism, Protocol};
use crate::environment::Environment;
use crate::{Secret, WITHOUT_TLS};
use rdkafka::ClientConfig;

const PROTOCOL: &str = "KAFKA_SECURITY_PROTOCOL";
const MECHANISM: &str = "KAFKA_SASL_MECHANISM";
const USERNAME: &str = "KAFKA_SASL_USERNAME";
const PASSWORD: &str = "KAFKA_SASL_PASSWORD";
const PASSWORD_FILE: &str = "KAFKA_SASL_PASSWORD_FILE";
const CA_FILE: &str = "KAFKA_SSL_CA_FILE";
const CERTIFICATE_FILE: &str = "KAFKA_SSL_CERTIFICATE_FILE";
const KEY_FILE: &str = "KAFKA_SSL_KEY_FILE";
const KEY_PASSWORD: &str = "KAFKA_SSL_KEY_PASSWORD";
const KEY_PASSWORD_FILE: &str = "KAFKA_SSL_KEY_PASSWORD_FILE";

/// Every variable that is read here.
pub const VARIABLES: [&str; 10] = [
    PROTOCOL,
    MECHANISM,
    USERNAME,
    PASSWORD,
    PASSWORD_FILE,
    CA_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    KEY_PASSWORD,
    KEY_PASSWORD_FILE,
];

/// What a Kafka client is told about TLS and SASL. The default is neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    protocol: Protocol,
    login: Option<Login>,
    ca_file: Option<String>,
    certificate: Option<Certificate>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Login {
    mechanism: Mechanism,
    username: String,
    password: Secret,
}

/// The client's own, for a broker that asks for one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Certificate {
    file: String,
    key_file: String,
    key_password: Option<Secret>,
}

impl Security {
    /// Reads the settings; what is missing, contradicts the protocol or is not a file is a fault
    /// that names its variable.
    pub fn configure(environment: &mut Environment<'_>) -> Self {
        let protocol = environment.read(
            PROTOCOL,
            Protocol::Plaintext,
            "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        );
        if protocol.has_tls() && cfg!(not(feature = "tls")) {
            environment.fault(PROTOCOL, WITHOUT_TLS.into());
        }
        Self {
            protocol,
            login: login(environment, protocol),
            ca_file: ca_file(environment, protocol),
            certificate: certificate(environment, protocol),
        }
    }

    /// Adds librdkafka's properties to those of a client.
    pub fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", self.protocol.to_string());
        if self.protocol.has_tls() {
            // librdkafka's defaults; said here because all depends on them.
            config
                .set("enable.ssl.certificate.verification", "true")
                .set("ssl.endpoint.identification.algorithm", "https");
        }
        if let Some(login) = &self.login {
            config
                .set("sasl.mechanism", login.mechanism.to_string())
                .set("sasl.username", &login.username)
                .set("sasl.password", login.password.expose());
        }
        if let Some(file) = &self.ca_file {
            config.set("ssl.ca.location", file);
        }
        if let Some(certificate) = &self.certificate {
            config
                .set("ssl.certificate.location", &certificate.file)
                .set("ssl.key.location", &certificate.key_file);
            if let Some(password) = &certificate.key_password {
                config.set("ssl.key.password", password.expose());
            }
        }
    }
}

fn login(environment: &mut Environment<'_>, protocol: Protocol) -> Option<Login> {
    let mechanism: Option<Mechanism> =
        environment.read_optional(MECHANISM, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512");
    let username: Option<String> = environment.read_optional(USERNAME, "who logs in by SASL");
    let password = environment.secret(
        (PASSWORD, "the password of that user"),
        (PASSWORD_FILE, "file that holds the password instead"),
    );
    if !protocol.has_sasl() {
        let set = [
            (MECHANISM, mechanism.is_some()),
            (USERNAME, username.is_some()),
            (PASSWORD, password.is_some()),
        ];
        without_effect(environment, protocol, "SASL_SSL", &set);
        return None;
    }
    if mechanism.is_some_and(Mechanism::needs_tls) && cfg!(not(feature = "tls")) {
        environment.fault(MECHANISM, WITHOUT_TLS.into());
    }
    let wanted = [
        (MECHANISM, mechanism.is_none()),
        (USERNAME, username.is_none()),
        (
            PASSWORD,
            password.is_none() && !environment.has_fault(PASSWORD_FILE),
        ),
    ];
    for (name, is_missing) in wanted {
        if is_missing && !environment.has_fault(name) {
            environment.fault(name, format!("is needed with {PROTOCOL}={protocol}"));
        }
    }
    Some(Login {
        mechanism: mechanism?,
        username: username?,
        password: password?,
    })
}

fn ca_file(environment: &mut Environment<'_>, protocol: Protocol) -> Option<String> {
    let file = pem_file(
        environment,
        (
            CA_FILE,
            "PEM file of the authorities to trust; unset trusts the system's",
        ),
        "CERTIFICATE-----",
    );
    let set = [(CA_FILE, file.is_some() && !protocol.has_tls())];
    without_effect(environment, protocol, "SSL or SASL_SSL", &set);
    file
}

fn certificate(environment: &mut Environment<'_>, protocol: Protocol) -> Option<Certificate> {
    let file = pem_file(
        environment,
        (
            CERTIFICATE_FILE,
            "PEM file of the client's own certificate, with its chain",
        ),
        "CERTIFICATE-----",
    );
    let key_file = pem_file(
        environment,
        (KEY_FILE, "PEM file of the key to that certificate"),
        "PRIVATE KEY-----",
    );
    let key_password = environment.secret(
        (KEY_PASSWORD, "the password of that key, if it has one"),
        (KEY_PASSWORD_FILE, "file that holds that password instead"),
    );
    if !protocol.has_tls() {
        let set = [
            (CERTIFICATE_FILE, file.is_some()),
            (KEY_FILE, key_file.is_some()),
            (KEY_PASSWORD, key_password.is_some()),
        ];
        without_effect(environment, protocol, "SSL or SASL_SSL", &set);
        return None;
    }
    if file.is_some() && key_file.is_none() && !environment.has_fault(KEY_FILE) {
        environment.fault(KEY_FILE, format!("is needed with {CERTIFICATE_FILE}"));
    }
    let set = [
        (KEY_FILE, key_file.is_some()),
        (KEY_PASSWORD, key_password.is_some()),
    ];
    if file.is_none() && !environment.has_fault(CERTIFICATE_FILE) {
        for (name, _) in set.iter().filter(|(_, is_set)| *is_set) {
            environment.fault(name, format!("has no effect without {CERTIFICATE_FILE}"));
        }
    }
    Some(Certificate {
        file: file?,
        key_file: key_file?,
        key_password,
    })
}

/// A setting that is ignored would leave somebody believing in it.
fn without_effect(
    environment: &mut Environment<'_>,
    protocol: Protocol,
    wanted: &str,
    set: &[(&'static str, bool)],
) {
    // Nothing is known of what a wrong protocol should have been.
    if environment.has_fault(PROTOCOL) {
        return;
    }
    for (name, _) in set.iter().filter(|(_, is_set)| *is_set) {
        environment.fault(
            name,
            format!("has no effect with {PROTOCOL}={protocol}; set that to {wanted}"),
        );
    }
}

/// The file's name, if it can be read and holds `label`: librdkafka's own errors name neither the
/// variable nor the file.
fn pem_file(
    environment: &mut Environment<'_>,
    (name, about): (&'static str, &'static str),
    label: &str,
) -> Option<String> {
    let file: String = environment.read_optional(name, about)?;
    let problem = match std::fs::read(&file) {
        Ok(content) if String::from_utf8_lossy(&content).contains(label) => return Some(file),
        Ok(_) => format!("{file} holds no `-----BEGIN … {label}`; it must be PEM"),
        Err(error) => format!("{file} cannot be read: {error}"),
    };
    environment.fault(name, problem);
    None
}

#[cfg(test)]
#[path = "security_tests.rs"]
mod tests;
